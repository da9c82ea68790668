"""Experimental: how unlike the training patients a unit is, from what its images look like on the whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from phenolens.core.store import key_of
from phenolens.core.types import Example
from phenolens.models.bags import Scaler
from phenolens.models.likeness import FEWEST, Likeness, fit_likeness
from phenolens.models.look import Look, look

Floats = npt.NDArray[np.float64]

MOST_UNITS = 512
"""Training units that are kept as reference; of more, those whose hashes come first."""
INSIDE = 0.95
"""The share of patients like those the threshold was set on that stays inside."""
FEWEST_PATIENTS = 9
"""Patients below which a threshold would leave more than one like them in ten outside."""
FEWEST_SITES = 3
UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class Outside:
    """The distance of a unit from the training units over a threshold: above 1 is outside. Experimental.

    A unit is the mean of its instances a part, standardised part by part on the training units, averaged over the parts
    that are there. `parts` are the parts told apart (sequences); none where parts have no meaning of their own
    (slides). `threshold` leaves INSIDE of the patients inside that it was set on; `record` says who they were.
    """

    parts: tuple[str, ...]
    scaler: Scaler
    likeness: Likeness
    threshold: float
    record: Mapping[str, Any]

    def distance(self, example: Example) -> float:
        """Distance over threshold; infinite for a unit none of whose parts was in training."""
        z = _standardised(look(example), self.parts, self.scaler)
        return float("inf") if z is None else self.likeness.score(z) / self.threshold

    def weights(self) -> dict[str, npt.NDArray[Any]]:
        own = {"mean": self.scaler.mean, "scale": self.scaler.scale, "threshold": np.array([self.threshold])}
        return {f"guard.outside.{name}": held for name, held in {**own, **self.likeness.weights()}.items()}

    def config(self) -> dict[str, Any]:
        return {"parts": list(self.parts), **self.record}

    @classmethod
    def restore(cls, weights: Mapping[str, npt.NDArray[Any]], config: Mapping[str, Any]) -> Outside:
        """From what `weights()` and `config()` gave."""
        held = {k.removeprefix("guard.outside."): v for k, v in weights.items() if k.startswith("guard.outside.")}
        return cls(
            parts=tuple(config["parts"]),
            scaler=Scaler(mean=held["mean"], scale=held["scale"]),
            likeness=Likeness.restore(held),
            threshold=float(held["threshold"][0]),
            record={k: v for k, v in config.items() if k != "parts"},
        )


def fit_outside(train: Sequence[Example], tune: Sequence[Example]) -> Outside | str:
    """The reference from the training units and its threshold, or why there is none.

    With FEWEST_SITES known sites or more in training, each site's patients are measured against a reference made
    without their site, and the threshold is set on them; else it is set on the tune patients.
    """
    looks = _kept([look(e) for e in train])
    if (n := len({one.patient for one in looks})) < FEWEST:
        return f"{n} training patients ({FEWEST} needed)"
    parts = _parts(train)
    scaler, likeness = _reference(looks, parts)
    source, worst = "held-out sites of the training patients", _of_sites(looks, parts)
    if len(worst) < FEWEST_PATIENTS:
        source, worst = "tune patients", _worst([look(e) for e in tune], parts, scaler, likeness)
    if len(worst) < FEWEST_PATIENTS:
        return f"{len(worst)} patients to set the threshold on ({FEWEST_PATIENTS} needed)"
    rank = min(len(worst), int(np.ceil((len(worst) + 1) * INSIDE - 1e-9)))
    record = {
        "threshold_from": source,
        "patients": len(worst),
        "reference": len(looks),
        "components": likeness.components,
        "experimental": True,
    }
    threshold = float(np.sort(worst)[rank - 1])
    return Outside(parts=parts, scaler=scaler, likeness=likeness, threshold=threshold, record=record)


def _kept(looks: list[Look]) -> list[Look]:
    if len(looks) <= MOST_UNITS:
        return looks
    first = sorted(looks, key=lambda one: key_of(["outside", one.unit_id]))[:MOST_UNITS]
    return sorted(first, key=lambda one: one.unit_id)


def _parts(train: Sequence[Example]) -> tuple[str, ...]:
    """Names of parts that stand for the same thing in several patients; slides are named by their own id."""
    owners: dict[str, set[str]] = {}
    for example in train:
        for part in example.parts:
            owners.setdefault(part.name, set()).add(example.patient)
    absent = any(not part.present for example in train for part in example.parts)
    told_apart = absent or any(len(who) > 1 for who in owners.values())
    there = {part.name for example in train for part in example.parts if part.present}
    return tuple(sorted(there)) if told_apart else ()


def _reference(looks: Sequence[Look], parts: tuple[str, ...]) -> tuple[Scaler, Likeness]:
    """The scaler of each part, (b, d), and what the standardised units are like."""
    blocks = [np.stack([v for one in looks if (v := one.of(name)) is not None] or [looks[0].whole()])
              for name in parts or (None,)]  # fmt: skip
    scalers = [Scaler.fit([block]) for block in blocks]
    scaler = Scaler(mean=np.stack([s.mean for s in scalers]), scale=np.stack([s.scale for s in scalers]))
    rows = [(one.patient, z) for one in looks if (z := _standardised(one, parts, scaler)) is not None]
    return scaler, fit_likeness(np.stack([z for _, z in rows]), [patient for patient, _ in rows])


def _standardised(one: Look, parts: tuple[str, ...], scaler: Scaler) -> Floats | None:
    found = [
        Scaler(mean=scaler.mean[i], scale=scaler.scale[i]).apply(v)
        for i, name in enumerate(parts or (None,))
        if (v := one.of(name)) is not None
    ]
    return np.mean(found, axis=0) if found else None


def _of_sites(looks: Sequence[Look], parts: tuple[str, ...]) -> list[float]:
    """The distance of each patient of a known site from a reference without that site; none with too few sites."""
    sites = sorted({one.site for one in looks} - {UNKNOWN})
    found: list[float] = []
    for site in sites if len(sites) >= FEWEST_SITES else ():
        others = [one for one in looks if one.site != site]
        if len({one.patient for one in others}) >= FEWEST:
            found += _worst([one for one in looks if one.site == site], parts, *_reference(others, parts))
    return found


def _worst(looks: Sequence[Look], parts: tuple[str, ...], scaler: Scaler, likeness: Likeness) -> list[float]:
    """The largest distance of each patient's units."""
    worst: dict[str, float] = {}
    for one in looks:
        z = _standardised(one, parts, scaler)
        if z is not None:
            worst[one.patient] = max(worst.get(one.patient, 0.0), likeness.score(z))
    return [worst[p] for p in sorted(worst)]
