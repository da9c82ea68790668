"""The workflows that are drawn: scaling, selection, components, weights and a classifier with its settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

SCALINGS = ("zscore", "robust", "minmax")
SELECTIONS = ("all", "anova", "ranks", "relief")
KEEP = (5, 10, 20, 40, 80)
COMPONENTS = (0.0, 0.0, 0.95, 5.0, 10.0, 20.0)
"""0: no principal components; below 1: as many as explain this share of the variance; else their number."""


@dataclass(frozen=True, kw_only=True)
class Workflow:
    """One candidate. `keep` is the number of columns `selection` keeps; `weighted` lets every class count the same."""

    scaling: str
    selection: str
    keep: int
    components: float
    weighted: bool
    classifier: str
    settings: Mapping[str, float]
    seed: int

    @property
    def preparation(self) -> tuple[str, str, int, float]:
        """What workflows that share a preparation have in common."""
        return self.scaling, self.selection, self.keep, self.components

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def draw_workflows(count: int, *, seed: int) -> list[Workflow]:
    """`count` workflows at random; the first ones do not depend on how many are drawn.

    The space follows WORC (Starmans et al., The WORC database, 2021; Starmans et al., An automated machine learning
    framework to optimize radiomics signature construction validated on twelve clinical applications, 2021) without its
    resampling and factorial combinations.
    """
    draw = np.random.default_rng(seed)
    return [_one(draw) for _ in range(count)]


def _one(draw: np.random.Generator) -> Workflow:
    selection = str(draw.choice(SELECTIONS))
    keep = int(draw.choice(KEEP))
    classifier = str(draw.choice(sorted(_SETTINGS)))
    return Workflow(
        scaling=str(draw.choice(SCALINGS)),
        selection=selection,
        keep=0 if selection == "all" else keep,
        components=float(draw.choice(COMPONENTS)),
        weighted=bool(draw.integers(2)),
        classifier=classifier,
        settings={name: _value(draw, options) for name, options in _SETTINGS[classifier].items()},
        seed=int(draw.integers(2**31)),
    )


def _value(draw: np.random.Generator, options: tuple[float, ...]) -> float:
    """One of several values, or with two equal to (low, high) as exponents marked by _log, ten to one between them."""
    if isinstance(options, _Log):
        return float(10 ** draw.uniform(*options))
    return float(draw.choice(options))


class _Log(tuple[float, ...]):
    """Two exponents of ten, between which a value is drawn."""


_SETTINGS: Mapping[str, Mapping[str, tuple[float, ...]]] = {
    "logistic": {"c": _Log((-4.0, 2.0))},
    "svm_linear": {"c": _Log((-4.0, 1.0))},
    "svm_rbf": {"c": _Log((-1.0, 2.0)), "width": _Log((-1.0, 1.0))},
    "lda": {"shrinkage": _Log((-2.0, 0.0))},
    "naive_bayes": {"smoothing": _Log((-6.0, -1.0))},
    "forest": {"trees": (100.0,), "depth": (3.0, 5.0, 8.0), "leaf": (1.0, 2.0, 5.0)},
    "boosting": {
        "trees": (25.0, 50.0, 100.0),
        "depth": (1.0, 2.0, 3.0),
        "leaf": (2.0, 5.0),
        "rate": _Log((-2.0, -0.5)),
    },
}
