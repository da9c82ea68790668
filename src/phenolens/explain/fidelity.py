"""How far a map may be believed: deletion and insertion against random orders.

Instances are taken away (deletion) or put in (insertion) from the highest score down while the probability of the class
is followed; the figure is the mean probability over the steps (Petsiuk et al., RISE, BMVC 2018, on instances). A map
that means something has a lower deletion and a higher insertion figure than random orders of the same instances.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from phenolens.core.types import Example
from phenolens.explain.contract import Predictor, Scores

STEPS = 10
RANDOM_ORDERS = 5


def fidelity(fitted: Predictor, example: Example, target: int, scores: Scores, *, seed: int) -> dict[str, float]:
    """Keys deletion, insertion, deletion_random, insertion_random; random ones are means over 5 seeded orders."""
    order = np.argsort(-scores, kind="stable")
    deletion, insertion = _curve(fitted, example, target, order)
    rng = np.random.default_rng(seed)
    drawn = np.array([_curve(fitted, example, target, rng.permutation(len(order))) for _ in range(RANDOM_ORDERS)])
    return {
        "deletion": deletion,
        "insertion": insertion,
        "deletion_random": float(drawn[:, 0].mean()),
        "insertion_random": float(drawn[:, 1].mean()),
    }


def _curve(fitted: Predictor, example: Example, target: int, order: npt.NDArray[np.intp]) -> tuple[float, float]:
    n = len(order)
    cuts = sorted({round(n * step / STEPS) for step in range(1, STEPS)} - {0, n})
    if not cuts:
        p = float(fitted.predict([example])[0, target])
        return p, p
    without = fitted.predict([example.keep(np.sort(order[cut:])) for cut in cuts])[:, target]
    having = fitted.predict([example.keep(np.sort(order[:cut])) for cut in cuts])[:, target]
    return float(without.mean()), float(having.mean())
