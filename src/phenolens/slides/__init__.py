"""From a slide file to its tissue, tiles and quality."""

import logging

# tifffile logs a line for each oddity of a damaged file; what matters of it becomes an ImageError with a reason.
logging.getLogger("tifffile").addHandler(logging.NullHandler())
logging.getLogger("tifffile").propagate = False
