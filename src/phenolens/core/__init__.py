"""The ground floor: types, errors, the plug-in registry, the artefact store, processes and progress."""
