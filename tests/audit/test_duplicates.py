"""Copies of patients under new ids are found by looks and by features, and a run stops at them.

The cohorts of the acceptance test are slow: pytest -m slow tests/audit/test_duplicates.py -s
"""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import asdict, replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image as Pillow
from tests.copies import aside, copy_scans, copy_slides
from tests.small_scans import write_scan_study, write_scans
from tests.small_study import QUIET, write_study

from phenolens.audit.duplicates import LOOKS, embedded, looks_of, near_copies, near_duplicates
from phenolens.core.errors import CohortError, ImageError
from phenolens.core.look import look_of, vectors_of
from phenolens.core.progress import Progress
from phenolens.core.store import write_json
from phenolens.core.types import Bag, Example, Frame, Loaded, Part, Split
from phenolens.demo import make_demo
from phenolens.models.predict import Stored
from phenolens.run import run_study
from phenolens.scans.geometry import roi_of
from phenolens.scans.image import open_scan
from phenolens.scans.look import look
from phenolens.scans.mask import read_roi
from phenolens.scans.sampling import InMemory, sample
from phenolens.slides.look import look as slide_look
from phenolens.slides.prepare import SlideJob
from phenolens.steps.duplicates import FILE, RULE, STOP, Seen, alike, groups_of, told_of, told_of_cohort
from phenolens.steps.states import ImageState
from phenolens.synth.cohort import design_for, make

FRAME = Frame(shape=(10, 10), spacing=(0.5, 0.5), origin=(0.0, 0.0), unit="um")


def seen(n: int, *, copies: int = 0, seed: int = 0) -> list[Seen]:
    """n pictures of noise, the first `copies` of them again under new patients, a little noisier."""
    draw = np.random.default_rng(seed)
    pictures = [draw.normal(size=(32, 32)) for _ in range(n)]
    named = {f"P{i:03d}": x for i, x in enumerate(pictures)}
    told = [Seen(patient=p, image=f"{p}-A", kind="", look=look_of([x], 16)) for p, x in named.items()]
    for i in range(copies):
        again = pictures[i] + draw.normal(0, 0.05, (32, 32))
        told.append(Seen(patient=f"X{i:03d}", image=f"X{i:03d}-A", kind="", look=look_of([again], 16)))
    return told


def examples(n: int, *, copies: int = 0, d: int = 60) -> list[Example]:
    draw = np.random.default_rng(1)
    rows = [draw.normal(size=(4, d)) for _ in range(n)]
    names = [f"P{i:03d}" for i in range(n)] + [f"X{i:03d}" for i in range(copies)]
    made = []
    for name, x in zip(names, rows + rows[:copies], strict=True):
        bag = Bag(x=x.astype(np.float32), coords=np.zeros((4, 2)), extent=1.0, names=None, frame=FRAME, recipe="test")
        part = Part(name=f"{name}-A", image=f"{name}-A", source=Loaded(bag=bag))
        made.append(Example(patient=name, unit_id=name, parts=(part,), targets={"type": "A"}))
    return made


def split(test: set[str], rest: set[str]) -> Split:
    sets = {"train": frozenset(rest), "tune": frozenset[str](), "test": frozenset(test)}
    return Split(scheme="patient_kfold", repeat=0, fold=0, seed=0, **sets)


def test_a_copy_parted_by_a_split_is_an_error_and_one_that_is_not_a_warning() -> None:
    told = seen(30, copies=2)
    patients = {s.patient for s in told}
    error, warning = near_duplicates(told, [], [split({"X000", "P005"}, patients - {"X000", "P005"})], recurring=False)
    assert (error.rule, error.severity, error.who) == ("near-duplicate-patients", "error", ("P000", "X000"))
    assert "P000 = X000: P000-A and X000-A (look 0.9" in error.what
    assert "patient_kfold-0-0" in error.what
    assert "0.62" in error.inflates
    assert (warning.severity, warning.who) == ("warning", ("P001", "X001"))
    assert not near_duplicates(seen(30), examples(30), [], recurring=False)


def test_both_similarities_are_named_and_features_alone_are_enough() -> None:
    told = seen(30, copies=1)
    (copy,) = near_copies(told, embedded(examples(30, copies=1), recurring=False))
    assert copy.look is not None
    assert copy.look > STOP
    assert copy.features == pytest.approx(1, abs=1e-4)
    (alone,) = near_copies([], embedded(examples(30, copies=1), recurring=False))
    assert (alone.look, alone.images) == (None, ("P000-A", "X000-A"))


def test_a_chain_of_copies_is_one_group() -> None:
    told = [Seen(patient=p, image=p, kind="", look=seen(1)[0].look) for p in "abc"]
    other = [Seen(patient=p, image=p, kind="T1", look=seen(1, seed=4)[0].look) for p in "cd"]
    assert groups_of(alike([*told, *other], STOP)) == [("a", "b", "c", "d")]
    assert not alike([told[0], Seen(patient="z", image="z", kind="T2", look=told[0].look)], STOP)


