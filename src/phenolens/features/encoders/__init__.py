"""One file an encoder; the file name is its name in study.yaml."""
