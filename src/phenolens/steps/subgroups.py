"""The subgroups that a study asks for, as columns of the predictions, and how well each is served."""

from __future__ import annotations

import pandas as pd

from phenolens.cohort.subgroups import Asked, levels
from phenolens.core.predictions import SUBGROUP, Predicted, SurvivalPredictions
from phenolens.evaluate.subgroup import subgroups
from phenolens.evaluate.survival_subgroup import survival_subgroups
from phenolens.steps.desk import Desk, Ready, write_csv


def levels_of(desk: Desk, ready: Ready) -> dict[str, pd.Series[str]]:
    """Column -> patient -> level. Raises CohortError where a column cannot be used."""
    asked: list[Asked] = list(desk.study.subgroups)
    return levels(ready.cohort.patients, asked, table=desk.study.patients.name, target=desk.tables.target)


def with_subgroups(desk: Desk, ready: Ready, table: pd.DataFrame) -> pd.DataFrame:
    """The predictions with a column `g_NAME` for each column that subgroups are asked by."""
    found = {f"{SUBGROUP}{column}": table["patient"].map(of) for column, of in levels_of(desk, ready).items()}
    return table.assign(**found)


def measure_subgroups(desk: Desk, predictions: Predicted) -> None:
    """results/subgroups.csv, where the study asks for subgroups; an older one is removed where it does not."""
    path = desk.results / "subgroups.csv"
    if not desk.study.subgroups:
        path.unlink(missing_ok=True)
    elif isinstance(predictions, SurvivalPredictions):
        write_csv(path, survival_subgroups(predictions))
    else:
        write_csv(path, subgroups(predictions))
