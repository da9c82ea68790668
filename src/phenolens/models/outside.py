"""Experimental: how unlike the training patients a unit is, from what its images look like on the whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from phenolens.core.store import key_of
from phenolens.core.types import Example
from phenolens.models.likeness import FEWEST, NEIGHBOURS, Likeness, fit_likeness, scale_of, score
from phenolens.models.look import Look, look
from phenolens.models.ruler import Ruler, fit_ruler, stacked, unstacked

Floats = npt.NDArray[np.float64]
Held = list[tuple[str, Floats]]
"""Units that were not in a reference: whose each is, and its distances from it."""

MOST_UNITS = 512
"""Training units that are kept as reference; of more, those whose hashes come first."""
INSIDE, INSIDE_NEW_SITE = 0.95, 0.90
"""The share of patients like those the threshold was set on that stays inside: like the tune patients, or like those of
a site that was left out, who lie further away than new patients of a known site."""
FEWEST_PATIENTS = 9
"""Patients below which a threshold would leave more than one like them in ten outside."""
FEWEST_SITES = 3
UNKNOWN = "unknown"
_FOLDS = 5


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What the training units are like, part by part and as a whole.

    A unit is the mean of its instances a part, on the scale of that part's ruler, averaged over the parts that are
    there. `parts` are the parts told apart (sequences); none where parts have no meaning of their own (slides).
    """

    parts: tuple[str, ...]
    rulers: tuple[Ruler, ...]
    likeness: Likeness

    def distances(self, one: Look) -> Floats | None:
        """The distances of a unit; None for one none of whose parts was in training."""
        rows = _measured(one, self.parts, self.rulers)
        return self.likeness.distances(_unit(rows)) if rows else None


@dataclass(frozen=True, kw_only=True)
class Outside:
    """The distance of a unit from the training units over a threshold: above 1 is outside. Experimental.

    `usual` (2, 3) is the scale of the three distances, `threshold` leaves INSIDE or INSIDE_NEW_SITE of the patients
    inside that it was set on; `record` says who they were.
    """

    reference: Reference
    usual: Floats
    threshold: float
    record: Mapping[str, Any]

    @property
    def parts(self) -> tuple[str, ...]:
        return self.reference.parts

    def distance(self, example: Example) -> float:
        """Distance over threshold; infinite for a unit none of whose parts was in training."""
        found = self.reference.distances(look(example))
        return float("inf") if found is None else score(found, self.usual) / self.threshold

    def weights(self) -> dict[str, npt.NDArray[Any]]:
        own = {"usual": self.usual, "threshold": np.array([self.threshold])}
        own |= stacked(self.reference.rulers) | self.reference.likeness.weights()
        return {f"guard.outside.{name}": held for name, held in own.items()}

    def config(self) -> dict[str, Any]:
        return {"parts": list(self.parts), **self.record}

    @classmethod
    def restore(cls, weights: Mapping[str, npt.NDArray[Any]], config: Mapping[str, Any]) -> Outside:
        """From what `weights()` and `config()` gave."""
        held = {k.removeprefix("guard.outside."): v for k, v in weights.items() if k.startswith("guard.outside.")}
        return cls(
            reference=Reference(parts=tuple(config["parts"]), rulers=unstacked(held), likeness=Likeness.restore(held)),
            usual=held["usual"],
            threshold=float(held["threshold"][0]),
            record={k: v for k, v in config.items() if k != "parts"},
        )


