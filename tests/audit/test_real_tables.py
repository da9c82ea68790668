"""Two public radiomics tables through run, audit and report: what the audit says of them is true of them."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml
from tests.small_study import QUIET
from tests.test_survival_real import write_lung1

from phenolens.audit.study import audit_study
from phenolens.report.build import build
from phenolens.run import run_study

ONE_ROW = "Every row of the table is one patient; the publishers gave no ids."


def write_hcc(folder: Path, real_data: Path, **changes: object) -> Path:
    """169 patients with a label and 466 features of two phases; no ids, no site."""
    table = pd.read_csv(real_data / "tables" / "hcc-mtm-radiomics" / "XY3A.csv")
    names = [f"R{i:03d}" for i in range(len(table))]
    pd.DataFrame({"patient": names, "MTM": table["MTM"].map({0: "no", 1: "yes"})}).to_csv(
        folder / "patients.csv", index=False
    )
    table.drop(columns="MTM").assign(patient=names).to_csv(folder / "features.csv", index=False)
    content: dict[str, object] = {
        "study": "hcc-mtm",
        "features": {"table": "features.csv"},
        "task": {"target": "MTM", "positive": "yes", "threshold": 0.4},
        "models": ["logistic", {"search": {"workflows": 20}}],
        "validation": {"folds": 5},
        "statements": {"data_sources": ONE_ROW},
        **changes,
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(content))
    return folder


def rules(folder: Path) -> set[str]:
    return {f["rule"] for f in json.loads((folder / "results" / "findings.json").read_text())}


@pytest.mark.slow
def test_the_liver_table_has_no_signal_shown_and_what_cannot_be_seen_is_named(tmp_path: Path, real_data: Path) -> None:
    folder = write_hcc(tmp_path, real_data)
    assert run_study(folder, workers=2, progress=QUIET).finished
    assert {"no-site", "sites-few", "features-elsewhere", "sample-size"} <= rules(folder)
    audited = audit_study(folder, workers=2, progress=QUIET)
    assert not audited.failed
    kept = json.loads((folder / "results" / "audit.json").read_text())
    assert {t["model"] for t in kept["permutation"]} == {"logistic", "search"}
    assert all(t["p"] > 0.05 for t in kept["permutation"]), "published work found little signal in this set either"
    page = build(folder).read_text("utf-8")
    assert "features were made elsewhere (features.csv)" in page.replace("Features", "features")
    assert "Chance can explain this result" in page
    assert ONE_ROW in page
    assert "no known site" in page.lower()


@pytest.mark.slow
def test_the_lung_table_orders_risks_a_little_and_its_reduced_set_is_named(tmp_path: Path, real_data: Path) -> None:
    folder = write_lung1(tmp_path, real_data)
    assert run_study(folder, workers=2, progress=QUIET).finished
    assert {"no-site", "features-elsewhere"} <= rules(folder)
    audited = audit_study(folder, workers=2, progress=QUIET)
    assert not audited.failed
    (test,) = json.loads((folder / "results" / "audit.json").read_text())["permutation"]
    assert test["p"] < 0.05
    page = build(folder).read_text("utf-8")
    assert "Survival by risk group" in page
    assert "whether they were chosen, scaled or harmonised over all patients" in page
