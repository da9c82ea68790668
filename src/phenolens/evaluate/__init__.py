"""Measures the Predictions table and nothing else."""
