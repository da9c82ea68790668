"""The demos of scans, with few patients: from DICOM and NIfTI files to a report, the planted faults found."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml

from phenolens.demo import make_demo
from phenolens.report.build import build
from phenolens.run import run_study
from tests.small_study import QUIET


@pytest.mark.parametrize(("recipe", "patients"), [("liver-mri", 4), ("gist-ct", 6)])
def test_a_demo_of_scans_runs_from_files_to_its_report(tmp_path: Path, recipe: str, patients: int) -> None:
    folder = make_demo(recipe, tmp_path / "demo", patients=patients, workers=0, progress=QUIET)
    content = yaml.safe_load((folder / "study.yaml").read_text())
    content["validation"] = {"folds": 2}
    content["models"] = ["volume_only", {"logistic": {"missing": "impute"}}]
    (folder / "study.yaml").write_text(yaml.safe_dump(content))
    assert run_study(folder, workers=1, progress=QUIET).finished
    page = build(folder).read_text("utf-8")
    assert "<h2>6. Scans</h2>" in page
    assert 'src="http' not in page
    out = pd.read_csv(folder / "results" / "quarantine.csv")
    planted = json.loads((folder / "truth.json").read_text())["faults"]
    unusable = {
        f["image"] for f in planted if f.get("kind", "") not in ("mask_on_another_grid", "mask on another grid")
    }
    assert set(out["image"]) <= {f["image"] for f in planted}
    assert len(set(out["image"]) & unusable) >= 2
