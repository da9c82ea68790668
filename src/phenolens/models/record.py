"""What lies beside the weights of a fitted model: enough to restore it, to refuse what does not fit, and to cite it."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
from safetensors.numpy import save

from phenolens import __version__
from phenolens.core.errors import ModelError
from phenolens.core.registry import Choice
from phenolens.core.store import key_of
from phenolens.core.types import Example, Split
from phenolens.models.contract import Fitted
from phenolens.models.guard import Guard
from phenolens.models.inputs import as_config, inputs_of

FORMAT = 1
PACKAGES = ("numpy", "scikit-learn", "torch")


def record(
    *,
    key: str,
    model: Choice,
    task: Choice,
    split: Split,
    seed: int,
    context: Mapping[str, Any],
    fold_used: Mapping[str, Sequence[Example]],
    fitted: Fitted,
    data: bytes,
    guard: Guard | None = None,
    lent: frozenset[str] = frozenset(),
) -> dict[str, Any]:
    """The config of a fitted model, JSON, without a path or a time.

    `training_patients` are all whose images or labels the model saw, those of the tune part included, and `lent`, whom
    the model it began with saw; the file stays with the study. `context` is what the caller said of the features.
    """
    made, identity = task.create(), model.keyed()
    sets = {part: sorted({e.patient for e in fold_used[part]}) for part in ("train", "tune")}
    seen = sorted({*sets["train"], *sets["tune"]})
    inputs = inputs_of(fold_used["train"][0])
    content = {
        "format": FORMAT,
        "key": key,
        "model": {**identity, "choice": {"name": model.name, "parameters": _kept(model, identity)}},
        "fitted": fitted.config(),
        "task": task.identity(),
        "classes": list(made.classes),
        "target": made.target,
        "features": as_config(inputs),
        "context": dict(context),
        "training_patients": sorted({*seen, *lent}),
        "tune_patients": sets["tune"],
        "training": {
            "count": len(seen),
            "hash": key_of(seen),
            "units": {part: len(fold_used[part]) for part in ("train", "tune")},
            "classes": _counts(made, fold_used["train"]),
            "without_features": {
                part: sorted(getattr(split, part) - {e.patient for e in fold_used[part]})
                for part in ("train", "tune", "test")
            },
        },
        "split": {"scheme": split.scheme, "repeat": split.repeat, "fold": split.fold, "hash": split.hash},
        "seed": seed,
        "versions": {
            "phenolens": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in PACKAGES},
        },
        "weights_sha256": hashlib.sha256(data).hexdigest(),
        **({} if guard is None else {"guard": guard.config()}),
    }
    plain: dict[str, Any] = json.loads(json.dumps(content, default=str))
    return plain


def _kept(model: Choice, identity: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters given that change numbers; where a file lies is no part of a model."""
    return {name: value for name, value in model.params.items() if name in identity["parameters"]}


def _counts(task: Any, examples: Sequence[Example]) -> dict[str, int]:
    counts = dict.fromkeys(task.classes, 0)
    for example in examples:
        counts[task.classes[task.truth(example)]] += 1
    return counts


def weights_bytes(fitted: Fitted, name: str, guard: Guard | None = None) -> bytes:
    """The weights, and those of a guard, as safetensors, equal for equal weights; ModelError when one is not finite.

    Arrays are made contiguous first: safetensors stores a transposed one as if it were not transposed.
    """
    every = {**fitted.weights(), **({} if guard is None else guard.weights())}
    weights = {key: np.ascontiguousarray(value) for key, value in sorted(every.items())}
    for key, value in weights.items():
        if not np.isfinite(value).all():
            raise ModelError(
                f"weights '{key}' of model '{name}' that are not finite",
                expected="finite weights",
                todo="look for extreme features, or lower the learning rate",
            )
    data: bytes = save(weights)
    return data
