from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phenolens.cohort.split import Scheme, extend, make, read, write
from phenolens.core.errors import SplitError
from phenolens.core.types import Split

from .conftest import cohort_of, series

Labels = dict[str, str]


def people(n: int, classes: str = "ab") -> Labels:
    return {f"P{i:02}": classes[i % len(classes)] for i in range(n)}


def by_rule(labels: Labels, sites: int = 3) -> Labels:
    return {p: f"s{int(p[1:]) % sites}" for p in labels}


def grown(
    before: Labels, after: Labels, scheme: Scheme, sites: Labels | None = None
) -> tuple[list[Split], list[Split]]:
    where = sites or by_rule(before | after)
    old = make(cohort_of(before, {p: where[p] for p in before}), series(before), scheme)
    return old, extend(old, cohort_of(after, {p: where[p] for p in after}), series(after), scheme)


@given(st.integers(12, 20), st.integers(0, 12), st.integers(0, 2), st.data())
@settings(max_examples=40, deadline=None)
@pytest.mark.parametrize("name", ["patient_kfold", "leave_one_site_out", "site_preserved", "one_patient_per_class"])
def test_old_patients_keep_their_parts_and_new_ones_get_one(name: str, n: int, more: int, seed: int, data) -> None:
    before, after = people(n), people(n + more)
    scheme = Scheme(scheme=name, folds=3, repeats=2, seed=seed, holdout="patient in ['P03', 'P08']")
    order = data.draw(st.permutations(sorted(after)))
    old, new = grown(before, {p: after[p] for p in order}, scheme)
    assert [s.name for s in new] == [s.name for s in old]
    for a, b in zip(old, new, strict=True):
        assert (a.train <= b.train, a.tune <= b.tune, a.test <= b.test) == (True, True, True)
        everyone = set(after) if name == "holdout" or a.scheme == "holdout" else set(after) - {"P03", "P08"}
        assert b.train | b.tune | b.test == everyone
    assert new == grown(before, after, scheme)[1]


def test_an_unchanged_cohort_keeps_its_splits(tmp_path: Path) -> None:
    scheme = Scheme(folds=3, repeats=2, also=("leave_one_site_out",))
    old, new = grown(people(14), people(14), scheme)
    assert new == old
    write(tmp_path / "splits.csv", new)
    assert read(tmp_path / "splits.csv") == old


def test_new_patients_keep_folds_and_tune_parts_even() -> None:
    after = people(60)
    new = grown(people(12), after, Scheme(folds=3, tune=0.25))[1]
    for s in new:
        for name in "ab":
            held, tuned = (sum(after[p] == name for p in part) for part in (s.test, s.tune))
            assert held == 10
            assert abs(tuned - 5) <= 1


def test_a_new_site_is_a_new_fold_of_leave_one_site_out() -> None:
    after = people(16)
    sites = by_rule(after) | {"P12": "a0", "P13": "a0", "P14": "s1", "P15": "s1"}
    old, new = grown(people(12), after, Scheme(scheme="leave_one_site_out"), sites)
    assert [s.fold for s in new] == [0, 1, 2, 3]
    assert new[3].test == {"P12", "P13"}
    assert new[1].test == old[1].test | {"P14", "P15"}
    assert new[3].tune
    assert new[0].train | new[0].tune == set(after) - new[0].test


def test_a_new_site_goes_whole_to_one_fold_of_site_preserved() -> None:
    after = people(16)
    sites = by_rule(after) | {"P12": "x", "P13": "x", "P14": "x", "P15": "s0"}
    _, new = grown(people(12), after, Scheme(scheme="site_preserved", folds=2), sites)
    homes = [{sites[p] for p in s.test} for s in new]
    assert not homes[0] & homes[1]
    assert homes[0] | homes[1] == {"s0", "s1", "s2", "x"}


