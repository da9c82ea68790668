"""Real tables and tiles: the osteosarcoma tiles carry a label an image, of four cases."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from phenolens.cohort.check import static
from phenolens.cohort.split import Scheme, make
from phenolens.cohort.table import Tables, labels, load, read_table, unit_labels, units


@pytest.fixture
def osteosarcoma(real_data: Path, tmp_path: Path) -> Tables:
    folder = real_data / "tiles" / "osteosarcoma"
    if not folder.is_dir():
        pytest.skip(f"no osteosarcoma tiles in {real_data}")
    table = read_table(folder / "labels.csv").rename(columns={"case_from_filename": "patient", "file": "path"})
    table["path"] = [str(folder / name) for name in table["path"]]
    table.assign(magnification=10).to_csv(tmp_path / "images.csv", index=False)
    table[["patient"]].drop_duplicates().to_csv(tmp_path / "patients.csv", index=False)
    return Tables(patients=tmp_path / "patients.csv", images=tmp_path / "images.csv", target="label", unit="image")


def test_osteosarcoma_tiles_make_a_cohort_of_four_cases(osteosarcoma: Tables) -> None:
    cohort, found = load(osteosarcoma)
    assert {f.rule for f in found} == {"mpp-from-magnification", "no-site"}
    assert (cohort.images["mpp"] == 1.0).all()
    assert labels(cohort, osteosarcoma).to_dict() == {
        "Case-3": "Non-Tumor+Non-Viable-Tumor",
        "Case-4": "Non-Tumor+Non-Viable-Tumor+Viable",
        "Case-48": "Non-Tumor+Viable",
        "P9": "Non-Tumor",
    }
    frame = units(cohort, osteosarcoma)
    assert len(frame) == 60
    assert frame["truth"].value_counts().to_dict() == {"Non-Tumor": 20, "Non-Viable-Tumor": 20, "Viable": 20}


def test_osteosarcoma_splits_keep_each_class_in_training(osteosarcoma: Tables) -> None:
    cohort, _ = load(osteosarcoma)
    by_image = unit_labels(cohort, osteosarcoma)
    assert by_image is not None
    strata = labels(cohort, osteosarcoma)
    splits = make(cohort, strata, Scheme(folds=4), images_labels=by_image)
    assert sorted(p for s in splits for p in s.test) == ["Case-3", "Case-4", "Case-48", "P9"]
    found = static(cohort, strata, splits, by_image)
    assert {f.rule for f in found if f.severity != "note"} == {"class-few-for-folds"}
    owner = cohort.images.set_index("image")["patient"]
    for s in splits:
        trained = by_image[owner.reindex(by_image.index).isin(s.train)]
        assert set(trained) == {"Non-Tumor", "Non-Viable-Tumor", "Viable"}


@pytest.mark.parametrize(
    ("name", "column", "rows"),
    [
        ("crlm-tcia-clinical/clinical_data_with_img_features.csv", "Patient-ID", 197),
        ("lung1-radiomics/Lung1.clinical.csv", "PatientID", 422),
        ("tcga-cdr/tcga_wsi_labels.csv", "slide_id", 11277),
    ],
)
def test_real_tables_are_read_whole(real_data: Path, name: str, column: str, rows: int) -> None:
    path = real_data / "tables" / name
    if not path.exists():
        pytest.skip(f"no {name} in {real_data}")
    read, wanted = read_table(path), pd.read_csv(path)
    assert len(read) == len(wanted)
    assert read[column].tolist() == wanted[column].tolist()
