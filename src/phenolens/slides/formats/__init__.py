"""One file a slide format; the file name is the format's name."""
