"""Synthetic liver MRI: real files in the right place, equal bytes, missing sequences, a signal that can be off."""

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
from hypothesis import given, settings
from hypothesis import strategies as st

from phenolens.synth.cohort import ScanDesign, design_for, make
from phenolens.synth.liver import liver_patient, paint
from phenolens.synth.scan_people import draw

SMALL = {"patients_per_class": 3, "voxel": 1.8, "seed": 5}


def liver(**overrides: object) -> ScanDesign:
    design = design_for("liver-mri", **{**SMALL, **overrides})
    assert isinstance(design, ScanDesign)
    return design


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("liver") / "cohort", liver(), workers=0)


def truth(folder: Path) -> dict:
    return json.loads((folder / "truth.json").read_text())


def images(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "images.csv", dtype=str).set_index("image")


def opened(path: Path) -> sitk.Image:
    if path.is_dir():
        return sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(path)))
    return sitk.ReadImage(str(path))


def faulty(folder: Path) -> dict[str, str]:
    return {f["image"]: f["fault"] for f in truth(folder)["faults"]}


def test_every_file_opens_and_lies_where_its_mask_lies(cohort: Path) -> None:
    seen = Counter()
    for image, row in images(cohort).iterrows():
        if faulty(cohort).get(image) == "broken":
            continue
        x, mask = opened(cohort / row["path"]), opened(cohort / row["mask"])
        assert list(x.GetSize()) == truth(cohort)["images"][image]["shape"]
        assert np.allclose(x.GetSpacing(), truth(cohort)["images"][image]["spacing_mm"], atol=1e-4)
        if image not in faulty(cohort):
            assert x.GetSize() == mask.GetSize()
            assert np.allclose(x.GetOrigin(), mask.GetOrigin(), atol=1e-3)
            assert np.allclose(x.GetDirection(), mask.GetDirection(), atol=1e-4)
        seen["DICOM" if (cohort / row["path"]).is_dir() else "NIfTI"] += 1
    assert min(seen["DICOM"], seen["NIfTI"]) > 5


def test_masks_lie_at_the_place_in_mm_that_the_truth_says(cohort: Path) -> None:
    for image, row in images(cohort).iterrows():
        mask = opened(cohort / row["mask"])
        lesions = truth(cohort)["patients"][row["patient"]]["lesions"]
        inside = np.argwhere(sitk.GetArrayFromImage(mask) == 1)[:, ::-1]
        if faulty(cohort).get(image) == "empty_mask":
            assert not len(inside)
            continue
        centre = mask.TransformContinuousIndexToPhysicalPoint(inside.mean(0).tolist())
        assert np.linalg.norm(np.array(centre) - lesions[0]["centre_mm"]) < 8


def test_dicom_series_are_anonymous_whole_and_say_their_sequence(cohort: Path) -> None:
    folder = next(cohort / row["path"] for i, row in images(cohort).iterrows() if row["path"].endswith("DWI"))
    slices = [pydicom.dcmread(p) for p in folder.iterdir()]
    assert len({s.SOPInstanceUID for s in slices}) == len(slices)
    assert {(s.PatientIdentityRemoved, s.PatientBirthDate, s.StudyDate) for s in slices} == {("YES", "", "")}
    assert {(s.Modality, s.SeriesInstanceUID) for s in slices} == {("MR", slices[0].SeriesInstanceUID)}
    assert slices[0].DiffusionBValue == 800
    assert [p.name for p in sorted(folder.iterdir())] != [
        p.name for p in sorted(folder.iterdir(), key=lambda p: pydicom.dcmread(p).InstanceNumber)
    ]


def test_sites_differ_in_spacing_level_and_tilt(cohort: Path) -> None:
    level, direction = {}, {}
    for image, row in images(cohort).iterrows():
        if row["sequence"] == "T2" and image not in faulty(cohort):
            x = opened(cohort / row["path"])
            level[row["site"]] = np.median(sitk.GetArrayFromImage(x)[sitk.GetArrayFromImage(x) > 20])
            direction[row["site"]] = x.GetDirection()
    assert level["south"] > 2 * level["north"] > 2 * level["east"]
    assert direction["north"] == (1, 0, 0, 0, 1, 0, 0, 0, 1) != direction["east"]


def test_faults_are_a_broken_file_an_empty_mask_and_a_mask_on_another_grid(cohort: Path) -> None:
    assert sorted(faulty(cohort).values()) == ["broken", "empty_mask", "mask_on_another_grid"]
    by_patient = images(cohort).groupby("patient").size()
    hosts = [f["patient"] for f in truth(cohort)["faults"] if f["fate"] == "quarantined"]
    assert (by_patient[hosts] > 1).all()
    broken = next(i for i, fault in faulty(cohort).items() if fault == "broken")
    with pytest.raises(RuntimeError):
        opened(cohort / images(cohort).loc[broken, "path"])


def test_bytes_do_not_depend_on_the_number_of_workers(tmp_path: Path) -> None:
    design = liver(patients_per_class=1, voxel=2.5)
    alone, together = (make(tmp_path / str(n), design, workers=n) for n in (0, 2))
    files = [p.relative_to(alone) for p in sorted(alone.rglob("*")) if p.is_file()]
    assert all((alone / f).read_bytes() == (together / f).read_bytes() for f in files)
    assert len(files) == sum(1 for p in together.rglob("*") if p.is_file()) > 20


