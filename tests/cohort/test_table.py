from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from phenolens.cohort.table import Tables, labels, load, unit_labels, units
from phenolens.core.errors import CohortError
from phenolens.core.types import Finding

from .conftest import IMAGES, PATIENTS, Write


def refusal(tables: Tables) -> str:
    with pytest.raises(CohortError) as fault:
        load(tables)
    return str(fault.value)


def finding(tables: Tables, rule: str) -> Finding:
    found = [f for f in load(tables)[1] if f.rule == rule]
    assert len(found) == 1, [f.rule for f in load(tables)[1]]
    return found[0]


def test_a_good_cohort_has_the_columns_of_the_contract_and_no_finding(write: Write, tmp_path: Path) -> None:
    cohort, found = load(write())
    assert found == []
    assert cohort.patients.index.tolist() == ["P1", "P2", "P3", "P4"]
    assert list(cohort.patients.columns) == ["site", "subtype", "age"]
    assert list(cohort.images.columns) == ["patient", "image", "path", "kind", "stain", "annotation", "site", "mpp"]
    first = cohort.images.iloc[0]
    assert first["path"] == str(tmp_path / "s1.svs")
    assert (first["image"], first["kind"], first["annotation"], first["site"]) == ("s1", "slide", None, "A")
    assert cohort.images["mpp"].isna().all()


def test_labels_and_units_of_patients(write: Write) -> None:
    tables = write(images=IMAGES + "P1,s5.svs\n")
    cohort, _ = load(tables)
    assert labels(cohort, tables).to_dict() == {"P1": "LMS", "P2": "SS", "P3": "LMS", "P4": "SS"}
    assert unit_labels(cohort, tables) is None
    frame = units(cohort, tables)
    assert list(frame.columns) == ["unit_id", "patient", "site", "truth", "images"]
    assert frame.iloc[0].tolist() == ["P1", "P1", "A", "LMS", ("s1", "s5")]


def test_labels_and_units_of_images(write: Write) -> None:
    images = "patient,path,label\nP1,s1.svs,x\nP1,s5.svs,y\nP2,s2.svs,x\nP3,s3.svs,y\nP4,s4.svs,x\n"
    tables = write(images=images, target="label", unit="image")
    cohort, _ = load(tables)
    assert labels(cohort, tables).to_dict() == {"P1": "x+y", "P2": "x", "P3": "y", "P4": "x"}
    by_image = unit_labels(cohort, tables)
    assert by_image is not None
    assert by_image["s5"] == "y"
    assert units(cohort, tables).iloc[1].tolist() == ["s5", "P1", "A", "y", ("s5",)]


def test_numeric_labels_are_text(write: Write) -> None:
    tables = write(patients=PATIENTS.replace("LMS", "0").replace("SS", "1"))
    assert set(labels(load(tables)[0], tables)) == {"0", "1"}


def test_the_fingerprint_is_of_content_and_not_of_place_or_row_order(write: Write, tmp_path: Path) -> None:
    before = load(write())[0].fingerprint
    lines = PATIENTS.splitlines()
    assert load(write(patients="\n".join([lines[0], *reversed(lines[1:])])))[0].fingerprint == before
    absolute = IMAGES.replace(",s", f",{tmp_path}/s")
    assert load(write(images=absolute))[0].fingerprint == before
    assert load(write(patients=PATIENTS.replace("P1,A,LMS", "P1,A,SS")))[0].fingerprint != before


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("patient,site,subtype", "Patient_ID,site,subtype", "no column 'patient'; expected"),
        ("patient,site,subtype", "Patient_ID,site,subtype", "(did you mean 'Patient_ID'?)"),
        ("subtype", "sub-type", "no column 'subtype', the target of the task"),
        ("subtype", "sub-type", "(did you mean 'sub-type'?)"),
        ("P2,A,SS", "P1,A,SS", "patients.csv rows 2, 3, column patient: found patient 'P1' twice"),
        ("P2,A", ",A", "patients.csv row 3, column patient: found an empty patient in row 3"),
    ],
)
def test_a_fault_of_the_patients_table_names_its_place(write: Write, old: str, new: str, said: str) -> None:
    assert said in refusal(write(patients=PATIENTS.replace(old, new)))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("patient,path", "patient,file_path", "no column 'path'"),
        ("P4,s4", "P5,s4", "images.csv row 5, column patient: found an image of unknown patient 'P5'"),
        ("P4,s4", "p 04,s4", "(did you mean 'P4'?)"),
        ("P4,s4.svs", "P4,", "images.csv row 5, column path: found an empty path in row 5"),
        (
            "P4,s4.svs",
            "P4,s1.svs",
            "images.csv rows 2, 5, column path: found the same file twice: s1.svs of patients P1, P4",
        ),
        (
            "P4,s4.svs",
            "P1,./s1.svs",
            "images.csv rows 2, 5, column path: found the same file twice: s1.svs of patient P1",
        ),
    ],
)
def test_a_fault_of_the_images_table_names_its_place(write: Write, old: str, new: str, said: str) -> None:
    assert said in refusal(write(images=IMAGES.replace(old, new)))


