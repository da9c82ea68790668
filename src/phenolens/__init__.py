"""phenolens: from raw tumour images to a phenotype model that can be trusted.

Importing this package imports nothing heavy; each public name is loaded when it is first used.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "Study": "phenolens.study",
    "run_study": "phenolens.run",
    "PhenolensError": "phenolens.core.errors",
    "Bag": "phenolens.core.types",
    "Cohort": "phenolens.core.types",
    "Example": "phenolens.core.types",
    "Frame": "phenolens.core.types",
    "Predictions": "phenolens.core.predictions",
    "Region": "phenolens.core.types",
    "Split": "phenolens.core.types",
    "SurvivalPredictions": "phenolens.core.predictions",
}

__all__ = ["__version__", *sorted(_HOMES)]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'phenolens' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return list(__all__)
