"""A search over radiomics workflows inside a fold, and the ensemble of the best."""