def test_ids_that_lost_their_leading_zeros_are_one_fault(write: Write) -> None:
    images = IMAGES.replace("P1,", "P01,").replace("P2,", "P02,").replace("P3,", "P03,")
    said = refusal(write(images=images))
    assert "3 patient ids written otherwise than in patients.csv: 'P01' is 'P1' there" in said
    assert "drops leading zeros" in said


def test_all_faults_of_both_tables_are_told_at_once(write: Write) -> None:
    images = IMAGES.replace("patient,path", "patient,path,mpp").replace(".svs", ".svs,25")
    said = refusal(write(patients=PATIENTS + "P1,A,LMS,3\n", images=images + "P9,s5.svs,30\n", classes=("LMS", "S")))
    assert said.startswith("found 6 faults:\n")
    for part in (
        "patient 'P1' twice",
        "unknown patient 'P9'",
        "mpp '25'",
        "mpp '30'",
        "unknown class 'SS'",
        "no subtype 'S'",
    ):
        assert part in said


def test_the_label_in_the_other_table_is_said_so(write: Write) -> None:
    assert "set task.unit: patient" in refusal(write(unit="image"))
    images = IMAGES.replace("path\n", "path,kind_of\n").replace(".svs", ".svs,a")
    assert "set task.unit: image" in refusal(write(images=images, target="kind_of"))


def test_a_copy_of_a_slide_under_another_patient_is_an_error_that_names_both(write: Write, tmp_path: Path) -> None:
    tables = write()
    (tmp_path / "s4.svs").write_bytes((tmp_path / "s2.svs").read_bytes())
    found = finding(tables, "one-person-twice")
    assert (found.severity, found.who) == ("error", ("P2", "P4"))
    assert "s2.svs (P2), s4.svs (P4) have equal content" in found.what
    assert found.where == "images.csv rows 3, 5, column path"
    assert "0.62" in found.inflates


def test_patients_who_are_linked_through_a_third_are_one_group(write: Write, tmp_path: Path) -> None:
    tables = write(images=IMAGES + "P2,s5.svs\n")
    (tmp_path / "s4.svs").write_bytes((tmp_path / "s2.svs").read_bytes())
    (tmp_path / "s3.svs").write_bytes((tmp_path / "s5.svs").read_bytes())
    assert finding(tables, "one-person-twice").who == ("P2", "P3", "P4")


def test_a_copied_folder_of_tiles_is_an_error(write: Write, tmp_path: Path) -> None:
    tables = write(images=IMAGES.replace("s1.svs", "t1").replace("s2.svs", "t2"))
    for name in ("t1", "t2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").write_bytes(b"tile")
    assert "t1 (P1), t2 (P2) have equal content" in finding(tables, "one-person-twice").what
    (tmp_path / "t2" / "a.png").write_bytes(b"elit")
    assert load(tables)[1] == []


def test_a_copy_of_a_slide_under_the_same_patient_is_a_warning(write: Write, tmp_path: Path) -> None:
    tables = write(images=IMAGES + "P1,s5.svs\n")
    (tmp_path / "s5.svs").write_bytes((tmp_path / "s1.svs").read_bytes())
    found = finding(tables, "same-content")
    assert found.severity == "warning"
    assert "s1.svs (P1), s5.svs (P1)" in found.what


def test_equal_size_alone_is_no_copy(write: Write, tmp_path: Path) -> None:
    tables = write()
    (tmp_path / "s1.svs").write_bytes(b"a" * 300_000 + b"x" + b"a" * 700_000)
    (tmp_path / "s2.svs").write_bytes(b"a" * 300_000 + b"y" + b"a" * 700_000)
    assert load(tables)[1] == []


def test_a_missing_file_is_a_warning_with_the_nearest_name(write: Write) -> None:
    found = finding(write(images=IMAGES.replace("s2.svs", "s2.svz")), "file-not-found")
    assert found.severity == "warning"
    assert "row 3 of images.csv: s2.svz (did you mean 's" in found.what
    assert found.who == ("P2",)


def test_a_path_the_system_refuses_to_look_at_is_a_missing_file(write: Write) -> None:
    assert finding(write(images=IMAGES.replace("s2.svs", "s" * 5000 + "/s2.svs")), "file-not-found").who == ("P2",)


