from __future__ import annotations

from pathlib import Path

import pytest

from phenolens.cohort.split import Scheme, make, read, write
from phenolens.core.errors import LeakError, SplitError
from phenolens.core.types import Split

from .conftest import cohort_of, series

LABELS = {"P1": "a", "P2": "b", "P3": "a", "P4": "b", "P5": "a", "P6": "b"}
FOLDS = "patient,fold\nP1,0\nP2,0\nP3,1\nP4,1\nP5,2\nP6,2\n"
PARTS = "patient,fold,part\nP1,1,train\nP2,1,train\nP3,1,val\nP4,1,val\nP5,1,test\nP6,1,test\n"


def own(tmp_path: Path, text: str, **asked: object) -> list[Split]:
    (tmp_path / "mine.csv").write_text(text)
    scheme = Scheme(scheme="file", file=tmp_path / "mine.csv", **asked)
    return make(cohort_of(LABELS), series(LABELS), scheme)


def test_a_fold_a_patient_is_the_fold_in_which_it_is_tested(tmp_path: Path) -> None:
    splits = own(tmp_path, FOLDS)
    assert [s.test for s in splits] == [{"P1", "P2"}, {"P3", "P4"}, {"P5", "P6"}]
    assert [s.name for s in splits] == ["file-0-0", "file-0-1", "file-0-2"]
    for s in splits:
        assert s.train | s.tune | s.test == set(LABELS)
        assert s.tune


def test_parts_are_taken_as_written(tmp_path: Path) -> None:
    (split,) = own(tmp_path, PARTS)
    assert (split.fold, split.train, split.tune, split.test) == (1, {"P1", "P2"}, {"P3", "P4"}, {"P5", "P6"})


def test_a_missing_tune_part_is_drawn_from_train(tmp_path: Path) -> None:
    (split,) = own(tmp_path, PARTS.replace("val", "train"))
    assert split.test == {"P5", "P6"}
    assert len(split.tune) == 1
    (same,) = own(tmp_path, "patient,part\nP5,test\nP6,test\n")
    assert same.test == split.test
    assert same.train | same.tune == {"P1", "P2", "P3", "P4"}


def test_repeats_are_read(tmp_path: Path) -> None:
    lines = FOLDS.splitlines()
    twice = [f"{lines[0]},repeat", *(f"{x},0" for x in lines[1:]), *(f"{x},1" for x in lines[1:])]
    assert [s.name for s in own(tmp_path, "\n".join(twice))][3:] == ["file-1-0", "file-1-1", "file-1-2"]


@pytest.mark.parametrize("text", [FOLDS, PARTS])
def test_own_splits_are_read_again_as_they_were_written(tmp_path: Path, text: str) -> None:
    splits = own(tmp_path, text)
    write(tmp_path / "splits.csv", splits)
    assert read(tmp_path / "splits.csv") == splits


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        (
            PARTS + "P1,1,test\n",
            LeakError,
            "mine.csv rows 2, 8, column patient: found patient 'P1' in test and train of fold 1",
        ),
        (PARTS + "P1,1,train\n", SplitError, "patient 'P1' twice"),
        (FOLDS + "P1,1\n", SplitError, "patient 'P1' twice (folds 0, 1)"),
        (
            FOLDS + "P7,1\nP8,2\n",
            SplitError,
            "rows 8, 9, column patient: found 2 patients that the cohort has not: P7, P8",
        ),
        (FOLDS.replace("P6,2\n", ""), SplitError, "no row for 1 patient: P6"),
        (PARTS.replace("P1,1,train\n", ""), SplitError, "no row for 1 patient in fold 1: P1"),
        (PARTS.replace("test", "tset"), SplitError, "part 'tset' in rows 6, 7; expected train, tune or test"),
        (PARTS.replace("test", "tset"), SplitError, "did you mean 'test'?"),
        (PARTS.replace("test", "train"), SplitError, "no test patient in fold 1"),
        (FOLDS.replace("P1,0", "P1,A"), SplitError, "row 2, column fold: found fold 'A'"),
        (FOLDS.replace("patient", "Patient"), SplitError, "did you mean 'Patient'?"),
        (FOLDS.replace("fold", "group"), SplitError, "no column 'fold'"),
    ],
)
def test_a_faulty_file_is_refused_with_its_place(tmp_path: Path, text: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error) as fault:
        own(tmp_path, text)
    assert said in str(fault.value)


def test_a_holdout_patient_in_the_file_is_a_leak(tmp_path: Path) -> None:
    with pytest.raises(LeakError, match="1 patient of the holdout in the split file: P6"):
        own(tmp_path, FOLDS, holdout="patient == 'P6'")
    splits = own(tmp_path, FOLDS.replace("P6,2\n", ""), holdout="patient == 'P6'")
    assert splits[-1].test == {"P6"}
