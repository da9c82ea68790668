"""Are pairs of patients of one block (a site, a fold) told apart worse than pairs of two, beyond chance?

The area under the ROC curve is the share of pairs, one patient with and one without a class, that scores put in the
right order (Hanley & McNeil 1982). Where scores differ between blocks and so do the labels, pairs of two blocks are in
the right order for that reason alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from phenolens.core.store import key_of
from phenolens.evaluate.folds import Fold, Group, once

Codes = npt.NDArray[np.int64]


def p_of_sites(group: Group, name: str, draws: int) -> float:
    """p that pairs of one test set and one site are told apart as well as all pairs of one test set (`_p`)."""
    folds = first_repeat(group)
    return _p(folds, [fold.site.astype(str) for fold in folds], group, name, draws)


def p_of_folds(group: Group, name: str, draws: int) -> float:
    """p that pairs of one test set are told apart as well as pairs of two, all scores taken together (`_p`)."""
    folds = first_repeat(group)
    whole = once(Group(key=group.key, classes=group.classes, folds=tuple(folds), ratio=group.ratio))
    of = {unit: str(i) for i, fold in enumerate(folds) for unit in zip(fold.patient, fold.unit_id, strict=True)}
    block = np.array([of[unit] for unit in zip(whole.patient, whole.unit_id, strict=True)])
    return _p([whole], [block], group, name, draws)


def first_repeat(group: Group) -> list[Fold]:
    """The test sets of the first repeat."""
    first = min(fold.name[0] for fold in group.folds)
    return [fold for fold in group.folds if fold.name[0] == first]


def _p(sets: Sequence[Fold], blocks: Sequence[npt.NDArray[np.str_]], group: Group, name: str, draws: int) -> float:
    """p of the share of pairs in right order among all pairs of a set minus that among pairs of one block.

    Blocks change places among patients whose units have equal labels: scores that do not depend on the block given the
    label leave each such order as likely as the real one. p is (1 + draws that reach the difference) / (1 + draws);
    NaN where no pair lies in one block.
    """
    drawn = _by_lot(sets, blocks, draws, seed=int(key_of(["pairs", group.key, name, len(sets)]), 16) % 2**63)
    column = group.classes.index(name)
    right, pairs = 0.0, 0
    kept_right, kept_pairs = np.zeros(draws + 1), np.zeros(draws + 1)
    for one in sets:
        is_it, p = one.truth == column, one.p[:, column]
        order = (np.sign(p[is_it][:, None] - p[~is_it][None, :]) + 1) / 2
        right += float(order.sum())
        pairs += order.size
        own = drawn[:, one.patient]
        for block in range(int(drawn.max()) + 1):
            with_it, without = (own[:, chosen] == block for chosen in (is_it, ~is_it))
            kept_right += np.einsum("dj,dj->d", with_it @ order, without.astype(np.float64))
            kept_pairs += with_it.sum(1) * without.sum(1)
    if not kept_pairs[0]:
        return math.nan
    with np.errstate(invalid="ignore"):
        differences = right / pairs - kept_right / kept_pairs
    reached = int((np.nan_to_num(differences[1:], nan=np.inf) >= differences[0] - 1e-12).sum())
    return (1 + reached) / (1 + draws)


def _by_lot(sets: Sequence[Fold], blocks: Sequence[npt.NDArray[np.str_]], draws: int, seed: int) -> Codes:
    """The block of each patient code, (draws + 1, patients): as it is in row 0, then permuted within labels."""
    whole = pd.DataFrame(
        {
            "patient": np.concatenate([one.patient for one in sets]),
            "truth": np.concatenate([one.truth for one in sets]),
            "block": np.concatenate(blocks),
        }
    )
    people = whole.groupby("patient").agg(block=("block", "first"), label=("truth", lambda t: tuple(sorted(t))))
    code = np.full(int(whole["patient"].max()) + 1, -1, dtype=np.int64)
    code[people.index] = pd.factorize(people["block"], sort=True)[0]
    made = np.tile(code, (draws + 1, 1))
    rng = np.random.default_rng(seed)
    for _, members in people.groupby("label", sort=True):
        place = members.index.to_numpy()
        made[1:, place] = rng.permuted(made[1:, place], axis=1)
    return made
