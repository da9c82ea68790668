from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from phenolens.cohort.check import static
from phenolens.cohort.split import Scheme, make
from phenolens.core.types import Cohort, Finding, Split

from .conftest import cohort_of, series


def people(**counts: int) -> dict[str, str]:
    return {f"{name}{i}": name for name, n in counts.items() for i in range(n)}


def found(labels: dict[str, str], sites: dict[str, str] | None = None, **asked: object) -> dict[str, Finding]:
    cohort = cohort_of(labels, sites or {})
    splits = make(cohort, series(labels), Scheme(**asked), needs_tune=False)
    return {f.rule: f for f in static(cohort, series(labels), splits)}


def three(labels: dict[str, str]) -> dict[str, str]:
    """Three sites with the same share of each class."""
    return {p: f"s{int(p.lstrip('ab')) % 3}" for p in labels}


def test_a_good_cohort_has_no_finding() -> None:
    labels = people(a=12, b=12)
    cohort = cohort_of(labels, three(labels))
    assert static(cohort, series(labels), make(cohort, series(labels), Scheme(folds=3))) == []


def test_one_class_is_an_error() -> None:
    told = found(people(a=12))["few-classes"]
    assert told.severity == "error"
    assert "one class only (a)" in told.what


def test_a_class_smaller_than_the_folds_is_a_warning_and_untested_folds_a_note() -> None:
    told = found(people(a=12, b=3))
    assert told["class-few-for-folds"].severity == "warning"
    assert told["class-few-for-folds"].what == "class b has 3 patients for 5 folds of patient_kfold: b0, b1, b2"
    assert told["class-not-tested"].severity == "note"
    assert "class b is in no test patient of patient_kfold-0-" in told["class-not-tested"].what


def test_a_class_absent_from_training_is_an_error_that_names_class_split_and_patients() -> None:
    told = found(people(a=12, b=1))["class-not-trained"]
    assert told.severity == "error"
    assert "class b is in no training patient of patient_kfold-0-" in told.what
    assert "its patients are in test b0" in told.what
    assert told.who == ("b0",)


def test_a_class_that_only_the_held_out_site_has_is_an_error() -> None:
    labels = people(a=12, b=4)
    sites = {p: "x" if p[0] == "b" or p < "a3" else "y" for p in labels}
    told = found(labels, sites, scheme="leave_one_site_out")["class-not-trained"]
    assert "of leave_one_site_out-0-0" in told.what


def test_a_class_without_tune_patient_is_a_note() -> None:
    labels = people(a=12, b=2)
    cohort = cohort_of(labels)
    told = {f.rule: f for f in static(cohort, series(labels), make(cohort, series(labels), Scheme(folds=2)))}
    assert "stopping and choosing cannot see it" in told["class-not-tuned"].what


def test_a_class_under_the_floor_is_told() -> None:
    told = found(people(a=12, b=9), folds=3)["class-under-floor"]
    assert told.what == "class b: 9 with it of 21 patients: its AUC is not estimable"


def test_patients_that_splits_lack_or_add_are_errors() -> None:
    labels = people(a=12, b=12)
    splits = make(cohort_of(labels), series(labels), Scheme(folds=3))
    now = {p: c for p, c in labels.items() if p != "a3"} | {"b99": "b"}
    told = {f.rule: f for f in static(cohort_of(now), series(now), splits)}
    assert (told["split-strangers"].severity, told["split-strangers"].who) == ("error", ("a3",))
    assert (told["split-lost"].severity, told["split-lost"].who) == ("error", ("b99",))


def test_the_holdout_is_not_missed_in_other_splits() -> None:
    labels = people(a=12, b=12)
    assert "split-lost" not in found(labels, three(labels), folds=3, holdout="patient in ['a0', 'b0']")


@pytest.mark.parametrize(
    ("sites", "said"),
    [({}, "no known site; no external evidence"), ({"a": "x", "b": "y"}, "2 known sites: x, y; no external evidence")],
)
def test_fewer_than_three_sites_are_told(sites: dict[str, str], said: str) -> None:
    labels = people(a=12, b=12)
    told = found(labels, {p: sites[p[0]] for p in labels} if sites else {}, folds=3)["sites-few"]
    assert said in told.what
    assert told.severity == "note"


def test_a_label_constant_within_a_site_is_a_warning_naming_site_and_label() -> None:
    labels = people(a=12, b=12)
    sites = three(labels) | {f"a{i}": "mono" for i in range(6)}
    told = found(labels, sites, folds=3)["site-one-label"]
    assert told.severity == "warning"
    assert "all 6 patients of site mono are a" in told.what
    assert told.who == tuple(f"a{i}" for i in range(6))


def test_two_patients_of_one_class_at_a_site_are_only_a_note() -> None:
    labels = people(a=12, b=12)
    assert found(labels, three(labels) | {"a0": "mono", "a1": "mono"}, folds=3)["site-one-label"].severity == "note"


def drawn(shares: tuple[float, ...], seed: int, n: int = 150) -> list[Finding]:
    draw = np.random.default_rng(seed)
    sites = {f"P{i}": f"s{i % len(shares)}" for i in range(n)}
    labels = {p: "ab"[int(draw.random() < shares[int(s[1:])])] for p, s in sites.items()}
    return static(cohort_of(labels, sites), series(labels), [])


def test_a_label_that_depends_on_the_site_is_found_and_chance_is_not() -> None:
    """Prevalence .2 to .8 over five sites is flagged in nearly all draws, equal prevalence in at most one of twenty."""
    flagged = [any(f.rule == "site-label" for f in drawn((0.2, 0.3, 0.5, 0.7, 0.8), s)) for s in range(20)]
    chance = [any(f.rule == "site-label" for f in drawn((0.5,) * 5, s)) for s in range(20)]
    assert sum(flagged) >= 19
    assert sum(chance) <= 1


def test_image_labels_are_checked_by_class_and_not_by_stratum() -> None:
    strata = {"A": "x+y", "B": "x", "C": "y"}
    rows = [("A", "A1", "x"), ("A", "A2", "y"), ("B", "B1", "x"), ("C", "C1", "y")]
    images = pd.DataFrame(rows, columns=["patient", "image", "label"])
    cohort = Cohort(patients=cohort_of(strata).patients, images=images, fingerprint="0")
    by_image = images.set_index("image")["label"]

    def split(train: str, test: str) -> Split:
        sets = {"train": frozenset(train), "tune": frozenset[str](), "test": frozenset(test)}
        return Split(scheme="file", repeat=0, fold=0, seed=0, **sets)

    assert "class-not-trained" not in {f.rule for f in static(cohort, series(strata), [split("BC", "A")], by_image)}
    told = static(cohort, series(strata), [split("B", "AC")], by_image)[0]
    assert (told.rule, told.who) == ("class-not-trained", ("A", "C"))
