"""One file a metric; the file name is its name."""
