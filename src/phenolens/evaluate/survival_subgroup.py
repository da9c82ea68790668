"""How well risks are ordered in parts of the cohort (by sex, age, scanner), and how far that is from the rest.

Uno's C of a subgroup, up to the study's tau: the weighted share of its pairs, both in one test set, in which the
patient with the earlier event has the higher risk. Pairs, weights and ties are those of `survival_measures.uno_c`; the
weights for censoring come from every patient of the experiment and are the same for both sides, so that a difference is
one of risks and not of weights. Where censoring itself depends on the subgroup they are an approximation.

Pairs are counted within test sets and patients drawn again within each subgroup, for the reasons `subgroup` gives; how
often this errs and finds is measured in `tests/evaluate/test_survival_subgroup.py`, with a model refitted in each fold.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pandas as pd

from phenolens.core.predictions import SurvivalPredictions
from phenolens.core.registry import METRICS
from phenolens.evaluate.levels import Ordered, Question, told
from phenolens.evaluate.metric import floor_of
from phenolens.evaluate.survival_folds import SurvivalGroup, survival_groups
from phenolens.evaluate.survival_measures import uno_pairs

METRIC = "uno_c"


def survival_subgroups(predictions: SurvivalPredictions) -> pd.DataFrame:
    """One row a model, scheme, column `g_NAME` and level of it (`levels.COLUMNS`; `class` is empty).

    As `subgroup.subgroups`, of Uno's C. `n_events` and `rest_events` count patients whose event was seen by tau, in the
    level and among everyone else. Not estimable under 10 such patients in the level or, for the difference, in the
    rest: the floor of every C, under which one patient moves it by more than a tenth.

    Raises:
        ModelError: a patient with two follow-ups.
    """
    return told(list(survival_groups(predictions)), predictions.table, _questions)


def _questions(group: SurvivalGroup) -> Sequence[Question]:
    tau = group.follow_up.tau
    pairs = []
    for fold in group.folds:
        cases, everyone, right, weights = uno_pairs(fold.sample)
        pairs.append(Ordered(first=cases, second=everyone, right=right, all=weights))
    return [
        Question(
            metric=METRIC,
            part="",
            pairs=pairs,
            event=[fold.sample.event & (fold.sample.time <= tau) for fold in group.folds],
            short=partial(_short, tau),
            lacks="no test set holds a patient with the event and one followed for longer",
        )
    ]


def _short(tau: float, having: int, lacking: int) -> str:
    del lacking
    floor = floor_of(METRICS.create(METRIC))
    return f"{having} patients with the event by {tau:g} ({floor} needed)" if having < floor else ""
