"""Named measurements of an H&E tile: colour, nuclei, arrangement, spaces and texture, all in micrometres.

`scene` prepares a tile, the other modules each measure one aspect of it; `features/encoders/pathomics.py` joins them.
"""
