"""Scan formats: the file name is the name of the format."""
