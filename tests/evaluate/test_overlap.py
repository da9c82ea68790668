"""Agreement of masks as estimates: by patient, over folds, on one test set, over sites."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from phenolens.evaluate.interval import nadeau_bengio, random_effects
from phenolens.evaluate.overlap import overlap_estimates
from phenolens.evaluate.score import COLUMNS


def table(values: list[tuple[int, str, str, float]], scheme: str = "patient_kfold") -> pd.DataFrame:
    """Rows of (fold, patient, site, dice); surface_dice is half of it, and a Dice of 0 is nothing found."""
    rows = [
        {"model": "unet", "scheme": scheme, "repeat": 0, "fold": f, "patient": p, "site": s, "dice": d}
        for f, p, s, d in values
    ]
    made = pd.DataFrame(rows)
    return made.assign(surface_dice=made["dice"] / 2, parts_pred=(made["dice"] > 0).astype(int))


FOLDS = [(0, "a", "X", 0.8), (0, "b", "Y", 0.6), (1, "c", "X", 0.0), (1, "d", "Y", 0.5), (1, "d", "Y", 0.7)]


def found(values: list[tuple[int, str, str, float]], scheme: str = "patient_kfold") -> pd.DataFrame:
    made = overlap_estimates(table(values, scheme), target="lesion", ratio={scheme: 0.5})
    assert list(made.columns) == list(COLUMNS)
    return made.set_index(["metric", "subgroup"])


def test_a_patient_counts_once_and_folds_are_averaged() -> None:
    row = found(FOLDS).loc["dice", "all"]
    by_fold = [(0.8 + 0.6) / 2, (0.0 + 0.6) / 2]
    assert row["value"] == pytest.approx(np.mean(by_fold))
    limits = nadeau_bengio(by_fold, 0.5, (0, 1))
    assert limits is not None
    assert (row["low"], row["high"]) == pytest.approx((limits.low, limits.high))
    assert (row["n_patients"], row["n_events"]) == (4, 3)
    assert found(FOLDS).loc["surface_dice", "all"]["value"] == pytest.approx(np.mean(by_fold) / 2)


def test_medians_and_sites_are_of_all_patients() -> None:
    made = found(FOLDS)
    assert made.loc["median_dice", "all"]["value"] == pytest.approx(0.6)
    assert made.loc["dice", "site=X"]["value"] == pytest.approx(0.4)
    assert "bootstrap" in made.loc["dice", "site=X"]["method"]
    assert made.loc["dice", "site=Y"]["value"] == pytest.approx(0.6)
    assert "no interval" in made.loc["dice", "site=Y"]["note"]


def test_one_test_set_has_a_bootstrap_of_patients_that_does_not_depend_on_the_order_of_rows() -> None:
    values = [(0, f"p{i}", "X", 0.3 + 0.05 * i) for i in range(10)]
    row = found(values, "holdout").loc["dice", "all"]
    assert row["low"] < row["value"] < row["high"]
    assert "bootstrap" in row["method"]
    assert found(values[::-1], "holdout").loc["dice", "all"]["low"] == row["low"]


def test_leave_one_site_out_is_told_for_a_new_site() -> None:
    values = [
        (k, f"{s}{i}", s, v + 0.02 * i)
        for k, (s, v) in enumerate({"X": 0.5, "Y": 0.6, "Z": 0.8}.items())
        for i in range(4)
    ]
    row = found(values, "leave_one_site_out").loc["dice", "all"]
    per_site = [np.array([v + 0.02 * i for i in range(4)]) for v in (0.5, 0.6, 0.8)]
    made = random_effects([v.mean() for v in per_site], [v.var(ddof=1) / 4 for v in per_site], (0, 1))
    assert row["value"] == pytest.approx(made.mean)
    assert made.prediction is not None
    assert (row["low"], row["high"]) == pytest.approx(made.prediction)
    assert "new site" in row["method"]


def test_one_patient_has_a_value_without_interval() -> None:
    row = found([(0, "a", "X", 0.7)], "holdout").loc["dice", "all"]
    assert row["value"] == pytest.approx(0.7)
    assert np.isnan(row["low"])