@given(seed=st.integers(0, 10_000), missing=st.floats(0, 0.75), how=st.sampled_from(["random", "site"]))
@settings(max_examples=25, deadline=None)
def test_the_share_asked_for_is_missing_and_every_patient_keeps_one(seed: int, missing: float, how: str) -> None:
    people = draw(liver(seed=seed, missing=missing, missing_by=how, patients_per_class=10, faults=False))
    assert min(len(p.scans) for p in people) >= 1
    assert sum(len(p.scans) for p in people) == 160 - round(missing * 160)


def test_missing_by_site_takes_another_sequence_at_every_site() -> None:
    people = draw(liver(missing=0.4, missing_by="site", patients_per_class=60))
    lacks = {}
    for site in range(3):
        there = Counter(s.sequence for p in people if p.site == site for s in p.scans)
        lacks[site] = min(("T1", "T2", "DWI", "CE-T1"), key=lambda s: there[s])
    assert lacks == {0: "DWI", 1: "CE-T1", 2: "T1"}


def test_missing_sequences_do_not_depend_on_the_label_and_change_nothing_else() -> None:
    whole, part = (draw(liver(missing=m, faults=False)) for m in (0.0, 0.5))
    assert [replace(p, scans=()) for p in whole] == [replace(p, scans=()) for p in part]
    shared = part[0].scans[0].sequence
    one, other = (
        paint(d, p, liver_patient(d, p), shared)
        for d, p in zip((liver(), liver(missing=0.5)), (whole[0], part[0]), strict=True)
    )
    assert np.array_equal(one.x, other.x)


def other_kinds(design: ScanDesign) -> ScanDesign:
    """The same design with the kinds dealt to other classes."""
    labels, kinds = zip(*design.classes, strict=True)
    return replace(design, classes=tuple(zip(labels, (*kinds[1:], kinds[0]), strict=True)))


@pytest.mark.parametrize(("signal", "same"), [(0.0, True), (1.0, False)])
def test_without_signal_no_picture_depends_on_the_label(signal: float, same: bool) -> None:
    design = liver(signal=signal, voxel=2.5)
    for person in draw(design)[:3]:
        one, other = (
            paint(d, person, liver_patient(d, person), person.scans[0].sequence) for d in (design, other_kinds(design))
        )
        assert np.array_equal(one.mask, other.mask)
        assert np.array_equal(one.x, other.x) is same


def test_size_and_place_do_not_depend_on_the_label() -> None:
    design = liver(patients_per_class=25)
    found: dict[str, list[list[float]]] = {}
    for person in draw(design):
        known = liver_patient(design, person).tumours[0]
        found.setdefault(known.label, []).append([np.prod(known.body.axes) ** (1 / 3), *known.body.centre])
    everyone = np.concatenate([np.array(v) for v in found.values()])
    for values in found.values():
        z = (np.mean(values, axis=0) - everyone.mean(0)) / (everyone.std(0) / len(values) ** 0.5)
        assert np.abs(z).max() < 3.5


def test_further_lesions_are_listed_with_a_label_each(tmp_path: Path) -> None:
    folder = make(tmp_path / "c", liver(more=0.7, mixed=True, patients_per_class=2, faults=False, voxel=2.5), workers=0)
    lesions = pd.read_csv(folder / "lesions.csv")
    assert lesions.groupby("patient").size().max() == 3
    assert lesions.groupby("patient")["diagnosis"].nunique().max() > 1
    masks = images(folder).drop_duplicates("patient").set_index("patient")["mask"]
    for patient, rows in lesions.groupby("patient"):
        mask = opened(folder / masks[patient])
        values = set(np.unique(sitk.GetArrayFromImage(mask))) - {0}
        assert values == set(rows["mask_value"])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"signal": -0.1}, "signal must lie"),
        ({"missing": 0.8}, "keeps one sequence"),
        ({"sites": ()}, "one to 3 sites"),
        ({"voxel": 9.0}, "voxels of"),
        ({"classes": (("a", "hcc"), ("a", "fnh"))}, "different labels"),
        ({"classes": (("a", "hcc"), ("b", "hccc"))}, "did you mean 'hcc'"),
    ],
)
def test_impossible_design_is_refused(wrong: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        liver(**wrong)


def test_generator_is_the_one_that_was_fixed_before_any_fusion_model() -> None:
    """Mean inside the lesion and voxels of its mask, two patients; a change here is a new VERSION."""
    design = design_for("liver-mri", seed=1, missing=0.0, faults=False)
    assert isinstance(design, ScanDesign)
    found = {}
    for person in draw(design)[:2]:
        pictures = [paint(design, person, liver_patient(design, person), s) for s in design.sequences]
        found[person.patient] = [(float(p.x[p.mask > 0].mean()), int((p.mask > 0).sum())) for p in pictures]
    wanted = {
        "P001": [(758.88, 1112), (2627.72, 1043), (1272.46, 575), (1188.35, 1424)],
        "P002": [(529.16, 271), (1402.21, 261), (1402.93, 142), (722.72, 341)],
    }
    for patient, values in wanted.items():
        assert np.allclose(found[patient], values, rtol=1e-3)