def test_files_that_cannot_be_read_are_no_copies(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are left to the run, which puts them in quarantine with the reason."""
    tables = write()
    (tmp_path / "s4.svs").write_bytes((tmp_path / "s2.svs").read_bytes())

    def refuse(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("phenolens.cohort.files._glimpse", refuse)
    assert load(tables)[1] == []


def test_an_empty_site_column_is_one_unknown_site(write: Write) -> None:
    images = IMAGES.replace("path\n", "path,site\n").replace("svs", "svs,")
    tables = write(patients=PATIENTS.replace("site", "ward"), images=images)
    cohort, _ = load(tables)
    assert set(cohort.patients["site"]) == set(cohort.images["site"]) == {"unknown"}
    assert finding(tables, "patient-without-site").who == ("P1", "P2", "P3", "P4")


def test_a_missing_annotation_is_a_warning(write: Write, tmp_path: Path) -> None:
    tables = write(
        images=IMAGES.replace("path\n", "path,annotation\n").replace("svs", "svs,") + "P1,s5.svs,a.geojson\n"
    )
    assert finding(tables, "annotation-not-found").who == ("P1",)
    (tmp_path / "a.geojson").write_text("{}")
    cohort, found = load(tables)
    assert found == []
    assert cohort.images["annotation"].tolist() == [None, str(tmp_path / "a.geojson"), None, None, None]


def test_paths_written_on_windows_are_found(write: Write, tmp_path: Path) -> None:
    tables = write(images=IMAGES.replace("P1,s1.svs", "P1,slides\\x.svs"))
    (tmp_path / "slides").mkdir()
    (tmp_path / "slides" / "x.svs").write_bytes(b"x")
    cohort, found = load(tables)
    assert found == []
    assert cohort.images.loc[0, ["image", "path"]].tolist() == ["x", str(tmp_path / "slides" / "x.svs")]


def test_patients_without_image_label_or_outside_where_are_listed_and_left_out(write: Write) -> None:
    patients = PATIENTS + "P5,A,LMS,30\nP6,B,NA,31\nP7,B,LMS,90\n"
    tables = write(patients=patients, images=IMAGES + "P6,s6.svs\nP7,s7.svs\n", where="age < 80")
    cohort, found = load(tables)
    assert cohort.patients.index.tolist() == ["P1", "P2", "P3", "P4"]
    assert set(cohort.images["patient"]) == {"P1", "P2", "P3", "P4"}
    told = {f.rule: (f.severity, f.who) for f in found}
    assert told == {
        "outside-where": ("note", ("P7",)),
        "patient-without-label": ("warning", ("P6",)),
        "patient-without-image": ("note", ("P5",)),
    }
    assert "row 7 of patients.csv" in next(f.what for f in found if f.rule == "patient-without-label")


def test_a_where_that_cannot_be_meant_is_refused_or_told(write: Write) -> None:
    assert "did you mean 'age'?" in refusal(write(where="agee > 3"))
    assert "no patient that meets the condition" in refusal(write(where="age > 300"))
    assert "(did you mean 'LMS'?)" in finding(write(where="subtype != 'LMZ'"), "where-value-unseen").what


def test_an_unknown_class_is_refused_with_the_nearest(write: Write) -> None:
    said = refusal(write(patients=PATIENTS.replace("P3,B,LMS", "P3,B,LSM"), classes=("LMS", "SS")))
    assert "patients.csv row 4, column subtype: found unknown class 'LSM'" in said
    assert "did you mean 'LMS'?" in said


@pytest.mark.parametrize(
    ("patients", "rule", "said"),
    [
        (PATIENTS + "p 01,A,LMS,3\n", "near-duplicate-patient", "patients 'P1', 'p 01' differ only in case"),
        (PATIENTS.replace("P3,B,LMS", "P3,B,lms"), "near-duplicate-class", "classes 'LMS', 'lms'"),
        (PATIENTS.replace("47", "unknown"), "mixed-types", "text among numbers: 'unknown' in row 4"),
        (PATIENTS.replace("47", "inf"), "not-finite", "not finite in row 4"),
        (PATIENTS.replace("P3,B", "P3,"), "patient-without-site", "1 patient without a site"),
        (PATIENTS.replace("site", "hospital"), "no-site", "patients.csv has no column site"),
    ],
)
def test_what_a_person_would_trip_on_is_found(write: Write, patients: str, rule: str, said: str) -> None:
    assert said in finding(write(patients=patients), rule).what


@pytest.mark.parametrize(
    ("days", "said"),
    [
        (["2020-01-31", "2020-02-01", "31.01.2020", "2020-03-03"], "day.month.year in row 4 (31.01.2020)"),
        (
            ["31/01/2020", "01/31/2020", "02/02/2020", "03/03/2020"],
            "month/day/year in row 3 (01/31/2020); day/month/year in row 2",
        ),
        (["01/02/2020", "2020-03-04", "05/06/2020", ""], "day/month/year or month/day/year in row 2"),
        (["20200131", "2020-01-31", "20200202", "20200101"], "yearmonthday in row 2 (20200131)"),
    ],
)
def test_dates_in_two_formats_are_found(write: Write, days: list[str], said: str) -> None:
    lines = [f"{line},{day}" for line, day in zip(PATIENTS.splitlines(), ["t0", *days], strict=True)]
    assert said in finding(write(patients="\n".join(lines)), "dates-in-two-formats").what


def test_dates_in_one_format_are_no_finding(write: Write) -> None:
    days = ["seen", "31/01/2020", "05/06/2020", "", "07/06/2020"]
    lines = [f"{line},{day}" for line, day in zip(PATIENTS.splitlines(), days, strict=True)]
    assert load(write(patients="\n".join(lines)))[1] == []


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("0.03", "multiply by 1000"),
        ("40", "put it in a column named magnification"),
        ("inf", "mpp 'inf'; expected a number between 0.05 and 20 micrometres per pixel"),
        ("0", "mpp '0'"),
        ("-0.5", "mpp '-0.5'"),
        ('"0,25"', "write the decimal point as '.'"),
        ("x", "images.csv row 2, column mpp: found mpp 'x'"),
    ],
)
def test_an_mpp_that_cannot_be_is_refused(write: Write, cell: str, said: str) -> None:
    images = IMAGES.replace("path\n", "path,mpp\n").replace(".svs", ".svs,").replace("s1.svs,", f"s1.svs,{cell}")
    assert said in refusal(write(images=images))


def test_magnification_becomes_mpp_with_a_note_and_mpp_wins(write: Write) -> None:
    images = "patient,path,mpp,magnification\nP1,s1.svs,,40\nP2,s2.svs,,20x\nP3,s3.svs,0.5,40\nP4,s4.svs,,\n"
    cohort, found = load(write(images=images))
    assert cohort.images["mpp"].tolist()[:3] == [0.25, 0.5, 0.5]
    assert pd.isna(cohort.images["mpp"].iloc[3])
    assert {f.rule: f.severity for f in found} == {
        "mpp-from-magnification": "note",
        "mpp-against-magnification": "warning",
    }


def test_decimal_commas_are_read_where_the_separator_is_a_semicolon(write: Write) -> None:
    images = "patient;path;mpp\nP1;s1.svs;0,25\nP2;s2.svs;0,5\nP3;s3.svs;\nP4;s4.svs;1\n"
    assert load(write(images=images))[0].images["mpp"].tolist()[:2] == [0.25, 0.5]


def test_images_with_one_file_name_get_the_patient_in_their_id(write: Write, tmp_path: Path) -> None:
    tables = write(images=IMAGES.replace("s1.svs", "a/he.svs").replace("s2.svs", "b/he.svs"))
    for n, name in enumerate("ab"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "he.svs").write_bytes(b"h" * (n + 1))
    cohort, found = load(tables)
    assert cohort.images["image"].tolist() == ["P1_he", "P2_he", "s3", "s4"]
    assert [f.rule for f in found] == ["shared-file-name"]


def test_an_image_id_twice_and_a_strange_kind_are_refused(write: Write) -> None:
    images = "patient,image,path,kind\nP1,a,s1.svs,slide\nP2,a,s2.svs,scan\nP3,c,s3.svs,\nP4,d,s4.svs,\n"
    said = refusal(write(images=images))
    assert "images.csv rows 2, 3, column image: found image 'a' twice" in said
    assert "images.csv row 3, column kind: found kind 'scan'" in said


def test_the_site_of_a_patient_comes_from_the_images_where_the_patients_table_has_none(write: Write) -> None:
    images = "patient,path,site\nP1,s1.svs,X\nP1,s5.svs,Y\nP1,s6.svs,Y\nP2,s2.svs,X\nP3,s3.svs,Y\nP4,s4.svs,Y\n"
    tables = write(patients=PATIENTS.replace("site", "ward"), images=images)
    cohort, _ = load(tables)
    assert cohort.patients["site"].tolist() == ["Y", "X", "Y", "Y"]
    assert finding(tables, "patient-at-several-sites").who == ("P1",)


def test_a_cohort_of_nobody_is_refused(write: Write) -> None:
    assert "no patient with a label and an image" in refusal(write(patients="patient,subtype\nP1,\nP2,\nP3,\nP4,\n"))
