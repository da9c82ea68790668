"""The images table of scans: kind, sequence, mask, timepoint."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from phenolens.cohort.table import Tables, difference, load, regions, snapshot, units
from phenolens.core.errors import CohortError
from phenolens.core.types import Finding

from .conftest import PATIENTS, Write

SCANS = """patient,path,kind,sequence,mask,mask_value,timepoint
P1,a/t1.nii.gz,scan,T1,a/m.nii.gz,2,
P1,a/t2.nii.gz,scan,T2,,,baseline
P1,a/late.nii.gz,scan,T1,,,month 3
P2,b/t1.nii.gz,scan,T1,b/m.nii.gz,,
P3,c/t2.nii.gz,scan,T2,c/m.nii.gz,,
P4,d/t1.nii.gz,scan,T1,d/m.nii.gz,,
"""


@pytest.fixture
def scans(write: Write, tmp_path: Path) -> Write:
    """Like `write`, with the files that SCANS names."""
    for number, name in enumerate(SCANS.replace("\n", ",").split(",")):
        if name.endswith(".nii.gz"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(b"scan" * (number + 1))

    def made(patients: str = PATIENTS, images: str = SCANS, **asked: object) -> Tables:
        return write(patients=patients, images=images, **asked)

    return made


def refusal(tables: Tables) -> str:
    with pytest.raises(CohortError) as fault:
        load(tables)
    return str(fault.value)


def found(tables: Tables) -> dict[str, Finding]:
    return {f.rule: f for f in load(tables)[1]}


def test_scans_have_the_columns_of_the_contract(scans: Write, tmp_path: Path) -> None:
    tables = scans()
    cohort, told = load(tables)
    assert told == []
    assert list(cohort.images.columns) == [
        *("patient", "image", "path", "kind", "sequence", "timepoint", "series", "mask", "mask_value", "mask_name"),
        "site",
    ]
    first = cohort.images.set_index("image").loc["P1_T1"]
    assert first["path"] == str(tmp_path / "a/t1.nii.gz")
    assert (first["mask"], first["mask_value"], first["series"]) == (str(tmp_path / "a/m.nii.gz"), 2, None)
    assert isinstance(first["mask_value"], int)
    assert cohort.images["image"].tolist() == ["P1_T1", "P1_T1_month 3", "P1_T2", "P2_T1", "P3_T2", "P4_T1"]
    assert cohort.images["mask_value"].tolist()[1] is None


def test_units_are_made_of_the_images_of_one_timepoint(scans: Write) -> None:
    tables = scans()
    cohort, _ = load(tables)
    assert units(cohort, tables)["images"].tolist() == [("P1_T1", "P1_T2"), ("P2_T1",), ("P3_T2",), ("P4_T1",)]
    later = scans(timepoint="month 3")
    cohort, told = load(later)
    assert units(cohort, later)["images"].tolist() == [("P1_T1_month 3",)]
    assert [(f.rule, f.who) for f in told] == [("patient-without-image", ("P2", "P3", "P4"))]
    assert "without image at timepoint month 3" in told[0].what


def test_a_patient_with_follow_up_only_is_left_out(scans: Write) -> None:
    tables = scans(images=SCANS.replace("P4,d/t1.nii.gz,scan,T1,d/m.nii.gz,,", "P4,d/t1.nii.gz,scan,T1,,,month 3"))
    cohort, told = load(tables)
    assert cohort.patients.index.tolist() == ["P1", "P2", "P3"]
    assert [(f.rule, f.who) for f in told] == [("patient-without-image", ("P4",))]


def test_a_timepoint_nobody_has_is_refused_with_those_there_are(scans: Write) -> None:
    said = refusal(scans(timepoint="month 6"))
    assert "no image at timepoint 'month 6'" in said
    assert "one of baseline, month 3" in said
    assert "did you mean 'month 3'?" in said
    without = "patient,path,kind\nP1,s1.svs,scan\nP2,s2.svs,scan\nP3,s3.svs,scan\nP4,s4.svs,scan\n"
    assert "no column 'timepoint' to find 'later' in" in refusal(scans(images=without, timepoint="later"))


def test_one_scan_a_patient_needs_no_sequence(scans: Write) -> None:
    images = "patient,path,kind\nP1,a/t1.nii.gz,scan\nP2,b/t1.nii.gz,scan\nP3,c/t2.nii.gz,scan\nP4,d/m.nii.gz,scan\n"
    cohort, _ = load(scans(images=images))
    assert set(cohort.images["sequence"]) == {"scan"}
    assert cohort.images["image"].tolist() == ["P1_t1", "P2_t1", "t2", "m"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("t2.nii.gz,scan,T2,,", "t2.nii.gz,scan,,,", "images.csv row 3, column sequence: found 1 scan without a seq"),
        ("t1.nii.gz,scan,T1,b", "t1.nii.gz,scan,NA,b", "row 5, column sequence: found 1 scan without a sequence"),
        (
            "t2.nii.gz,scan,T2,,",
            "t2.nii.gz,scan,T1,,",
            "rows 2, 3, column sequence: found several images of one sequence: 2 of T1 of patient P1 at baseline",
        ),
        ("month 3", "", "by sequence (T1 and T1-2, DWI-b50 and DWI-b800) or by timepoint"),
        (",2,\n", ",1.5,\n", "images.csv row 2, column mask_value: found mask_value '1.5'"),
        (",2,\n", ",0,\n", "mask_value '0'; expected a whole number above 0"),
        (",2,\n", ",GTV,\n", "the name of a structure (RTSTRUCT, SEG) stands in a column mask_name"),
        ("T1,b/m.nii.gz", "T1,b/t1.nii.gz", "row 5, column mask: found a mask that is an image of this table: t1.nii"),
        ("P4,d/t1.nii.gz,scan", "P4,d/t1.nii.gz,slide", "row 7, column kind: found kind 'slide' in a study of scans"),
        ("P4,d/t1.nii.gz,scan", "P4,d/t1.nii.gz,scam", "found kind 'scam'; expected one of slide, scan"),
    ],
)
def test_a_fault_of_the_scans_names_its_place(scans: Write, old: str, new: str, said: str) -> None:
    assert SCANS.count(old) == 1
    assert said in refusal(scans(images=SCANS.replace(old, new)))


def test_where_images_are_predicted_a_patient_may_have_several_of_one_sequence(scans: Write) -> None:
    images = "patient,image,path,kind,sequence,label\nP1,x,a/t1.nii.gz,scan,CT,u\nP1,y,a/t2.nii.gz,scan,CT,v\n"
    tables = scans(images=images + "P2,z,b/t1.nii.gz,scan,CT,u\n", unit="image", target="label")
    assert units(load(tables)[0], tables)["unit_id"].tolist() == ["x", "y", "z"]


def test_labels_of_follow_up_images_are_not_asked_for(scans: Write) -> None:
    images = (
        "patient,image,path,kind,sequence,timepoint,label\nP1,x,a/t1.nii.gz,scan,CT,,u\nP2,z,b/t1.nii.gz,scan,CT,,v\n"
    )
    tables = scans(images=images + "P1,y,a/t2.nii.gz,scan,CT,later,\n", unit="image", target="label")
    cohort, told = load(tables)
    assert cohort.images["image"].tolist() == ["x", "y", "z"]
    assert units(cohort, tables)["unit_id"].tolist() == ["x", "z"]
    assert [f.rule for f in told] == ["patient-without-image"]


def test_the_kind_asked_for_is_that_of_rows_that_name_none(scans: Write) -> None:
    images = SCANS.replace(",kind", "").replace(",scan", "")
    assert set(load(scans(images=images, kind="scan"))[0].images["kind"]) == {"scan"}
    assert "found kind 'scan' in a study of slides" in refusal(scans(kind="slide"))


def test_series_of_one_folder_are_several_images_and_ids_of_digits_stay_text(scans: Write, tmp_path: Path) -> None:
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "1.dcm").write_bytes(b"dicom")
    images = (
        "patient,path,kind,sequence,series,timepoint\nP1,e,scan,T1,007,0\nP1,e,scan,T2,8,0\nP2,b/t1.nii.gz,scan,T1,,0\n"
    )
    tables = scans(images=images, timepoint="0")
    cohort, _ = load(tables)
    assert cohort.images["series"].tolist() == ["007", "8", None]
    assert cohort.images["timepoint"].tolist() == ["0", "0", "0"]
    said = refusal(scans(images=images.replace(",8,", ",007,"), timepoint="0"))
    assert "the same file twice: e of patient P1" in said


def test_missing_masks_and_masks_of_two_patients_are_told(scans: Write) -> None:
    told = found(scans(images=SCANS.replace("b/m.nii.gz", "b/n.nii.gz").replace("c/m", "d/m")))
    assert told["mask-not-found"].who == ("P2",)
    assert told["mask-of-two-patients"].who == ("P3", "P4")


def test_sequences_that_differ_in_writing_only_are_a_warning(scans: Write) -> None:
    told = found(scans(images=SCANS.replace("d/t1.nii.gz,scan,T1", "d/t1.nii.gz,scan,t-1")))
    assert "sequences 'T1', 't-1' of images.csv differ only in case" in told["near-duplicate-sequence"].what


def test_the_fingerprint_is_of_names_and_not_of_folders(scans: Write, tmp_path: Path) -> None:
    before = load(scans())[0]
    moved = load(scans(images=SCANS.replace(",a/", f",{tmp_path}/a/")))[0]
    assert moved.fingerprint == before.fingerprint
    assert str(tmp_path) not in json.dumps(snapshot(before))
    assert load(scans(images=SCANS.replace(",2,\n", ",3,\n")))[0].fingerprint != before.fingerprint


def test_a_changed_mask_is_said(scans: Write, tmp_path: Path) -> None:
    before = json.loads(json.dumps(snapshot(load(scans())[0])))
    (tmp_path / "a/m.nii.gz").write_bytes(b"other")
    (tmp_path / "b/m.nii.gz").unlink()
    tables = scans(images=SCANS.replace("month 3", "month 4").replace(",2,\n", ",3,\n"))
    assert difference(before, load(tables)[0]) == [
        "1 image added: P1_T1_month 4 of P1",
        "1 image removed: P1_T1_month 3 of P1",
        "image P1_T1 of P1: mask content changed",
        "image P1_T1 of P1: mask_value changed from 2 to 3",
        "image P2_T1 of P2: the mask is missing now",
    ]


def test_a_slide_cohort_keeps_the_fingerprint_it_had_before_there_were_scans(write: Write) -> None:
    assert load(write())[0].fingerprint == "962c126d1412cef97e80e162"
    images = "patient,path,mpp,stain,series,mask\nP1,s1.svs,0.5,HE,1,a/b.png\nP2,s2.svs,,HE,2,\nP3,s3.svs,,,3,\n"
    cohort, _ = load(write(images=images + "P4,s4.svs,0.25,,4,\n", patients=PATIENTS))
    assert cohort.images["series"].tolist() == [1, 2, 3, 4]
    assert cohort.images["mask"].tolist()[0] == "a/b.png"
    assert cohort.fingerprint == "a8246c7fd9067fdd132fb10e"


def test_a_study_of_a_feature_table_has_no_images(scans: Write, tmp_path: Path) -> None:
    tables = Tables(patients=scans().patients, images=None, target="subtype")
    cohort, told = load(tables)
    assert told == []
    assert (len(cohort.images), cohort.patients.index.tolist()) == (0, ["P1", "P2", "P3", "P4"])
    assert {"patient", "image", "path", "kind", "site"} <= set(cohort.images.columns)
    assert units(cohort, tables).iloc[0].tolist() == ["P1", "P1", "A", "LMS", ()]
    assert difference(snapshot(cohort), cohort) == []
    by_image = Tables(patients=tables.patients, images=None, target="subtype", unit="image")
    assert "task.unit image without an images table" in refusal(by_image)


def test_the_region_of_an_image_is_its_mask_or_that_of_the_sequence_named(scans: Write, tmp_path: Path) -> None:
    tables = scans()
    cohort, _ = load(tables)
    alone = regions(cohort, tables).set_index("image")
    assert alone.index.tolist() == ["P1_T1", "P1_T2", "P2_T1", "P3_T2", "P4_T1"]
    assert alone.loc["P1_T2", ["mask", "drawn_on"]].tolist() == [None, None]
    lent = regions(cohort, tables, mask_from="T1").set_index("image")
    own = lent.loc["P1_T1", ["unit_id", "mask", "mask_value", "drawn_on"]].tolist()
    assert own == ["P1", str(tmp_path / "a/m.nii.gz"), 2, None]
    assert lent.loc["P1_T2", ["mask", "mask_value", "drawn_on"]].tolist() == [own[1], 2, "P1_T1"]
    assert lent.loc["P3_T2", "mask"] == str(tmp_path / "c/m.nii.gz")
    with pytest.raises(CohortError, match="did you mean 'T1'"):
        regions(cohort, tables, mask_from="t1w")


def test_real_scans_make_a_cohort(real_data: Path, tmp_path: Path) -> None:
    """18 sarcoma patients with CT, PET and MR, each with a mask of its own."""
    folder = real_data / "scans" / "sts"
    if not folder.is_dir():
        pytest.skip(f"no scans/sts in {real_data}")
    rows = [
        {"patient": p.parent.name, "path": str(p), "kind": "scan", "sequence": p.name.removesuffix("_image.nii.gz")}
        for p in sorted(folder.glob("STS_*/*_image.nii.gz"))
    ]
    table = pd.DataFrame(rows)
    table.assign(mask=table["path"].str.replace("_image", "_mask")).to_csv(tmp_path / "images.csv", index=False)
    tables = Tables(patients=folder / "subtypes.csv", images=tmp_path / "images.csv", target="subtype")
    cohort, told = load(tables)
    assert {f.rule for f in told} <= {"no-site", "patient-without-image"}
    assert len(units(cohort, tables)) == 18
    assert cohort.images.groupby("patient")["sequence"].agg(tuple).tolist() == [("CT", "MR_T1", "PET")] * 18
