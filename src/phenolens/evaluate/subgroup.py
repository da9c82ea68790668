"""How well a model does in parts of the cohort (by sex, age, scanner), and how far that is from the rest.

The area under the ROC curve of a subgroup is the share of pairs of its patients, one with the class and one without,
both in one test set, in which the one with the class has the higher probability. Scores of different folds are never
ranked together, and no fold is lost because a class is missing in its part of a subgroup, as in a mean over folds.

Intervals are of whole patients drawn again within each subgroup, over all folds and repeats, with the fitted models as
they are. For a difference between subgroups that is the honest choice: both sides are scored by the same models, so
what models owe to their training patients is common to both and falls out, and what is left is which patients were
tested. A Nadeau-Bengio interval of fold differences would need both classes of both sides in every fold, has as few
degrees of freedom as there are folds, and finds little. How often it errs and how often it finds a planted difference
is measured in `tests/evaluate/test_subgroup_power.py`, with a ridge that is refitted in every fold.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from phenolens.core.predictions import Predictions
from phenolens.core.registry import METRICS
from phenolens.evaluate.folds import Group, groups
from phenolens.evaluate.levels import Ordered, Question, told
from phenolens.evaluate.metric import floor_of

METRIC = "auc"


def subgroups(predictions: Predictions) -> pd.DataFrame:
    """One row a model, scheme, class, column `g_NAME` and level of it (`levels.COLUMNS`); none without a `g_` column.

    `value` is the AUC of the level with limits `low` and `high`; `difference` is it minus the AUC of everyone else,
    with its limits, `p` (two-sided, from the resamples) and `p_holm` (over the comparisons of a model and scheme; a
    column of two levels counts once). `n_events` and `rest_events` count patients with the class in the level and
    among everyone else. Numbers are empty (NaN) where not estimable: under 10 test patients with the class and 10
    without, in the level or, for the difference, in the rest; `note` says so. Of two classes only the last is told.
    Only test rows are read. Deterministic.

    Raises:
        ModelError: a truth that is none of the classes.
    """
    return told(list(groups(predictions)), predictions.table, _questions)


def _questions(group: Group) -> Sequence[Question]:
    shown = range(len(group.classes))[-1:] if len(group.classes) == 2 else range(len(group.classes))
    return [_question(group, i) for i in shown]


def _question(group: Group, i: int) -> Question:
    pairs = []
    for fold in group.folds:
        ours, theirs = np.flatnonzero(fold.truth == i), np.flatnonzero(fold.truth != i)
        score, apart = fold.p[ours, i][:, None], fold.p[theirs, i][None]
        right = ((score > apart) + 0.5 * (score == apart)).astype(np.float32)
        pairs.append(Ordered(first=ours, second=theirs, right=right))
    return Question(
        metric=METRIC,
        part=group.classes[i],
        pairs=pairs,
        event=[fold.truth == i for fold in group.folds],
        short=_short,
        lacks="no test set holds a patient with the class and one without",
    )


def _short(having: int, lacking: int) -> str:
    floor = floor_of(METRICS.create(METRIC))
    few = [f"{n} {word}" for n, word in ((having, "with"), (lacking, "without")) if n < floor]
    return f"{' and '.join(few)} the class ({floor} patients needed)" if few else ""
