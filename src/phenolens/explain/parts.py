"""Which part of an example (a sequence of a patient) carried a decision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from phenolens.core.types import Example
from phenolens.explain.contract import Predictor, log_odds


def part_falls(fitted: Predictor, example: Example, target: int) -> Mapping[str, float]:
    """Fall of the log-odds of class number `target` when each present part is taken away; negative: it spoke against.

    Only for models that accept missing parts; an example with a single part gives nothing. Raises ModelError where the
    model refuses what is left.
    """
    present = [part for part in example.parts if part.present]
    if len(present) < 2:
        return {}
    whole = float(log_odds(fitted.predict([example])[:, target])[0])
    falls = {}
    for gone in present:
        parts = tuple(replace(p, source=None) if p is gone else p for p in example.parts)
        left = float(log_odds(fitted.predict([replace(example, parts=parts)])[:, target])[0])
        falls[gone.name] = whole - left
    return falls
