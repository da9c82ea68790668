"""Planted faults that phenolens check finds before any pixel: exit code 2, rule and patient named."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml

from phenolens import cli
from phenolens.core.errors import CohortError, SplitError
from phenolens.run import run_study
from tests.scans.dicom_files import frame, values, write_series
from tests.small_scans import write_scan_study, write_scans
from tests.small_study import QUIET, write_cohort, write_study
from tests.small_table import edit, write_table_study

Check = Callable[[Path], tuple[int, str]]


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Check:
    """phenolens check in this process: exit code, and all that it said."""

    def run(folder: Path) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["phenolens", "check", str(folder), "--workers", "1", "-q"])
        with pytest.raises(SystemExit) as end:
            cli.main()
        said = capsys.readouterr()
        return int(end.value.code or 0), said.out + said.err

    return run


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cohort(tmp_path_factory.mktemp("slides"), patients=1)


def settings(folder: Path, **changes: object) -> None:
    content = yaml.safe_load((folder / "study.yaml").read_text()) | changes
    (folder / "study.yaml").write_text(yaml.safe_dump(content))


def plant(folder: Path, column: str) -> None:
    """A column of the feature table that was made from the label, with a little noise."""
    label = pd.read_csv(folder / "patients.csv")["dx"] == "b"
    edit(folder / "features.csv", **{column: lambda t: label + t["texture_3"] / 9})


def test_an_honest_study_of_a_table_passes(check: Check, tmp_path: Path) -> None:
    timing = {"t0": "t0", "event_date": "relapse_on", "known_at": {"texture_1": "t0"}}
    code, said = check(write_table_study(tmp_path, timing=timing))
    assert code == 0
    assert "error" not in said
    assert "warning" not in said


def test_a_response_column_is_named_with_what_it_could_fake(check: Check, tmp_path: Path) -> None:
    folder = write_table_study(tmp_path)
    edit(
        folder / "features.csv",
        response=lambda t: (pd.read_csv(folder / "patients.csv")["dx"] == "b") + t["texture_3"] / 9,
    )
    code, said = check(folder)
    assert code == 2
    assert "error: 1 column of 13 alone tells the dx: response (AUC 1.000 for b) (column-tells-target)" in said
    assert "warning: 1 input column named like an outcome: response (column-named-outcome)" in said
    assert "could fake: AUC up to 1.00" in said


def test_a_signed_response_column_is_a_warning_that_stays_in_the_results(check: Check, tmp_path: Path) -> None:
    reason = "the pathologist's score of the biopsy, read before treatment"
    folder = write_table_study(tmp_path, sign_offs={"column-tells-target": reason, "site-lable": reason})
    edit(
        folder / "features.csv",
        score=lambda t: (pd.read_csv(folder / "patients.csv")["dx"] == "b") + t["texture_3"] / 9,
    )
    code, said = check(folder)
    assert code == 0
    assert "warning: 1 column of 13 alone tells the dx: score" in said
    assert f"signed off: {reason}" in said
    assert "note: sign_offs names 'site-lable', and no finding is of that rule" in said
    run_study(folder, workers=0, until="models", progress=QUIET)
    found = {f["rule"]: f for f in json.loads((folder / "results" / "findings.json").read_text())}
    assert found["column-tells-target"]["signed_off"] == reason
    assert "sign-off-unused" in found


def test_a_reason_of_a_word_is_refused_with_its_line(check: Check, tmp_path: Path) -> None:
    code, said = check(write_table_study(tmp_path, sign_offs={"column-tells-target": "ok"}))
    assert code == 2
    assert "sign_offs" in said
    assert "10 characters" in said


def test_a_sign_off_of_a_copied_row_changes_nothing(check: Check, tmp_path: Path) -> None:
    folder = write_table_study(tmp_path, sign_offs={"rows-repeated": "they were sampled twice on purpose"})
    table = pd.read_csv(folder / "features.csv")
    table.loc[7, table.columns[1:]] = table.loc[3, table.columns[1:]]
    table.to_csv(folder / "features.csv", index=False)
    code, said = check(folder)
    assert code == 2
    assert "P003 = P007" in said
    assert "[P003, P007] (rows-repeated)" in said
    assert "this error cannot be signed off" in said


def test_a_column_known_after_t0_is_an_error(check: Check, tmp_path: Path) -> None:
    code, said = check(write_table_study(tmp_path, timing={"t0": "t0", "known_at": {"texture_2": "relapse_on"}}))
    assert code == 2
    assert "column texture_2 was known after t0 in 30 patients: P001 (2021-06-01, t0 2020-02-10)" in said


def test_a_date_nobody_can_read_is_one_block_that_names_the_patient(check: Check, tmp_path: Path) -> None:
    folder = write_table_study(tmp_path, timing={"t0": "t0"})
    edit(folder / "patients.csv", t0=lambda t: t["t0"].where(t["patient"] != "P004", "in spring"))
    code, said = check(folder)
    assert code == 2
    assert "'in spring' of P004" in said


def test_a_post_event_scan_is_named_with_patient_and_image(check: Check, slides: Path, tmp_path: Path) -> None:
    folder = write_study(Path(shutil.copytree(slides, tmp_path / "study")), models=["mean_pool"])
    settings(folder, timing={"t0": "biopsy", "event_date": "relapse"})
    edit(folder / "patients.csv", biopsy="2020-01-10", relapse="2020-09-01")
    images = pd.read_csv(folder / "images.csv")
    edit(folder / "images.csv", acquired=["2019-12-01"] * (len(images) - 1) + ["2020-10-05"])
    code, said = check(folder)
    assert code == 2
    assert "1 post-event image, acquired after the date of the outcome" in said
    assert f"of {images['patient'].iloc[-1]} (2020-10-05, 2020-09-01)" in said
    assert "(image-after-event)" in said


def test_a_slide_copied_under_a_new_id_is_named(check: Check, slides: Path, tmp_path: Path) -> None:
    folder = write_study(Path(shutil.copytree(slides, tmp_path / "study")), models=["mean_pool"])
    people, images = pd.read_csv(folder / "patients.csv"), pd.read_csv(folder / "images.csv")
    source = images[images["path"].map(lambda p: (folder / p).is_file())].iloc[0]
    shutil.copy(folder / source["path"], folder / "another.tiff")
    row = people[people["patient"] == source["patient"]].assign(patient="NEW1")
    pd.concat([people, row]).to_csv(folder / "patients.csv", index=False)
    copied = {**source.to_dict(), "patient": "NEW1", "path": "another.tiff"}
    copied |= {"image": "another"} if "image" in copied else {}
    pd.concat([images, pd.DataFrame([copied])]).to_csv(folder / "images.csv", index=False)
    code, said = check(folder)
    assert code == 2
    assert f"look like one person, {', '.join(sorted(['NEW1', source['patient']]))}" in said
    assert "another.tiff (NEW1) have equal content" in said
    assert "could fake: AUC 0.62" in said
    assert not (folder / "results").exists()
    with pytest.raises(CohortError, match="another.tiff"):
        run_study(folder, workers=0, progress=QUIET)


def test_one_dicom_series_under_two_patients_is_named(check: Check, tmp_path: Path) -> None:
    folder = write_scan_study(write_scans(tmp_path, patients=3))
    images = pd.read_csv(folder / "images.csv")
    here = images.index[images["sequence"] == "T2"]
    for number, row in enumerate(here):
        same = 0 if number == 3 else number
        name = f"dicom/{number}"
        write_series(folder / name, values(frame(), number), frame(), number=same, name=f"{number}-")
        images.loc[row, "path"] = name
    images.to_csv(folder / "images.csv", index=False)
    code, said = check(folder)
    assert code == 2
    one, two = sorted(images.loc[here[[0, 3]], "patient"])
    assert f"2 patient ids that look like one person, {one}, {two}: the DICOM UID " in said
    assert "give them one id" in said
    assert said.count("(one-person-twice)") == 1


def test_one_patient_in_train_and_test_of_a_users_split_is_refused(check: Check, tmp_path: Path) -> None:
    folder = write_table_study(tmp_path, validation={"scheme": "file", "file": "mine.csv"})
    ids = pd.read_csv(folder / "patients.csv")["patient"]
    rows = pd.DataFrame(
        {"patient": ids, "fold": 0, "part": ["test" if i % 4 < 2 else "train" for i in range(len(ids))]}
    )
    pd.concat([rows, rows.iloc[[4]].assign(part="train")]).to_csv(folder / "mine.csv", index=False)
    code, said = check(folder)
    assert code == 2
    assert "patient 'P004' in test and train of fold 0" in said


def test_a_split_of_tiles_is_refused(check: Check, tmp_path: Path) -> None:
    folder = write_table_study(tmp_path, validation={"scheme": "file", "file": "mine.csv"})
    tiles = [f"P{i % 60:03d}_tile{i}" for i in range(240)]
    pd.DataFrame({"tile": tiles, "fold": [i % 3 for i in range(240)]}).to_csv(folder / "mine.csv", index=False)
    code, said = check(folder)
    assert code == 2
    assert "no column 'patient'" in said
    assert "(never images)" in said
    pd.DataFrame({"patient": tiles, "fold": [i % 3 for i in range(240)]}).to_csv(folder / "mine.csv", index=False)
    code, said = check(folder)
    assert code == 2
    assert "240 patients that the cohort has not: P000_tile0" in said


def test_one_changed_byte_of_a_label_gives_a_new_study_id_and_a_rerun_the_same(tmp_path: Path) -> None:
    folder = write_table_study(tmp_path)

    def identity(**more: bool) -> tuple[str, bytes]:
        run_study(folder, workers=0, progress=QUIET, **more)
        manifest = json.loads((folder / "results" / "manifest.json").read_text())
        return manifest["study_id"], (folder / "results" / "predictions.csv").read_bytes()

    first = identity()
    assert identity() == first
    text = (folder / "patients.csv").read_bytes()
    assert text.count(b"P010,a,") == 1
    (folder / "patients.csv").write_bytes(text.replace(b"P010,a,", b"P010,b,"))
    assert identity(new_splits=True)[0] != first[0]
    (folder / "patients.csv").write_bytes(text)
    assert identity(new_splits=True) == first


def test_splits_that_were_edited_after_they_were_frozen_stop_the_next_run(tmp_path: Path) -> None:
    folder = write_table_study(tmp_path)
    run_study(folder, workers=0, progress=QUIET)
    path = folder / "results" / "splits.csv"
    table = pd.read_csv(path)
    mine = table[(table["fold"] == 0) & (table["part"] == "train")].index[:1]
    table.loc[mine, "part"] = "tune"
    table.to_csv(path, index=False)
    with pytest.raises(SplitError, match="edited since it was frozen"):
        run_study(folder, workers=0, progress=QUIET)


def test_combat_by_the_label_is_refused_before_anything_is_fitted(tmp_path: Path) -> None:
    folder = write_table_study(tmp_path, models=[{"logistic": {"combat": "dx"}}])
    with pytest.raises(Exception, match="combat: dx, which is the target"):
        run_study(folder, workers=0, progress=QUIET)
    assert not (folder / "results" / "predictions.csv").exists()


def test_subgroups_reach_predictions_and_results(tmp_path: Path) -> None:
    folder = write_table_study(tmp_path, subgroups=["sex", "site", {"age": [60]}])
    run_study(folder, workers=0, until="models", progress=QUIET)
    table = pd.read_csv(folder / "results" / "predictions.csv")
    people = pd.read_csv(folder / "patients.csv").set_index("patient")
    assert list(table["g_sex"]) == list(table["patient"].map(people["sex"]))
    assert set(table["g_age"]) == {"under 60", "60 and over"}
    found = pd.read_csv(folder / "results" / "subgroups.csv")
    assert list(found["column"]) == ["sex"] * 2 + ["site"] * 3 + ["age"] * 2
    assert found[found["column"] == "sex"]["difference"].notna().all()
    settings(folder, subgroups=[])
    run_study(folder, workers=0, until="models", progress=QUIET)
    assert not (folder / "results" / "subgroups.csv").exists()


def test_a_subgroup_by_an_unknown_column_is_refused_before_anything_runs(check: Check, tmp_path: Path) -> None:
    code, said = check(write_table_study(tmp_path, subgroups=["sexe"]))
    assert code == 2
    assert "did you mean 'sex'" in said
