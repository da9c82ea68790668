"""Every set of sequences is measured, with its interval; zeros in place of an absent sequence are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from phenolens.report.build import build
from phenolens.run import run_study
from phenolens.steps.subsets import subsets
from tests.small_study import QUIET

SEQUENCES = ("CE-T1", "DWI", "T1", "T2")


def write(folder: Path, patients: int = 90) -> Path:
    """A feature table of four sequences, a fifth of them missing; only DWI tells the classes apart."""
    rng = np.random.default_rng(3)
    label = np.where(np.arange(patients) % 2 == 0, "a", "b")
    names = [f"P{i:02d}" for i in range(patients)]
    pd.DataFrame({"patient": names, "site": "S", "kind": label}).to_csv(folder / "patients.csv", index=False)
    rows = []
    for sequence in SEQUENCES:
        x = rng.normal(size=(patients, 3))
        if sequence == "DWI":
            x[:, 0] += np.where(label == "b", 1.7, 0.0)
        here = (rng.random(patients) >= 0.2) | (np.arange(patients) < 4)
        table = pd.DataFrame(x, columns=["f0", "f1", "f2"]).assign(patient=names, sequence=sequence)
        rows.append(table[here])
    pd.concat(rows).to_csv(folder / "features.csv", index=False)
    study = {
        "study": "sets",
        "features": {"table": "features.csv"},
        "task": {"target": "kind"},
        "models": [{"logistic": {"missing": "impute"}}],
        "validation": {"folds": 3},
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(study))
    return folder


def test_four_sequences_make_fifteen_sets_and_seven_are_not_all_tried() -> None:
    assert len(list(subsets(SEQUENCES))) == 15
    assert len(set(subsets(SEQUENCES))) == 15
    seven = list(subsets([f"s{i}" for i in range(7)]))
    assert len(seven) == 7 + 7 + 1


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write(tmp_path_factory.mktemp("sets"))
    assert run_study(folder, workers=0, progress=QUIET).finished
    return folder


def test_every_set_of_four_sequences_has_a_row_with_its_interval(finished: Path) -> None:
    rows = pd.read_csv(finished / "results" / "subsets.csv")
    rows = rows[rows["metric"] == "macro_auc"]
    assert len(rows) == 15
    assert (rows["low"] < rows["value"]).all()
    assert (rows["value"] < rows["high"]).all()


def test_a_set_is_measured_on_the_patients_who_have_it_and_shows_what_it_carries(finished: Path) -> None:
    rows = pd.read_csv(finished / "results" / "subsets.csv")
    rows = rows[rows["metric"] == "macro_auc"].set_index("subset")
    table = pd.read_csv(finished / "features.csv")
    there = {s: set(table["patient"][table["sequence"] == s]) for s in SEQUENCES}
    for subset, row in rows.iterrows():
        have = set.intersection(*(there[s] for s in str(subset).split("+")))
        assert row["n_patients"] + row["refused"] == len(have)
    assert rows.loc["DWI", "value"] > 0.8
    assert rows.loc["T1+T2", "value"] < 0.7


def test_the_report_shows_the_sets(finished: Path) -> None:
    page = build(finished).read_text("utf-8")
    assert "Every set of sequences: logistic" in page
    assert "CE-T1 + DWI + T1 + T2" in page
