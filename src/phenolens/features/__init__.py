"""From tiles to stored bags of features."""