def test_looks_are_read_from_the_images_of_a_run(tmp_path: Path) -> None:
    rows = [
        {"patient": "007", "image": "i1", "status": "used", "look": "8a", "sequence": "T1"},
        {"patient": "8", "image": "i2", "status": "quarantined", "look": "", "sequence": "T1"},
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "images.csv", index=False)
    assert looks_of(tmp_path / "images.csv") == [Seen(patient="007", image="i1", kind="T1", look="8a")]
    pd.DataFrame(rows).drop(columns="look").to_csv(tmp_path / "images.csv", index=False)
    assert looks_of(tmp_path / "images.csv") == []


def test_images_of_one_patient_may_look_alike() -> None:
    assert not alike([Seen(patient="a", image=i, kind="", look=seen(1)[0].look) for i in "12"], STOP)


def test_few_features_or_images_are_not_compared() -> None:
    assert not embedded(examples(10, copies=1), recurring=False)
    assert not embedded(examples(30, copies=1, d=5), recurring=False)


def test_a_model_knows_its_training_images_under_any_name(tmp_path: Path) -> None:
    told = seen(3, copies=1)
    write_json(tmp_path / FILE, [asdict(s) for s in told[:3]])
    stored = Stored(fitted=None, config={"training_patients": ["P000", "P001", "P002"]})  # type: ignore[arg-type]
    (said,) = told_of(tmp_path, stored, replace(told[3], patient="new"))
    assert "looks like image 'P000-A' of patient 'P000' (similarity 0.9" in said
    (by_id,) = told_of(tmp_path, stored, Seen(patient="P002", image="x", kind="", look=""))
    assert "trained on a patient 'P002'" in by_id
    assert told_of(tmp_path, stored, replace(seen(1, seed=5)[0], patient="new")) == []
    assert told_of(tmp_path / "elsewhere", stored, replace(told[3], patient="new")) == []


def test_an_external_cohort_with_a_training_image_under_a_new_id_is_an_error_that_names_both(tmp_path: Path) -> None:
    told = seen(3, copies=1)
    write_json(tmp_path / FILE, [asdict(s) for s in told[:3]])
    new = replace(told[3], patient="E1", image="E1-A")
    job = SlideJob(patient="E1", image="E1-A", path="", annotation=None, mpp=None)
    state = ImageState(job=job, site="away", facts={"look": new.look, "sequence": new.kind})
    (found,) = told_of_cohort({"E1-A": state}, tmp_path)
    assert found.severity == "error"
    assert {"P000", "E1"} <= set(found.who)
    assert "no external evidence" in found.what
    assert told_of_cohort({"E1-A": state}, tmp_path / "elsewhere") == []


