"""ComBat: differences of location and spread between scanners or sites are learnt from training patients and removed.

Johnson, Li and Rabinovic, Adjusting batch effects in microarray expression data using empirical Bayes methods,
Biostatistics 2007: the parametric form. No covariate of interest is kept aside: the label is not known where a model is
used, so that a harmonisation that reads it would treat training and test patients differently. Where the batches hold
different classes, part of what tells the classes apart is therefore removed with the batches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from phenolens.core.errors import ModelError

Matrix = npt.NDArray[np.float64]

LEAST = 2
"""A batch with fewer training units in a block has no spread of its own and counts as unseen there."""
UNSEEN = ("refuse", "pool")
_ROUNDS, _CLOSE = 1000, 1e-10


@dataclass(frozen=True, kw_only=True)
class Combat:
    """What was learnt: pooled centre and spread (m,), and shift, stretch and known (b, m) of each of the b batches.

    `unseen` says what happens to a value of a batch that training did not know: "refuse", or "pool", which takes it as
    one of the pooled distribution and leaves it as it is.
    """

    batches: tuple[str, ...]
    centre: Matrix
    spread: Matrix
    shift: Matrix
    stretch: Matrix
    known: npt.NDArray[np.bool_]
    unseen: str

    @classmethod
    def fit(cls, x: Matrix, batch: Sequence[str], blocks: Sequence[slice], *, unseen: str) -> Combat:
        """From rows x (n, m) of training units and their batches; NaN where the block of a unit is absent.

        Every block (the features of one part) has priors of its own, from the units in which it is there. Raises
        ModelError where there is but one batch.
        """
        batches = tuple(sorted(set(batch)))
        if len(batches) < 2:
            raise ModelError(
                f"one batch, {batches[0]!r}, in {len(batch)} training units",
                expected="two or more batches to harmonise",
                todo="leave combat out, or name another covariate",
            )
        at = np.array([batches.index(b) for b in batch])
        m, b = x.shape[1], len(batches)
        centre, spread = np.zeros(m), np.ones(m)
        shift, stretch, known = np.zeros((b, m)), np.ones((b, m)), np.zeros((b, m), dtype=bool)
        for block in blocks:
            there = np.isfinite(x[:, block]).all(1)
            counts = np.bincount(at[there], minlength=b)
            keep = there & (counts[at] >= LEAST)
            if not keep.any():
                continue
            centre[block], spread[block], moves = _block(x[keep, block], at[keep])
            for i, (gamma, delta) in moves.items():
                shift[i, block], stretch[i, block], known[i, block] = gamma, delta, True
        return cls(
            batches=batches, centre=centre, spread=spread, shift=shift, stretch=stretch, known=known, unseen=unseen
        )

    def apply(self, row: Matrix, batch: str, who: str) -> Matrix:
        """One row (m,) as if it came from the pooled batch; NaN stays NaN.

        Raises ModelError when the batch is unseen for a block that is there, and unseen batches are refused.
        """
        there = np.isfinite(row)
        i = self.batches.index(batch) if batch in self.batches else None
        strange = there if i is None else there & ~self.known[i]
        if strange.any() and self.unseen == "refuse":
            few = f"with fewer than {LEAST} training units that have one of its parts"
            raise ModelError(
                f"unit {who!r} of batch {batch!r}, " + ("which training did not know" if i is None else few),
                expected=f"a batch of {LEAST} training units or more, among {', '.join(self.batches)}",
                todo="declare combat_unseen: pool to leave such values as they are, or leave combat out",
            )
        if i is None:
            return row
        moved = (row - self.centre - self.spread * self.shift[i]) / self.stretch[i] + self.centre
        return np.where(self.known[i], moved, row)

    def weights(self) -> dict[str, npt.NDArray[Any]]:
        """The learnt arrays, for safetensors."""
        return {
            "combat.centre": self.centre,
            "combat.spread": self.spread,
            "combat.shift": self.shift,
            "combat.stretch": self.stretch,
            "combat.known": self.known.astype(np.uint8),
        }

    def config(self) -> dict[str, Any]:
        return {"batches": list(self.batches), "unseen": self.unseen}

    @classmethod
    def restore(cls, weights: Mapping[str, npt.NDArray[Any]], config: Mapping[str, Any]) -> Combat:
        """From what `weights()` and `config()` gave."""
        return cls(
            batches=tuple(config["batches"]),
            centre=weights["combat.centre"],
            spread=weights["combat.spread"],
            shift=weights["combat.shift"],
            stretch=weights["combat.stretch"],
            known=weights["combat.known"].astype(bool),
            unseen=config["unseen"],
        )


def _block(x: Matrix, at: npt.NDArray[np.intp]) -> tuple[Matrix, Matrix, dict[int, tuple[Matrix, Matrix]]]:
    """Centre and spread (m,) of one block without gaps, and shift and stretch (m,) a batch."""
    present = np.unique(at)
    centre = x.mean(0)
    means = {int(i): x[at == i].mean(0) for i in present}
    own = np.stack([means[int(i)] for i in at])
    spread = np.sqrt(((x - own) ** 2).mean(0))
    varies = spread > 1e-10 * np.abs(centre) + 1e-12
    spread = np.where(varies, spread, 1.0)
    z = (x - centre) / spread
    moves = {}
    for i in present:
        rows = z[at == i]
        gamma, delta = rows.mean(0), np.ones(x.shape[1])  # a feature without spread inside batches only moves
        if varies.any():
            gamma[varies], delta[varies] = _empirical_bayes(rows[:, varies])
        moves[int(i)] = (gamma, delta)
    return centre, spread, moves


def _empirical_bayes(z: Matrix) -> tuple[Matrix, Matrix]:
    """Posterior shift and stretch of one batch, (m,) each, from its standardised rows (Johnson 2007, eq. 3.1).

    The priors are a normal for the shift and an inverse gamma for the squared stretch, by moments over the features; a
    single feature has no prior and keeps its own figures.
    """
    n = len(z)
    gamma, delta2 = z.mean(0), z.var(0, ddof=1)
    if z.shape[1] < 2:
        return gamma, np.sqrt(np.where(delta2 > 0, delta2, 1.0))
    prior, tau2 = gamma.mean(), gamma.var(ddof=1)
    mean, spread2 = delta2.mean(), delta2.var(ddof=1)
    if mean <= 0:
        return gamma, np.ones_like(gamma)
    if spread2 <= 1e-12 * mean**2:
        return (n * tau2 * gamma + mean * prior) / (n * tau2 + mean), np.full_like(gamma, np.sqrt(mean))
    shape, scale = (2 * spread2 + mean**2) / spread2, (mean * spread2 + mean**3) / spread2
    squares, sums = (z**2).sum(0), z.sum(0)
    g, d2 = gamma, delta2
    for _ in range(_ROUNDS):
        new_g = (n * tau2 * gamma + d2 * prior) / (n * tau2 + d2)
        residual = squares - 2 * new_g * sums + n * new_g**2
        new_d2 = (scale + residual / 2) / (n / 2 + shape - 1)
        change = max(np.abs(new_g - g).max(), np.abs(new_d2 / np.maximum(d2, 1e-300) - 1).max())
        g, d2 = new_g, new_d2
        if change < _CLOSE:
            break
    else:
        raise ModelError(
            f"a ComBat estimate that does not settle in {_ROUNDS} rounds for a batch of {n} units",
            expected="features on which it converges",
            todo="look for extreme features in that batch, or leave combat out",
        )
    return g, np.sqrt(d2)
