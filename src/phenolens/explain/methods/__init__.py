"""One file an explanation method; the file name is its name."""
