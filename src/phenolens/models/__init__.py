"""Fitting and predicting, inside the fold."""
