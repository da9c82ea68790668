"""Synthetic abdominal CT: DICOM series with contours and segmentations, HU, and a label in texture and shape alone."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813

from phenolens.core.errors import ImageError
from phenolens.scans.image import open_scan
from phenolens.scans.mask import read_roi
from phenolens.synth.cohort import ScanDesign, design_for, make
from phenolens.synth.gist import gist_patient, paint_ct
from phenolens.synth.scan_people import draw


def gist(**overrides: object) -> ScanDesign:
    design = design_for("gist-ct", **{"patients_per_class": 3, "voxel": 1.9, "seed": 1, **overrides})
    assert isinstance(design, ScanDesign)
    return design


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("gist") / "cohort", gist(), workers=0)


def truth(folder: Path) -> dict:
    return json.loads((folder / "truth.json").read_text())


def images(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "images.csv", dtype=str).set_index("image")


def test_series_are_read_as_hu_of_fat_liver_and_air(cohort: Path) -> None:
    broken = {f["image"] for f in truth(cohort)["faults"] if f["fault"] == "broken"}
    forms = Counter()
    for path in images(cohort).drop(index=broken)["path"]:
        folder = cohort / path
        series = folder.is_dir()
        names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)) if series else str(folder)
        x = sitk.GetArrayFromImage(sitk.ReadImage(names))
        counts, edges = np.histogram(x[(x > -400) & (x < 400)], bins=np.arange(-400, 401, 10))
        fat = edges[:-1][edges[:-1] < -50][np.argmax(counts[edges[:-1] < -50])]
        assert x.min() == -1024
        assert -125 <= fat <= -85
        forms["DICOM" if series else "NIfTI"] += 1
    assert min(forms["DICOM"], forms["NIfTI"]) >= 1


def test_contours_and_segmentations_give_back_the_mask_voxel_by_voxel(cohort: Path) -> None:
    forms = Counter()
    for image, row in images(cohort).iterrows():
        if not row["mask"].endswith(".dcm"):
            continue
        with open_scan(cohort / row["path"], patient=row["patient"], image=image) as scan:
            roi = read_roi(cohort / row["mask"], scan.frame)
        assert roi.voxels == truth(cohort)["images"][image]["voxels"]
        forms[pydicom.dcmread(cohort / row["mask"], stop_before_pixels=True).Modality] += 1
    assert set(forms) == {"RTSTRUCT", "SEG"}


@pytest.mark.parametrize("seed", range(3))
def test_a_broken_scan_cannot_be_read_whole_and_an_empty_mask_is_refused(seed: int, tmp_path: Path) -> None:
    folder = make(tmp_path / "c", gist(patients_per_class=1, voxel=2.5, seed=seed), workers=0)
    faults = {f["fault"]: f for f in truth(folder)["faults"]}
    assert set(faults) == {"broken", "empty_mask", "mask_on_another_grid"}
    broken, empty = (images(folder).loc[faults[name]["image"]] for name in ("broken", "empty_mask"))
    with pytest.raises(ImageError), open_scan(folder / broken["path"]) as scan:
        scan.whole()
    with open_scan(folder / empty["path"]) as scan, pytest.raises(ImageError, match="empty"):
        read_roi(folder / empty["mask"], scan.frame)


def test_usable_patients_are_as_many_as_asked_in_every_class(cohort: Path) -> None:
    usable = Counter(p["label"] for p in truth(cohort)["patients"].values() if p["usable"])
    assert usable == {"KIT exon 11": 3, "other": 3}
    assert len(truth(cohort)["patients"]) == 8


def test_bytes_do_not_depend_on_the_number_of_workers_nor_on_the_time(tmp_path: Path) -> None:
    design = gist(patients_per_class=2, voxel=2.5)
    alone, together = (make(tmp_path / str(n), design, workers=n) for n in (0, 2))
    files = [p.relative_to(alone) for p in sorted(alone.rglob("*")) if p.is_file()]
    assert [f.as_posix() for f in files if (alone / f).read_bytes() != (together / f).read_bytes()] == []


@pytest.mark.parametrize(("signal", "same"), [(0.0, True), (1.0, False)])
def test_without_signal_no_picture_depends_on_the_label(signal: float, same: bool) -> None:
    design = gist(signal=signal, voxel=2.5)
    dealt = replace(design, classes=(("KIT exon 11", "smooth"), ("other", "lobed")))
    for person in draw(design)[:2]:
        one, other = (paint_ct(d, person, gist_patient(d, person)) for d in (design, dealt))
        assert np.array_equal(one.x, other.x) is same
        assert np.array_equal(one.mask, other.mask) is same


def test_volume_of_the_mass_does_not_depend_on_the_label() -> None:
    design = gist(patients_per_class=40, faults=False)
    volumes: dict[str, list[float]] = {}
    for person in draw(design):
        known = gist_patient(design, person).masses[0]
        scale = 1 + 3 * known.nature.lobes**2
        volumes.setdefault(known.label, []).append(float(np.log(np.prod(known.body.axes) * scale)))
    one, other = volumes.values()
    spread = np.std([*one, *other]) * (2 / 40) ** 0.5
    assert abs(np.mean(one) - np.mean(other)) < 3 * spread


def test_a_mass_lies_where_nothing_but_fat_and_gut_is_pushed_aside(cohort: Path) -> None:
    design, shares = gist(), []
    for person in draw(design):
        known = gist_patient(design, person)
        centre = np.array([known.masses[0].body.centre], dtype=np.float32)
        shares.append(known.body.liver.depth(centre)[0] > 1 and known.body.cavity.depth(centre)[0] < 1)
    assert all(shares)


def test_more_than_one_mass_is_refused() -> None:
    with pytest.raises(ValueError, match="one mass"):
        gist(more=0.5)
