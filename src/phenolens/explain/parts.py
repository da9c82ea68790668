"""Which part of an example (a sequence of a patient) carried a decision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

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


def part_shares(fitted: Any, example: Example, target: int) -> Mapping[str, float]:
    """What each part adds to the logit of class number `target` above the mean logit of the other classes.

    For models that offer "contributions", whose logits are sums over parts: with two classes the shares add up to the
    log-odds. Parts that the model reads stacked together share one entry, their names joined by +. An example with a
    single entry gives nothing: there is nothing to compare it with. Raises ModelError where the model refuses it.
    """
    added = fitted.contributions(example)
    if len(added) < 2:
        return {}
    return {name: float(v[target] - (v.sum() - v[target]) / (len(v) - 1)) for name, v in added.items()}
