"""Whether training learnt anything: a network that stayed at guessing on the patients it stops on is named."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

from phenolens.core.types import Finding
from phenolens.steps.desk import Desk
from phenolens.steps.models import Fit

LEFT = 0.98
"""A least tune loss above this share of the loss of guessing (log k for k classes) is no more than guessing."""


def not_learnt(desk: Desk, fits: Sequence[Fit], classes: Sequence[str]) -> list[Finding]:
    """A warning for each trained network that stayed at guessing in half of its folds or more.

    The loss is the class-weighted log loss of the tune patients in the epoch that was kept; where every class is given
    the same probability it is log k, whatever the weights. Models that tell no such loss are passed over.
    """
    guess = math.log(len(classes))
    losses: dict[str, list[float]] = {}
    for fit in fits:
        told = json.loads(desk.store.path("fits", fit.key, ".json").read_text("utf-8"))["fitted"]
        if fit.split is not None and "kept_epoch" in told and "tune_loss" in told:
            losses.setdefault(fit.model.name, []).append(float(told["tune_loss"]))
    return [
        _finding(name, found, guess)
        for name, found in losses.items()
        if 2 * sum(loss > LEFT * guess for loss in found) >= len(found)
    ]


def _finding(model: str, losses: Sequence[float], guess: float) -> Finding:
    stuck = [loss for loss in losses if loss > LEFT * guess]
    return Finding(
        rule="not-learnt",
        severity="warning",
        what=(
            f"{model} did no better than guessing on the patients it stops on in {len(stuck)} of {len(losses)} fits: "
            f"log loss {min(stuck):.3f} at the least, where guessing has {guess:.3f}"
        ),
        todo=(
            "read its results as those of a network that was not trained; if there is something to learn: more epochs, "
            "another learning rate (often a lower one), or more patients"
        ),
        where=f"models: {model}",
    )
