"""Time and event of patients: how they are read, what is refused with its row, and what events alone tell."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from phenolens.cohort import check_followup, split
from phenolens.cohort.table import Tables, difference, labels, load, snapshot, unit_labels, units
from phenolens.core.errors import CohortError
from phenolens.core.types import Cohort, Finding

GOOD = "patient,site,days,dead\nP1,A,12,1\nP2,A,30.5,0\nP3,B,7,1\nP4,B,9,0\n"


def asked(folder: Path, text: str = GOOD, **more: str) -> Tables:
    (folder / "patients.csv").write_text(text)
    given = {"patients": folder / "patients.csv", "images": None, "target": "os", "time": "days", "event": "dead"}
    return Tables(**given | more)  # type: ignore[arg-type]


def test_time_and_event_are_numbers_and_strata_are_what_the_follow_up_ended_with(tmp_path: Path) -> None:
    tables = asked(tmp_path)
    cohort, found = load(tables)
    assert found == []
    assert cohort.patients["days"].tolist() == [12, 30.5, 7, 9]
    assert cohort.patients["dead"].tolist() == [1, 0, 1, 0]
    assert labels(cohort, tables).to_dict() == {"P1": "event", "P2": "censored", "P3": "event", "P4": "censored"}
    assert unit_labels(cohort, tables) is None
    frame = units(cohort, tables)
    assert frame[["time", "event", "truth"]].iloc[1].tolist() == [30.5, 0, "censored"]


def test_true_and_false_are_events_too(tmp_path: Path) -> None:
    cohort, _ = load(asked(tmp_path, GOOD.replace(",1\n", ",true\n").replace(",0\n", ",False\n")))
    assert cohort.patients["dead"].tolist() == [1, 0, 1, 0]


def test_the_target_may_be_the_name_of_a_column(tmp_path: Path) -> None:
    tables = asked(tmp_path, target="dead")
    assert labels(load(tables)[0], tables)["P3"] == "event"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("P3,B,7", "P3,B,0", ["not above 0", "row 4", "column days", "where: days > 0"]),
        ("P3,B,7", "P3,B,-2", ["not above 0", "row 4"]),
        ("P3,B,7", "P3,B,long", ["no number", "'long'", "row 4"]),
        ("P3,B,7,1", "P3,B,7,gone", ["'gone'", "row 4", "column dead", "1 \\(or true\\)"]),
        ("P3,B,7,1", "P3,B,7,2", ["'2'", "row 4"]),
    ],
)
def test_what_is_no_time_or_event_is_refused_with_row_and_column(
    tmp_path: Path, old: str, new: str, words: list[str]
) -> None:
    for word in words:
        with pytest.raises(CohortError, match=word):
            load(asked(tmp_path, GOOD.replace(old, new)))


def test_a_column_that_is_not_there_is_named_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="the time of the task") as fault:
        load(asked(tmp_path, time="day"))
    assert "did you mean 'days'" in fault.value.todo


def test_patients_without_a_follow_up_are_left_out_and_named(tmp_path: Path) -> None:
    cohort, found = load(asked(tmp_path, GOOD + "P5,A,,1\nP6,B,5,NA\n"))
    assert list(cohort.patients.index) == ["P1", "P2", "P3", "P4"]
    (told,) = found
    assert told.rule == "patient-without-follow-up"
    assert told.who == ("P5", "P6")
    assert "rows 6, 7" in told.what


def test_a_bad_row_outside_where_is_no_fault(tmp_path: Path) -> None:
    cohort, _ = load(asked(tmp_path, GOOD + "P5,A,0,1\n", where="days > 0"))
    assert "P5" not in cohort.patients.index


def test_a_changed_time_or_event_is_a_changed_cohort(tmp_path: Path) -> None:
    before = snapshot(load(asked(tmp_path))[0])
    said = difference(before, load(asked(tmp_path, GOOD.replace("P1,A,12,1", "P1,A,13,0")))[0])
    assert said == ["patient P1: days changed from 12 to 13", "patient P1: dead changed from 1 to 0"]


def drawn(folder: Path, n: int, *, events: int, site_effect: float = 0.0, seed: int = 0) -> tuple[Cohort, Tables]:
    """n patients at three sites with this many events; at site C times are shortened by a factor."""
    draw = np.random.default_rng(seed)
    site = np.array(["A", "B", "C"])[np.arange(n) % 3]
    time = draw.exponential(1000, n).round(1) + 1
    time = np.where(site == "C", time * np.exp(-site_effect), time)
    dead = draw.permutation(np.arange(n) < events).astype(int)
    frame = pd.DataFrame({"patient": [f"P{i:03d}" for i in range(n)], "site": site, "days": time, "dead": dead})
    tables = asked(folder, frame.to_csv(index=False))
    return load(tables)[0], tables


def found(
    cohort: Cohort, tables: Tables, horizons: tuple[float, ...] = (500,), folds: int = 3
) -> Mapping[str, Finding]:
    who = labels(cohort, tables)
    splits = split.make(cohort, who, split.Scheme(folds=folds))
    return {f.rule: f for f in check_followup.survival(cohort, who, splits, tables, horizons)}


def test_folds_are_stratified_by_event(tmp_path: Path) -> None:
    cohort, tables = drawn(tmp_path, 60, events=21)
    who = labels(cohort, tables)
    counts = [sum(who[p] == "event" for p in s.test) for s in split.make(cohort, who, split.Scheme(folds=5))]
    assert max(counts) - min(counts) <= 1


def test_an_honest_cohort_with_many_events_has_no_finding(tmp_path: Path) -> None:
    assert set(found(*drawn(tmp_path, 150, events=90))) == set()


def test_findings_speak_of_events(tmp_path: Path) -> None:
    cohort, tables = drawn(tmp_path, 60, events=8)
    last = cohort.patients["days"].max()
    told = found(cohort, tables, (20, last + 1), folds=9)
    assert told["events-under-floor"].severity == "warning"
    assert told["events-under-floor"].what.startswith("8 events among 60 patients")
    assert len(told["events-under-floor"].who) == 8
    assert "beyond the longest follow-up" in told["horizon-beyond-follow-up"].what
    assert "horizon 20" in told["horizon-few-events"].what
    assert told["class-few-for-folds"].what == "8 events for 9 folds of patient_kfold"
    assert not any("class" in f.what for f in told.values())


def test_no_event_at_all_is_an_error_and_events_alone_are_none(tmp_path: Path) -> None:
    assert found(*drawn(tmp_path, 30, events=0))["no-event"].severity == "error"
    assert not [f for f in found(*drawn(tmp_path, 30, events=30)).values() if f.severity == "error"]


def test_an_outcome_that_depends_on_the_site_is_found(tmp_path: Path) -> None:
    caught = ["site-label" in found(*drawn(tmp_path, 150, events=100, site_effect=1.5, seed=s)) for s in range(10)]
    assert sum(caught) >= 9
    false = ["site-label" in found(*drawn(tmp_path, 150, events=100, seed=s)) for s in range(20)]
    assert sum(false) <= 2
