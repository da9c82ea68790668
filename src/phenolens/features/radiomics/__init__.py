"""Radiomics by the definitions of the IBSI: `settings`, `prepare` (resample, re-segment), the families, and `compute`.

Every feature is named FAMILY_feature_CODE with the standard's four-letter code; see docs/radiomics.md.
"""
