"""Maps that say where a prediction came from, and how far to believe them."""
