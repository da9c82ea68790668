"""From a slide file to its tissue, tiles and quality."""
