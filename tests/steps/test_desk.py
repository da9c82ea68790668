"""A decision at a threshold is about a class of the study, and that is known before anything is fitted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from phenolens.core.errors import StudyError
from phenolens.core.predictions import Predictions
from phenolens.core.progress import Progress
from phenolens.steps.cohort import read_cohort
from phenolens.steps.desk import Desk, decision_of
from phenolens.steps.models import measure
from phenolens.study import Study


def _desk(folder: Path, task: str) -> Desk:
    """A study of a feature table with six patients in two classes."""
    people = pd.DataFrame({"patient": [f"P{i}" for i in range(6)], "kind": ["plain", "red"] * 3, "site": "S"})
    people.to_csv(folder / "patients.csv", index=False)
    people[["patient"]].assign(size=range(6)).to_csv(folder / "features.csv", index=False)
    (folder / "study.yaml").write_text(
        f"study: small\npatients: patients.csv\nfeatures: {{table: features.csv}}\ntask: {{{task}}}\n"
        "models: [logistic]\nvalidation: {folds: 2}\n"
    )
    return Desk(study=Study.load(folder), workers=0, progress=Progress("quiet"))


def test_the_threshold_of_two_classes_is_of_the_last_or_the_named_one(tmp_path: Path) -> None:
    study = _desk(tmp_path, "target: kind, threshold: 0.2").study
    assert decision_of(study, ("plain", "red")) == {"positive": "red", "threshold": 0.2}
    named = _desk(tmp_path, "target: kind, threshold: 0.2, positive: plain").study
    assert decision_of(named, ("plain", "red")) == {"positive": "plain", "threshold": 0.2}
    assert decision_of(_desk(tmp_path, "target: kind").study, ("plain", "red")) == {}


def test_a_threshold_for_no_class_is_refused(tmp_path: Path) -> None:
    study = _desk(tmp_path, "target: kind, threshold: 0.2").study
    with pytest.raises(StudyError, match=r"task.threshold 0.2 for no class"):
        decision_of(study, ("a", "b", "c"))


def test_a_positive_class_that_is_none_is_refused_when_the_cohort_is_read(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="the positive class 'rde'") as caught:
        read_cohort(_desk(tmp_path, "target: kind, positive: rde"))
    assert "red" in str(caught.value)


def test_sensitivity_is_measured_at_the_threshold_of_the_study(tmp_path: Path) -> None:
    desk = _desk(tmp_path, "target: kind, threshold: 0.2")
    n = 60
    p = np.random.default_rng(0).random(n)
    key = {"experiment": "main", "scheme": "holdout", "target": "kind", "model": "m", "repeat": 0, "fold": 0}
    rest = {"part": "test", "patient": [f"P{i}" for i in range(n)], "unit": "patient", "site": "S", "split_hash": "h"}
    table = pd.DataFrame({**key, **rest, "truth": ["plain", "red"] * 30, "p_plain": 1 - p, "p_red": p})
    made = measure(desk, Predictions(table=table.assign(unit_id=table["patient"]), classes=("plain", "red")))
    row = made[made["metric"] == "sensitivity"].squeeze()
    assert row["subgroup"] == "class=red"
    assert row["value"] == pytest.approx((p[1::2] >= 0.2).mean())
    assert "from a probability of 0.2 on" in row["note"]
    assert (desk.results / "estimates.csv").exists()
