"""The steps of a run, each one call to a room and the record of what came out."""
