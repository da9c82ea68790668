"""Survival on real data: 421 lung cancers of NSCLC-Radiomics (Lung1) with 190 radiomics features."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import yaml

from phenolens.report.build import build
from phenolens.run import check, run_study
from tests.small_study import QUIET


def write_lung1(folder: Path, real_data: Path) -> Path:
    """The study; the table holds a reduced set, chosen elsewhere, so that its C is no honest one of the whole path."""
    held = real_data / "tables" / "lung1-radiomics"
    table = pd.read_csv(held / "cleaned_feature_matrix.csv").rename(columns={"PatientID": "patient"})
    people = pd.read_csv(held / "Lung1.clinical.csv").rename(columns={"PatientID": "patient"})
    clinical = [c for c in people.columns if c != "patient"]
    table.drop(columns=[c for c in clinical if c in table]).to_csv(folder / "features.csv", index=False)
    people.to_csv(folder / "patients.csv", index=False)
    content = {
        "study": "lung1",
        "features": {"table": "features.csv"},
        "task": {
            "kind": "survival",
            "target": "overall survival",
            "time": "Survival.time",
            "event": "deadstatus.event",
            "horizons": [365, 730, 1095],
        },
        "models": ["cox"],
        "validation": {"folds": 5},
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(content))
    return folder


def kaplan_meier(table: pd.DataFrame, at: float) -> float:
    """The share without the event at a time."""
    left = 1.0
    for t in sorted(set(table["time"][(table["event"] == 1) & (table["time"] <= at)])):
        left *= 1 - ((table["time"] == t) & (table["event"] == 1)).sum() / (table["time"] >= t).sum()
    return float(left)


def test_lung1_runs_from_its_table_to_the_report(tmp_path: Path, real_data: Path) -> None:
    folder = write_lung1(tmp_path, real_data)
    told = {f.rule for f in check(folder, workers=0, progress=QUIET).findings}
    assert {"no-site", "unit-without-features"} <= told
    assert run_study(folder, workers=0, progress=QUIET).finished
    table = pd.read_csv(folder / "results" / "estimates.csv")
    row = table[(table["metric"] == "uno_c") & (table["subgroup"] == "all")].iloc[0]
    assert row["n_patients"] == 421
    assert 0.5 < row["value"] < 0.65, "published C of radiomics alone on this cohort is about 0.57 to 0.60"
    predictions = pd.read_csv(folder / "results" / "predictions.csv").query("part == 'test'")
    dead = predictions[(predictions["event"] == 1) & (predictions["time"] <= 730)]
    alive = predictions[predictions["time"] > 730]
    assert len(dead) > 150
    assert dead["s_730"].mean() < alive["s_730"].mean()
    assert abs(predictions["s_730"].mean() - kaplan_meier(predictions, 730)) < 0.03
    page = build(folder).read_text("utf-8")
    assert "overall survival was predicted for 421 patients" in page
