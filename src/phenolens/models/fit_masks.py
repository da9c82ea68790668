"""Fitting models that find masks, inside a fold: as `models.fit`, but the test part stays unread.

What a fit finds on scans that it never saw is made and measured scan by scan, by `steps`, from the stored fit.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from phenolens import __version__
from phenolens.core.errors import ModelError
from phenolens.core.registry import Choice
from phenolens.core.store import Store, key_of
from phenolens.core.types import Example, Split
from phenolens.models.bags import in_order
from phenolens.models.fit import PLACES, FitJob
from phenolens.models.record import FORMAT, PACKAGES, weights_bytes
from phenolens.models.refits import FINAL

VERSION = 1
"""Raised when this file comes to give other numbers from the same job."""


def fit_masks(job: FitJob, root: Path) -> str:
    """Fit on split.train, stop on split.tune and store; returns the key of the artefact `fits` under `root`.

    The targets are the masks of the volumes. A fit that is there is not done again. Raises ModelError where a part is
    empty or the model cannot be fitted.
    """
    split = job.split or final_split([e.patient for e in job.examples], seed=job.seed, tune=job.tune)
    used = {part: tuple(e for e in in_order(job.examples) if e.patient in getattr(split, part)) for part in _LEARNT}
    content = _content(job, split, used)
    store, key = Store(root), key_of(content)
    if store.has("fits", key, ".safetensors"):
        return key
    _refuse_empty(job, split, used)
    seed = int(key_of([job.seed, split.hash])[:8], 16)
    fitted = job.model.create().fit(used["train"], used["tune"], job.task.create(), seed=seed)
    data = weights_bytes(fitted, job.model.name)
    config = _config(key, job, split, used) | {
        "fitted": fitted.config(),
        "weights_sha256": hashlib.sha256(data).hexdigest(),
    }
    with store.write("fits", key, ".safetensors", json.loads(json.dumps(config, default=str))) as part:
        part.write_bytes(data)
    return key


_LEARNT = ("train", "tune")


def final_split(patients: Sequence[str], *, seed: int, tune: float) -> Split:
    """All patients as train and tune (no test), ordered by a hash of seed and id; at least one of each."""
    ordered = sorted(set(patients), key=lambda p: (key_of(["final", seed, p]), p))
    kept = frozenset(ordered[: min(len(ordered) - 1, max(1, round(tune * len(ordered))))])
    rest = frozenset(ordered) - kept
    return Split(scheme=FINAL, repeat=0, fold=0, train=rest, tune=kept, test=frozenset(), seed=seed)


def _content(job: FitJob, split: Split, used: Mapping[str, Sequence[Example]]) -> dict[str, Any]:
    """What the key is made of: the volumes that are learnt from, and nothing of the test patients but the split."""
    return {
        "step": "fit masks",
        "version": VERSION,
        "model": model_identity(job.model),
        "task": job.task.identity(),
        "split": [split.name, split.hash],
        "seed": job.seed,
        "context": {k: v for k, v in job.context.items() if k not in PLACES},
        "units": {p: [[e.patient, e.unit_id, job.upstream[e.unit_id]] for e in held] for p, held in used.items()},
    }


def model_identity(model: Choice) -> dict[str, Any]:
    """What of a model enters keys: of one that starts from weights their hash, and never where they lie.

    Raises WeightsMissingError where they are not on this machine.
    """
    known, made = model.identity(), model.create()
    if not hasattr(made, "fingerprint"):
        return known
    return {**known, "parameters": {**known["parameters"], "weights": made.fingerprint()}}


def _refuse_empty(job: FitJob, split: Split, used: Mapping[str, Sequence[Example]]) -> None:
    for part in _LEARNT:
        if not used[part] and (part == "train" or job.model.create().needs_tune):
            raise ModelError(
                f"no image with a mask among the {len(getattr(split, part))} {part} patients of {split.name}",
                expected=f"at least one for model '{job.model.name}'",
                todo="see quarantine.csv for their images, or make the splits again",
            )


def _config(key: str, job: FitJob, split: Split, used: Mapping[str, Sequence[Example]]) -> dict[str, Any]:
    """What lies beside the weights: enough to restore the model, to refuse a patient it saw, and to cite it."""
    identity = model_identity(job.model)
    params = {k: Path(v).name if k == "weights" and isinstance(v, str) else v for k, v in job.model.params.items()}
    sets = {part: sorted({e.patient for e in held}) for part, held in used.items()}
    seen = sorted({*sets["train"], *sets["tune"]})
    return {
        "format": FORMAT,
        "key": key,
        "model": {**identity, "choice": {"name": job.model.name, "parameters": params}},
        "task": job.task.identity(),
        "target": "mask",
        "context": dict(job.context),
        "training_patients": seen,
        "tune_patients": sets["tune"],
        "training": {
            "count": len(seen),
            "hash": key_of(seen),
            "units": {part: len(held) for part, held in used.items()},
            "without_features": {p: sorted(getattr(split, p) - set(sets[p])) for p in _LEARNT},
        },
        "split": {"scheme": split.scheme, "repeat": split.repeat, "fold": split.fold, "hash": split.hash},
        "seed": job.seed,
        "versions": {
            "phenolens": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in (*PACKAGES, "monai")},
        },
    }
