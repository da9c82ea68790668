"""Asks whether the result could be an artefact of the procedure."""
