"""One file a task; the file name is its name in study.yaml."""
