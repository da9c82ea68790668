"""The evidence record of real runs: every fact that such a run can hold is there, and the run seals its results."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from phenolens.core.errors import StudyError
from phenolens.core.store import fingerprint
from phenolens.report import facts
from phenolens.report.build import build
from phenolens.report.record import read
from phenolens.run import run_study
from tests.small_study import QUIET

NOT_OF_A_TABLE = {
    *("acquisition", "feature_standard", "input_checks", "licences", "mask_agreement", "preprocessing", "regions"),
    *("single_image", "standards", "subsets"),
}
"""Facts of images; of the others those below need a setting that is not in this study."""
NOT_ASKED = {"readers", "subgroups"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of a feature table with four sites, one of them the holdout, run to its end."""
    folder = tmp_path_factory.mktemp("run") / "study"
    folder.mkdir()
    rng, n = np.random.default_rng(0), 80
    who, label = [f"P{i:03d}" for i in range(n)], ["AB"[i % 2] for i in range(n)]
    site = [("north", "south", "east", "west")[(i // 2) % 4] for i in range(n)]
    people = pd.DataFrame({"patient": who, "site": site, "dx": label, "age": rng.integers(30, 90, n)})
    people.assign(sex=[("F", "M")[(i // 3) % 2] for i in range(n)], seen="2019-04-02").to_csv(
        folder / "patients.csv", index=False
    )
    x = rng.normal(size=(n, 4)) + np.array([[name == "A"] for name in label])
    pd.DataFrame(x, columns=list("abcd")).assign(patient=who).to_csv(folder / "features.csv", index=False)
    asked = {
        "study": "run",
        "features": {"table": "features.csv"},
        "task": {"target": "dx"},
        "models": ["logistic", "image_size"],
        "validation": {"folds": 2, "also": ["leave_one_site_out"], "holdout": "site == 'west'"},
        "timing": {"t0": "seen"},
        "where": "age > 0",
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(asked))
    run_study(folder, workers=0, progress=QUIET)
    build(folder)
    return folder


def test_every_fact_that_such_a_run_holds_is_in_its_record(run: Path) -> None:
    held = json.loads((run / "results" / "card.json").read_text("utf-8"))["facts"]
    assert facts.known() - set(held) == NOT_OF_A_TABLE | NOT_ASKED
    for name, fact in held.items():
        assert fact["text"].endswith((".", "!", "?")), name
        assert "nan" not in fact["text"].lower().split(), name


def test_the_sentences_hold_the_numbers_of_the_run(run: Path) -> None:
    held = {k: v["text"] for k, v in json.loads((run / "results/card.json").read_text("utf-8"))["facts"].items()}
    assert held["sites"] == "Patients tested at 4 sites: east 20, north 20, south 20, west 20."
    assert held["partition_mix"].startswith("Development: 60 patients (A 30, B 30) of east, north and south.")
    assert "holdout of 20 patients is of west" in held["external_test"]
    assert "read 1 time" in held["splits"]
    assert held["disjoint"] == "In each of 6 splits no patient stands in two of train, tune and test."
    assert held["dimensionality"].startswith("logistic: 4 features, 60 patients")
    assert held["dates"] == "Times of prediction (seen): 2019-04-02 to 2019-04-02 (80 dates)."
    assert "age median" in held["characteristics"]


def test_a_run_seals_its_results_and_an_edit_is_refused(run: Path) -> None:
    marks = read(run).manifest["fingerprints"]
    assert {"predictions.csv", "estimates.csv", "splits.csv", "images.csv", "findings.json"} <= set(marks)
    assert marks["estimates.csv"] == fingerprint(run / "results" / "estimates.csv")
    path = run / "results" / "estimates.csv"
    kept = path.read_bytes()
    path.write_bytes(kept.replace(b"logistic", b"logistik", 1))
    try:
        with pytest.raises(StudyError, match="not edited by hand"):
            build(run)
    finally:
        path.write_bytes(kept)