@pytest.fixture(scope="module")
def doubled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of scans in which one patient is there twice, resampled and noisier."""
    folder = write_scans(tmp_path_factory.mktemp("doubled"), patients=6, missing=0)
    copy_scans(folder, 1 / 12, seed=3)
    return write_scan_study(folder)


def test_a_run_stops_at_a_patient_who_is_there_twice_and_names_both(doubled: Path) -> None:
    people = pd.read_csv(doubled / "patients.csv")
    assert people["patient"].iloc[-1] == "X000"
    with pytest.raises(CohortError, match="near copies of each other") as stopped:
        run_study(doubled, workers=0, progress=QUIET)
    assert "X000" in stopped.value.found
    assert not (doubled / "results" / "splits.csv").exists()


def test_a_signed_likeness_is_a_warning_that_stays_and_the_run_goes_on(doubled: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(doubled, tmp_path / "copy"))
    reason = "looked at both slides side by side: two people"
    with (copy / "study.yaml").open("a") as file:
        file.write(f"\nsign_offs: {{near-duplicate-patients: '{reason}'}}\n")
    run_study(copy, workers=0, until="splits", progress=QUIET)
    (found,) = [f for f in json.loads((copy / "results" / "findings.json").read_text()) if f["rule"] == RULE]
    assert found["severity"] == "warning"
    assert found["signed_off"] == reason


def _truth_and_found(folder: Path, names: dict[str, str], least: float) -> tuple[float, float, int]:
    """Share of the copied images that are found, share of other pairs that are named, and how many such pairs."""
    held = looks_of(folder / "results" / "images.csv")
    owner = {s.patient: names.get(s.patient, s.patient) for s in held}
    found = {frozenset(c.images) for c in alike(held, least)}
    stem = {s.image: s.image.rpartition("-")[2] for s in held}
    true, false = set(), 0
    for a, b in combinations(held, 2):
        if a.kind == b.kind and a.patient != b.patient:
            if owner[a.patient] != owner[b.patient]:
                false += 1
            elif stem[a.image] == stem[b.image]:
                true.add(frozenset((a.image, b.image)))
    wrong = [p for p in found if len({owner[s.patient] for s in held if s.image in p}) > 1]
    return len(found & true) / len(true), len(wrong) / false, false


@pytest.mark.slow
def test_no_two_real_tiles_are_called_copies_and_every_copy_is_found(real_data: Path) -> None:
    """60 sarcoma tiles at quality 70 with 2 px cut off; each tile counts as a patient, so that all pairs are asked."""
    told = []
    for path in sorted((real_data / "tiles" / "osteosarcoma").glob("*.jpg")):
        whole = np.asarray(Pillow.open(path).convert("RGB"))
        packed = io.BytesIO()
        Pillow.fromarray(whole[2:-2, 2:-2]).save(packed, "JPEG", quality=70)
        for name, rgb in ((path.stem, whole), (f"copy of {path.stem}", np.asarray(Pillow.open(packed)))):
            told.append(Seen(patient=name, image=name, kind="", look=slide_look(rgb)))
    found = {tuple(sorted(c.images)) for c in alike(told, LOOKS)}
    assert len(told) == 120
    assert found == {tuple(sorted((s.image, f"copy of {s.image}"))) for s in told[::2]}


@pytest.mark.slow
@pytest.mark.parametrize("place", ["lidc-nodules-160", "sts"])
def test_of_real_scans_copies_are_found_and_no_two_patients_are_called_one(place: str, real_data: Path) -> None:
    """Nodules are crops and many masks hold few voxels: the hardest case. A copy is half a voxel aside with noise."""
    rng = np.random.default_rng(0)
    told, again = [], []
    for path in sorted((real_data / "scans" / place).glob("*/*_image.nii.gz")):
        patient, kind = path.name.split("_")[0], "CT"
        if place == "sts":
            patient, kind = path.parent.name, patient
        try:
            with open_scan(path) as scan:
                roi = read_roi(str(path).replace("_image", "_mask"), scan.frame, value=None, name=None)
                x, frame = scan.whole(), scan.frame
        except ImageError:
            continue
        moved, inside = aside(x, roi.within((0, 0, 0), frame.shape), rng, moved=0.5, noise=0.1)
        pictures = ((told, x, roi), (again, moved, roi_of(inside.astype(np.uint8), frame)))
        for held, array, region in pictures:
            assert region is not None
            seen_as = look(sample(InMemory(x=array, frame=frame)), region)
            held.append(Seen(patient=patient, image=f"{patient}-{kind}", kind=kind, look=seen_as))
    for least in (STOP, LOOKS):
        false = alike(told, least)
        pairs = [vectors_of([a.look, b.look]) for a, b in zip(told, again, strict=True)]
        share = np.mean([float(a @ b) >= least for a, b in pairs])
        print(f"\n{place}, looks at {least}: {share:.1%} of {len(told)} copies, {len(false)} false pairs")  # noqa: T201
        assert share >= (0.95 if least == LOOKS else 0.85)
        assert not false


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["slides", "liver"])
def test_of_a_fifth_of_the_patients_copied_nearly_all_are_found_and_no_other_pair(tmp_path: Path, kind: str) -> None:
    if kind == "slides":
        make(tmp_path, design_for("sts-subtypes", patients_per_class=25, slide_px=500, faults=False), workers=0)
        names = copy_slides(tmp_path, 0.2)
        write_study(tmp_path, region={"tissue": "otsu"}, quality={"max_blur": None, "min_tissue_mm2": None})
    else:
        make(tmp_path, design_for("liver-mri", patients_per_class=20, voxel=1.5, faults=False), workers=0)
        names = copy_scans(tmp_path, 0.2)
        sequences = ["T1", "T2", "DWI", "CE-T1"]
        scan = {"sequences": sequences, "missing": "allowed", "intensity": {"scale": "zscore", "over": "body"}}
        write_scan_study(tmp_path, scan=scan, task={"target": "diagnosis"})
    run_study(tmp_path, workers=0, until="tiles", progress=Progress("quiet"))
    for least in (STOP, LOOKS):
        share, wrong, pairs = _truth_and_found(tmp_path, names, least)
        print(f"\n{kind}, looks at {least}: {share:.1%} of copies found, {wrong:.3%} of {pairs} other pairs")  # noqa: T201
        assert share >= (0.95 if least == LOOKS else 0.85)
        assert wrong <= 0.01
    with pytest.raises(CohortError, match="near copies"):
        run_study(tmp_path, workers=0, progress=QUIET)


@pytest.mark.slow
def test_patients_of_one_anatomy_are_not_called_copies(tmp_path: Path) -> None:
    """60 CTs that share one synthetic abdomen and differ in the lesion and in noise: the nearest pair is at 0.903."""
    folder = make_demo("gist-ct", tmp_path / "gist", patients=None, signal=1.0, seed=None, workers=0, progress=QUIET)
    assert not run_study(folder, workers=0, until="splits", progress=QUIET).finished
    told = looks_of(folder / "results" / "images.csv")
    assert len(told) == 60
    assert not alike(told, LOOKS)
