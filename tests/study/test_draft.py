"""`phenolens new RECIPE DIR --from FOLDER`: tables drafted from a folder of scans."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from tests.small_scans import write_scans

from phenolens.core.errors import CohortError
from phenolens.recipes import write_draft, write_template


def test_a_folder_of_scans_becomes_rows_to_correct_and_patients_to_label(tmp_path: Path) -> None:
    data = write_scans(tmp_path / "data", patients=2, missing=0.0)
    (data / "scans" / "P01" / "T1.nii.gz").unlink()
    study = tmp_path / "study"
    write_template("crlm-hgp", study)
    said = write_draft(study, data / "scans")
    rows = pd.read_csv(study / "images.csv")
    assert dict(rows["sequence"].value_counts()) == {"T2": 4, "T1": 3}
    assert rows["mask"].notna().all()
    assert {"confidence", "why"} <= set(rows.columns)
    patients = pd.read_csv(study / "patients.csv")
    assert list(patients["patient"]) == ["P00", "P01", "P02", "P03"]
    assert patients["hgp"].isna().all()
    assert "T1 3" in said[0]


def test_paths_inside_the_study_are_relative(tmp_path: Path) -> None:
    write_template("crlm-hgp", tmp_path)
    data = write_scans(tmp_path / "data", patients=1, missing=0.0)
    (data / "scans" / "P01" / "T1.nii.gz").unlink()
    write_draft(tmp_path, data / "scans")
    rows = pd.read_csv(tmp_path / "images.csv")
    assert all((tmp_path / p).exists() and not Path(p).is_absolute() for p in rows["path"])


def test_a_folder_without_scans_is_refused(tmp_path: Path) -> None:
    write_template("crlm-hgp", tmp_path / "study")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CohortError, match="no scan under"):
        write_draft(tmp_path / "study", tmp_path / "empty")