def fit_outside(train: Sequence[Example], tune: Sequence[Example]) -> Outside | str:
    """The reference from the training units and its threshold, or why there is none.

    With FEWEST_SITES known sites or more in training, each site's patients are measured against a reference made
    without their site, and scale and threshold are set on them. Else the scale is that of training patients measured
    against a reference without a fifth of them, and the threshold is set on the tune patients.
    """
    kept = _kept(train)
    if (n := len({e.patient for e in kept})) < FEWEST:
        return f"{n} training patients ({FEWEST} needed)"
    parts = _parts(train)
    looks = [look(e) for e in kept]
    reference = _reference(looks, parts)
    source, inside = "held-out sites of the training patients", INSIDE_NEW_SITE
    held = _left_out(looks, parts, _sites(looks))
    if len({patient for patient, _ in held}) >= FEWEST_PATIENTS:
        usual = scale_of([d for _, d in held])
    else:
        usual = scale_of([d for _, d in _left_out(looks, parts, _fifths(looks), fewest=NEIGHBOURS)])
        source, inside, held = "tune patients", INSIDE, _held([look(e) for e in tune], reference)
    worst = _worst(held, usual)
    if len(worst) < FEWEST_PATIENTS:
        return f"{len(worst)} patients to set the threshold on ({FEWEST_PATIENTS} needed)"
    rank = min(len(worst), int(np.ceil((len(worst) + 1) * inside - 1e-9)))
    record = {
        "threshold_from": source,
        "patients": len(worst),
        "reference": len(looks),
        "components": reference.likeness.components,
        "experimental": True,
    }
    return Outside(reference=reference, usual=usual, threshold=float(np.sort(worst)[rank - 1]), record=record)


def _kept(train: Sequence[Example]) -> list[Example]:
    first = sorted(train, key=lambda e: key_of(["outside", e.unit_id]))[:MOST_UNITS]
    return sorted(first, key=lambda e: e.unit_id)


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


def _reference(looks: Sequence[Look], parts: tuple[str, ...]) -> Reference:
    """The ruler of each part, and what the units and their instances are like on it."""
    held = [[rows for one in looks if (rows := one.of(name)) is not None] for name in parts or (None,)]
    whole = [rows for one in looks[:1] if (rows := one.of(None)) is not None]
    rulers = tuple(fit_ruler(units or whole) for units in held)
    measured = [unit for one in looks if (unit := _measured(one, parts, rulers))]
    rows = np.concatenate([instances for unit in measured for instances in unit])
    likeness = fit_likeness(np.stack([_unit(unit) for unit in measured]), rows)
    return Reference(parts=parts, rulers=rulers, likeness=likeness)


def _measured(one: Look, parts: tuple[str, ...], rulers: Sequence[Ruler]) -> list[Floats]:
    """The instances of each part that is there, on its ruler."""
    held = zip(parts or (None,), rulers, strict=True)
    return [ruler.apply(rows) for name, ruler in held if (rows := one.of(name)) is not None]


def _unit(measured: Sequence[Floats]) -> Floats:
    mean: Floats = np.mean([rows.mean(0) for rows in measured], axis=0)
    return mean


def _sites(looks: Sequence[Look]) -> list[frozenset[str]]:
    """The patients of each known site; none with too few sites."""
    sites = sorted({one.site for one in looks} - {UNKNOWN})
    made = [frozenset(one.patient for one in looks if one.site == site) for site in sites]
    return made if len(sites) >= FEWEST_SITES else []


def _fifths(looks: Sequence[Look]) -> list[frozenset[str]]:
    patients = sorted({one.patient for one in looks})
    return [frozenset(patients[i::_FOLDS]) for i in range(_FOLDS)]


def _left_out(
    looks: Sequence[Look], parts: tuple[str, ...], groups: Sequence[frozenset[str]], *, fewest: int = FEWEST
) -> Held:
    """The distances of the units of each group of patients from a reference of the others, where those are enough."""
    found: Held = []
    for out in groups:
        others = [one for one in looks if one.patient not in out]
        if len({one.patient for one in others}) >= fewest:
            found += _held([one for one in looks if one.patient in out], _reference(others, parts))
    return found


def _held(looks: Sequence[Look], reference: Reference) -> Held:
    return [(one.patient, d) for one in looks if (d := reference.distances(one)) is not None]


def _worst(held: Held, usual: Floats) -> list[float]:
    """The largest score of each patient's units."""
    worst: dict[str, float] = {}
    for patient, distances in held:
        worst[patient] = max(worst.get(patient, 0.0), score(distances, usual))
    return [worst[p] for p in sorted(worst)]