def test_a_new_patient_of_the_holdout_goes_there_and_nowhere_else() -> None:
    after = people(14)
    _, new = grown(people(12), after, Scheme(folds=3, holdout="patient in ['P03', 'P13']"))
    assert new[-1].test == {"P03", "P13"}
    assert all("P13" not in s.train | s.tune | s.test for s in new[:-1])
    assert "P12" in new[-1].train | new[-1].tune


def test_patients_who_left_are_taken_out() -> None:
    before = people(14)
    after = {p: c for p, c in before.items() if p != "P05"}
    old, new = grown(before, after, Scheme(folds=3))
    assert [s.test for s in new] == [s.test - {"P05"} for s in old]


def test_a_vacancy_of_one_patient_per_class_is_filled_by_a_new_patient_or_refused() -> None:
    before = people(6)
    gone = min(make(cohort_of(before), series(before), scheme := OPC)[0].test)
    after = {p: c for p, c in before.items() if p != gone}
    with pytest.raises(SplitError, match=f"fold 0 .* without a test patient of class {before[gone]}.*--new-splits"):
        grown(before, after, scheme)
    after["P99"] = before[gone]
    _, new = grown(before, after, scheme, dict.fromkeys([*before, "P99"], "s"))
    assert "P99" in new[0].test
    assert all(sorted(after[p] for p in s.test) == ["a", "b"] for s in new)


OPC = Scheme(scheme="one_patient_per_class", folds=2)


def test_a_changed_label_that_breaks_one_patient_per_class_is_refused() -> None:
    before = people(6)
    patient = min(p for p in make(cohort_of(before), series(before), OPC)[0].test if before[p] == "a")
    with pytest.raises(SplitError, match=r"fold 0 of one_patient_per_class"):
        grown(before, before | {patient: "b"}, OPC)


def test_a_changed_site_that_tears_a_site_apart_is_refused() -> None:
    before = people(12)
    scheme = Scheme(scheme="site_preserved", folds=3)
    old = make(cohort_of(before, by_rule(before)), series(before), scheme)
    with pytest.raises(SplitError, match="sites whose patients are now in several folds: s1"):
        extend(old, cohort_of(before, by_rule(before) | {"P00": "s1"}), series(before), scheme)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"folds": 4}, "3 folds and 1 repeat of patient_kfold"),
        ({"repeats": 2}, "a study that asks for 3 and 2"),
        ({"seed": 1}, "splits of seed 0"),
        ({"also": ("leave_one_site_out",)}, "splits of patient_kfold"),
        ({"holdout": "patient == 'P01'"}, "a study that asks for holdout, patient_kfold"),
    ],
)
def test_another_scheme_is_refused(asked: dict[str, object], said: str) -> None:
    before = people(12)
    old = make(cohort_of(before), series(before), Scheme(folds=3))
    with pytest.raises(SplitError, match=said):
        extend(old, cohort_of(before), series(before), Scheme(**({"folds": 3} | asked)))


def test_the_users_file_says_where_new_patients_are_tested(tmp_path: Path) -> None:
    before, after = people(12), people(14)
    path = tmp_path / "folds.csv"

    def told(labels: Labels, **moved: int) -> Scheme:
        rows = [f"{p},{moved.get(p, int(p[1:]) // 2 % 2)}" for p in labels]
        path.write_text("patient,fold\n" + "\n".join(rows) + "\n")
        return Scheme(scheme="file", file=path)

    scheme = told(before)
    old = make(cohort_of(before), series(before), scheme)
    told(after)
    new = extend(old, cohort_of(after), series(after), scheme)
    assert [s.test for s in new] == [old[0].test | {"P12", "P13"}, old[1].test]
    assert all(a.tune <= b.tune for a, b in zip(old, new, strict=True))
    told(after, P00=1)
    with pytest.raises(SplitError, match="patients whose test fold the file has changed: P00"):
        extend(old, cohort_of(after), series(after), scheme)
