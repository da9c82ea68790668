"""One folder a study template."""
