"""From tables to a checked cohort and its splits."""
