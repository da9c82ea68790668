"""What a model of a table is told, and the columns of the table: features of named parts as training saw them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from phenolens.core.errors import ModelError
from phenolens.core.types import Bag, Example
from phenolens.models.harmonise import UNSEEN

Matrix = npt.NDArray[np.float64]

_MISSING = ("refuse", "impute", "complete")
_SUBSETS = ("predict", "refuse")
_FALLBACKS = ("refuse", "prior")


@dataclass(frozen=True, kw_only=True)
class TableModel:
    """The parameters that every model of a table shares.

    `by_part` makes the features of each named part (a sequence) columns of their own, or takes the mean over all
    instances of all parts; by default the first where the names of parts recur over training patients or a part is
    absent. `missing` is "refuse", "impute" (the median of the training units and a column that says the part is absent)
    or "complete" (training drops units with an absent part; an incomplete unit is then refused, or with `fallback:
    prior` given the shares of the classes in training). `new_subset` says whether a set of parts that no training unit
    had is predicted, with a flag, or refused. `combat` names the covariate whose differences ComBat removes;
    `combat_unseen` whether a unit of a batch unknown to training is refused or, with "pool", left as it is. `stable`
    keeps the features whose intraclass correlation over repeated readings of training patients (features.repeated) has
    a lower limit of at least that (0.75 is usual); see `models.stability`.
    """

    reads: ClassVar[str] = "bag"
    offers: ClassVar[tuple[str, ...]] = ("coefficients",)
    accepts_missing: ClassVar[bool] = True

    by_part: bool | None = None
    missing: str = "refuse"
    fallback: str = "refuse"
    new_subset: str = "predict"
    balanced: bool = True
    combat: str | None = None
    combat_unseen: str = "refuse"
    stable: float | None = None

    def __post_init__(self) -> None:
        if self.missing not in _MISSING:
            raise ValueError(
                f"missing must be one of {', '.join(_MISSING)}, not {self.missing!r}"
                " (zeros are not offered for what is absent: a zero is a measurement)"
            )
        if self.stable is not None and not 0 < self.stable < 1:
            raise ValueError(f"stable must lie between 0 and 1, not {self.stable}")
        for name, options in (("fallback", _FALLBACKS), ("new_subset", _SUBSETS), ("combat_unseen", UNSEEN)):
            if getattr(self, name) not in options:
                raise ValueError(f"{name} must be one of {', '.join(options)}, not {getattr(self, name)!r}")
        if self.fallback == "prior" and self.missing != "complete":
            raise ValueError("fallback: prior is for missing: complete")
        if self.by_part is False and self.missing != "refuse":
            raise ValueError(f"missing: {self.missing} needs parts told apart; leave by_part: false out")


@dataclass(frozen=True, kw_only=True)
class Schema:
    """The columns: one block of `features` a part of `parts`, both as seen in training; no part means one block.

    `kept` are the numbers of the columns that are used; None: all.
    """

    parts: tuple[str, ...]
    features: tuple[str, ...]
    kept: tuple[int, ...] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns, PART/FEATURE."""
        whole = tuple(f"{p}/{f}" for p in self.parts for f in self.features) if self.parts else self.features
        return whole if self.kept is None else tuple(whole[i] for i in self.kept)

    @property
    def blocks(self) -> tuple[slice, ...]:
        """The columns of each part in a row."""
        d, count = len(self.features), max(len(self.parts), 1)
        kept = np.arange(count * d) if self.kept is None else np.array(self.kept)
        ends = np.searchsorted(kept, [i * d for i in range(count + 1)])
        return tuple(slice(int(a), int(b)) for a, b in pairwise(ends))

    def row(self, example: Example) -> tuple[Matrix, tuple[str, ...]]:
        """The example's row (m,), NaN in absent blocks, and the names of the parts that are there, in schema order.

        Raises ModelError for a part that no training unit had, other features, or no instance at all.
        """
        sums = np.zeros((max(len(self.parts), 1), len(self.features)))
        counts = np.zeros(len(sums), dtype=np.intp)
        for part in example.parts:
            bag = part.load()
            if bag is None:
                continue
            if self.parts and part.name not in self.parts:
                raise ModelError(
                    f"part {part.name!r} of unit {example.unit_id!r}, which no training unit had",
                    expected=f"parts among {', '.join(self.parts)}",
                    todo="leave the part out, or fit the model on units that have it",
                )
            i = self.parts.index(part.name) if self.parts else 0
            sums[i] += self._sum(bag, example)
            counts[i] += len(bag.x)
        if not counts.any():
            raise ModelError(
                f"no instance in unit {example.unit_id!r} of patient {example.patient!r}",
                expected="at least one part with features",
                todo="see quarantine.csv for its images",
            )
        there = counts > 0
        means = np.full_like(sums, np.nan)
        means[there] = sums[there] / counts[there, None]
        row = means.ravel() if self.kept is None else means.ravel()[list(self.kept)]
        return row, tuple(p for p, t in zip(self.parts, there, strict=bool(self.parts)) if t)

    def _sum(self, bag: Bag, example: Example) -> Matrix:
        if bag.x.shape[1] != len(self.features):
            raise ModelError(
                f"{bag.x.shape[1]} features in unit {example.unit_id!r}",
                expected=f"{len(self.features)}, as in training",
                todo="extract the features of all images with one encoder",
            )
        total: Matrix = bag.x.sum(0, dtype=np.float64)
        return total
