"""What stands between the experiments of one study file: the best arm of a comparison, and whom it was chosen on."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from phenolens.cohort import split
from phenolens.core.errors import LeakError, StudyError
from phenolens.evaluate.metric import metrics_reading
from phenolens.experiments import Experiment
from phenolens.steps import cohort as cohorts
from phenolens.steps.desk import Desk

CHOSEN_BY = "balanced_accuracy"
"""The metric by which a comparison is decided where the study names none."""


def best_arm(arms: Sequence[Experiment], by: str) -> Experiment:
    """The arm with the best estimate of the metric `by` of its first model; of equals the first.

    Raises StudyError where the comparison has not run, or does not measure this.
    """
    metric = metrics_reading("probabilities", [by or CHOSEN_BY])[by or CHOSEN_BY]
    values = [_estimate(arm, by or CHOSEN_BY) for arm in arms]
    better = max if metric.better == "higher" else min
    return arms[values.index(better(values))]


def _estimate(arm: Experiment, metric: str) -> float:
    path = arm.folder / "results" / "estimates.csv"
    if not path.exists():
        raise StudyError(
            f"no results of {arm.name}, among which the best encoder is chosen",
            expected="a finished comparison",
            todo=f"phenolens run {arm.study.base} --only {arm.family}, then this one",
            where=str(arm.folder),
        )
    study, table = arm.study, pd.read_csv(path)
    model = study.model_choices()[0].name.rpartition(":")[2]
    wanted = {"scheme": study.validation.scheme, "model": model, "metric": metric, "subgroup": "all"}
    found = table.loc[(table[list(wanted)] == pd.Series(wanted)).all(axis=1), "value"].dropna()
    if found.empty:
        raise StudyError(
            f"no estimate of {metric} for {model} in {arm.name}",
            expected="one number by which the comparison is decided",
            todo="name another metric with by:, see phenolens list metrics",
            where=str(path),
        )
    return float(found.iloc[0])


def refuse_chosen_on(desk: Desk, one: Experiment, made: Sequence[Experiment]) -> None:
    """Stop an experiment whose encoder was chosen by the test results of patients whom it holds too.

    Raises LeakError naming them: the best of several on a test set looks better than it is.
    """
    arms = [e for e in made if one.chosen_from and e.family == one.chosen_from]
    paths = [path for e in arms if (path := e.folder / "results" / "splits.csv").exists()]
    chosen_on = {p for path in paths for s in split.read(path) for p in s.train | s.tune | s.test}
    both = sorted(chosen_on & set(map(str, cohorts.read_cohort(desk).cohort.patients.index))) if paths else []
    if both:
        shown = ", ".join(both[:8]) + (", …" if len(both) > 8 else "")
        raise LeakError(
            f"{len(both)} patients of {one.name} on whom its encoder was chosen ({one.chosen_from}): {shown}",
            expected="an encoder chosen on other patients: the best of several on one test set looks better than it is",
            todo=f"give {one.chosen_from} and {one.name} their own patients (where:), or name the backbone beforehand",
        )
