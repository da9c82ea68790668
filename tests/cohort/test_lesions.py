"""Several lesions a patient: the lesions table, units, strata, splits and regions."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from phenolens.cohort.check import static
from phenolens.cohort.split import Scheme, extend, make
from phenolens.cohort.table import Tables, difference, labels, lesions, load, regions, snapshot, unit_labels, units
from phenolens.core.errors import CohortError
from phenolens.core.types import Finding

IMAGES = """patient,image,path,kind,sequence,mask,timepoint
P1,a1,s1.nii,scan,T1,m1.nii,
P1,a2,s2.nii,scan,T2,,
P1,a9,s5.nii,scan,T1,m5.nii,later
P2,b1,s3.nii,scan,T1,m3.nii,
P3,c1,s4.nii,scan,T1,m4.nii,
"""
LESIONS = """patient,lesion,image,mask,mask_value,type
P1,1,,,1,FNH
P1,2,,,2,HCC
P2,1,b1,own.nii,,HCC
P3,1,,,,FNH
"""
Write = Callable[..., Tables]


@pytest.fixture
def cohort(tmp_path: Path) -> Write:
    """Writes the three tables and their files, and returns what to read."""
    for n in range(1, 6):
        (tmp_path / f"s{n}.nii").write_bytes(b"s" * n)
        (tmp_path / f"m{n}.nii").write_bytes(b"m" * n)
    (tmp_path / "own.nii").write_bytes(b"own")

    def made(lesions: str = LESIONS, images: str = IMAGES, **asked: object) -> Tables:
        (tmp_path / "patients.csv").write_text("patient,site\nP1,A\nP2,A\nP3,B\n", encoding="utf-8")
        (tmp_path / "images.csv").write_text(images, encoding="utf-8")
        (tmp_path / "lesions.csv").write_text(lesions, encoding="utf-8")
        named = {name: tmp_path / f"{name}.csv" for name in ("patients", "images", "lesions")}
        return Tables(**({**named, "target": "type", "unit": "lesion"} | asked))

    return made


def refusal(tables: Tables) -> str:
    with pytest.raises(CohortError) as fault:
        load(tables)
    return str(fault.value)


def found(tables: Tables) -> dict[str, Finding]:
    return {f.rule: f for f in load(tables)[1]}


def test_each_lesion_is_a_unit_with_the_images_of_its_patient(cohort: Write) -> None:
    tables = cohort()
    read, told = load(tables)
    assert told == []
    frame = units(read, tables)
    assert list(frame.columns) == ["unit_id", "patient", "site", "truth", "images"]
    assert frame.to_numpy().tolist() == [
        ["P1/1", "P1", "A", "FNH", ("a1", "a2")],
        ["P1/2", "P1", "A", "HCC", ("a1", "a2")],
        ["P2/1", "P2", "A", "HCC", ("b1",)],
        ["P3/1", "P3", "B", "FNH", ("c1",)],
    ]
    assert read.lesions is not None
    assert list(read.lesions.columns) == ["patient", "lesion", "image", "mask", "mask_value", "mask_name", "type"]
    assert lesions(read, tables)["lesion"].tolist() == ["1", "2", "1", "1"]


def test_labels_are_strata_of_patients_and_classes_of_lesions(cohort: Write) -> None:
    tables = cohort()
    read, _ = load(tables)
    assert labels(read, tables).to_dict() == {"P1": "FNH+HCC", "P2": "HCC", "P3": "FNH"}
    by_unit = unit_labels(read, tables)
    assert by_unit is not None
    assert by_unit.to_dict() == {"P1/1": "FNH", "P1/2": "HCC", "P2/1": "HCC", "P3/1": "FNH"}


def test_splits_are_of_patients_and_hold_every_class(cohort: Write, tmp_path: Path) -> None:
    tables = cohort()
    people = [f"P{i}" for i in range(30)]
    rows = [(p, str(n), "ab"[(i + n) % 2]) for i, p in enumerate(people) for n in range(1 + i % 3)]
    tables.patients.write_text("patient\n" + "\n".join(people), encoding="utf-8")
    assert tables.lesions is not None
    tables.lesions.write_text("patient,lesion,type\n" + "\n".join(map(",".join, rows)), encoding="utf-8")
    tables = replace(tables, images=None)
    read, _ = load(tables)
    strata, by_unit = labels(read, tables), unit_labels(read, tables)
    splits = make(read, strata, Scheme(folds=5), images_labels=by_unit)
    assert sorted(p for s in splits for p in s.test) == sorted(people)
    assert extend(splits, read, strata, Scheme(folds=5), images_labels=by_unit) == splits
    rules = {f.rule for f in static(read, strata, splits, by_unit)}
    assert not rules & {"class-not-trained", "class-few-for-folds", "few-classes"}


def test_lesions_need_no_images_where_features_come_from_a_table(cohort: Write) -> None:
    tables = replace(cohort(), images=None)
    read, told = load(tables)
    assert told == []
    assert units(read, tables)["images"].tolist() == [()] * 4
    assert units(read, tables)["unit_id"].tolist() == ["P1/1", "P1/2", "P2/1", "P3/1"]


def test_the_region_of_a_lesion_is_its_own_mask_or_its_value_in_that_of_the_image(
    cohort: Write, tmp_path: Path
) -> None:
    tables = cohort()
    read, _ = load(tables)
    rows = regions(read, tables, mask_from="T1")
    told = [
        (r["unit_id"], r["image"], None if r["mask"] is None else Path(r["mask"]).name, r["mask_value"], r["drawn_on"])
        for r in rows.to_dict("records")
    ]
    assert told == [
        ("P1/1", "a1", "m1.nii", 1, None),
        ("P1/1", "a2", "m1.nii", 1, "a1"),
        ("P1/2", "a1", "m1.nii", 2, None),
        ("P1/2", "a2", "m1.nii", 2, "a1"),
        ("P2/1", "b1", "own.nii", None, None),
        ("P3/1", "c1", "m4.nii", None, None),
    ]
    alone = regions(read, tables)
    assert alone["mask"].isna().tolist() == [False, True, False, True, False, False]


def test_a_lesion_drawn_on_several_images_has_a_row_for_each(cohort: Write) -> None:
    drawn = LESIONS.replace("P1,1,,,1,FNH\n", "P1,1,a1,own.nii,,FNH\nP1,1,a2,m2.nii,7,\nP1,1,a9,m3.nii,,\n")
    tables = cohort(lesions=drawn)
    read, told = load(tables)
    assert told == []
    assert len(units(read, tables)) == 4
    rows = regions(read, tables)
    mine = rows[rows["unit_id"] == "P1/1"]
    assert [Path(m).name for m in mine["mask"]] == ["own.nii", "m2.nii"]
    assert mine["mask_value"].tolist() == [None, 7]
    assert mine["drawn_on"].tolist() == [None, None]
    later = cohort(lesions=drawn, timepoint="later")
    read, _ = load(later)
    assert units(read, later)["unit_id"].tolist() == ["P1/1", "P1/2"]
    rows = regions(read, later)
    assert [Path(m).name for m in rows["mask"]] == ["m3.nii", "m5.nii"]


def test_a_lesion_drawn_on_one_image_is_brought_to_the_others(cohort: Write) -> None:
    tables = cohort(lesions=LESIONS.replace("P1,1,,,1", "P1,1,a2,own.nii,"))
    rows = regions(load(tables)[0], tables)
    first = rows[rows["unit_id"] == "P1/1"]
    assert [Path(m).name for m in first["mask"]] == ["own.nii", "own.nii"]
    assert first["drawn_on"].tolist() == ["a2", None]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("lesion,image", "lesion_id,image", "lesions.csv row 1: found no column 'lesion'"),
        ("value,type", "value,kind", "no column 'type', the target of the task"),
        ("P2,1,b1", "P9,1,b1", "lesions.csv row 4, column patient: found a lesion of unknown patient 'P9'"),
        ("P2,1,b1", "P2,,b1", "found an empty lesion in row 4"),
        ("P1,2,,,2", "P1,1,,,2", "rows 2, 3, column lesion: found lesion '1' of patient P1 twice"),
        ("P2,1,b1", "P2,1,a1", "image 'a1' in a lesion of patient P2, which is of patient P1"),
        ("P2,1,b1", "P2,1,b2", "(did you mean 'b1'?)"),
        ("P1,2,,,2", "P1,2,,,1", "rows 2, 3, column mask_value: found lesions 1, 2 of patient P1 with one mask and no"),
        ("P1,1,,,1", "P1,1,,,x", "mask_value 'x'; expected a whole number"),
        ("P3,1,,,,FNH\n", "P3,1,c1,,,FNH\nP3,1,a1,,,HCC\n", "lesion '1' of patient P3 with type FNH and HCC"),
        ("P3,1,,,,FNH\n", "P3,1,,,,fhn\n", "unknown class 'fhn'"),
    ],
)
def test_a_fault_of_the_lesions_table_names_its_place(cohort: Write, old: str, new: str, said: str) -> None:
    assert LESIONS.count(old) == 1
    assert said in refusal(cohort(lesions=LESIONS.replace(old, new), classes=("FNH", "HCC")))


def test_a_lesion_unit_without_its_table_is_refused_and_so_is_a_label_elsewhere(cohort: Write) -> None:
    assert "task.unit lesion without a lesions table" in refusal(replace(cohort(), lesions=None))
    assert "set task.unit: patient" in refusal(cohort(target="site"))


def test_ids_that_would_make_one_unit_of_two_lesions_are_refused(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("patient\na/b\na\n", encoding="utf-8")
    (tmp_path / "l.csv").write_text("patient,lesion,type\na/b,c,x\na,b/c,y\n", encoding="utf-8")
    tables = Tables(patients=tmp_path / "p.csv", images=None, lesions=tmp_path / "l.csv", target="type", unit="lesion")
    assert "two lesions that would both be called 'a/b/c'" in refusal(tables)


def test_lesions_without_label_mask_or_patients_without_lesion_are_told(cohort: Write) -> None:
    told = found(cohort(lesions=LESIONS.replace("2,HCC", "2,").replace("P3,1,,,,FNH\n", "")))
    assert told["lesion-without-label"].who == ("P1",)
    assert "left out: P1/2 (row 3 of lesions.csv)" in told["lesion-without-label"].what
    assert told["patient-without-lesion"].who == ("P3",)
    told = found(cohort(images=IMAGES.replace("m4.nii", "")))
    assert told["lesion-without-mask"].who == ("P3",)
    assert found(cohort(lesions=LESIONS.replace("own", "lost")))["mask-not-found"].who == ("P2",)


def test_lesions_enter_the_fingerprint_and_their_changes_are_said(cohort: Write, tmp_path: Path) -> None:
    read, _ = load(cohort())
    before = json.loads(json.dumps(snapshot(read), allow_nan=False))
    assert str(tmp_path) not in json.dumps(before)
    (tmp_path / "own.nii").write_bytes(b"new")
    after, _ = load(cohort(lesions=LESIONS.replace("2,HCC", "2,FNH") + "P3,2,,m2.nii,,HCC\n"))
    assert after.fingerprint != read.fingerprint
    assert difference(before, after) == [
        "1 lesion added: 2 of P3",
        "lesion 1 of P2 on b1: mask content changed",
        "lesion 2 of P1: type changed from HCC to FNH",
    ]
