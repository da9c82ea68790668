from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phenolens.cohort.inner import quotas
from phenolens.cohort.split import Scheme, make, read, write
from phenolens.core.errors import CohortError, LeakError, SplitError
from phenolens.core.types import Split

from .conftest import cohort_of, series

COUNTS = st.dictionaries(st.sampled_from(["LMS", "SS", "DDLPS", "MPNST"]), st.integers(4, 12), min_size=2)


def people(counts: dict[str, int]) -> dict[str, str]:
    return {f"{name}{i}": name for name, n in counts.items() for i in range(n)}


def sited(labels: dict[str, str], n: int) -> dict[str, str]:
    return {p: f"site{i % n}" for i, p in enumerate(sorted(labels))}


def made(labels: dict[str, str], sites: dict[str, str] | None = None, **asked: object) -> list[Split]:
    return make(cohort_of(labels, sites or {}), series(labels), Scheme(**asked))


@given(COUNTS, st.integers(2, 4), st.integers(1, 3), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_kfold_covers_every_patient_once_a_repeat_with_classes_even(
    counts: dict[str, int], folds: int, repeats: int, seed: int
) -> None:
    labels = people(counts)
    splits = made(labels, folds=folds, repeats=repeats, seed=seed)
    assert [(s.repeat, s.fold) for s in splits] == [(r, f) for r in range(repeats) for f in range(folds)]
    for repeat in range(repeats):
        own = [s for s in splits if s.repeat == repeat]
        assert sorted(p for s in own for p in s.test) == sorted(labels)
        for name in counts:
            held = [sum(labels[p] == name for p in s.test) for s in own]
            assert max(held) - min(held) <= 1
        sizes = [len(s.test) for s in own]
        assert max(sizes) - min(sizes) <= 1
    for s in splits:
        assert s.train | s.tune | s.test == set(labels)
        assert s.tune


@given(COUNTS, st.integers(2, 4), st.floats(0.1, 0.45), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_the_tune_part_is_stratified_and_leaves_each_class_to_train_on(
    counts: dict[str, int], folds: int, share: float, seed: int
) -> None:
    labels = people(counts)
    for s in made(labels, folds=folds, seed=seed, tune=share):
        for name in counts:
            rest = [p for p in s.train | s.tune if labels[p] == name]
            tuned = sum(labels[p] == name for p in s.tune)
            assert abs(tuned - share * len(rest)) < 1
            assert tuned < len(rest) or not rest
            assert tuned >= 1 or len(rest) < 3


@given(st.permutations(sorted(people({"LMS": 7, "SS": 5, "DDLPS": 4}))), st.integers(0, 5))
@settings(max_examples=20, deadline=None)
@pytest.mark.parametrize("name", ["patient_kfold", "leave_one_site_out", "site_preserved", "one_patient_per_class"])
def test_splits_do_not_depend_on_the_order_of_rows(name: str, order: list[str], seed: int) -> None:
    labels = people({"LMS": 7, "SS": 5, "DDLPS": 4})
    asked = {"scheme": name, "folds": 3, "repeats": 2, "seed": seed, "holdout": "patient in ['LMS0', 'SS1']"}
    shuffled = {p: labels[p] for p in order}
    assert made(labels, sited(labels, 4), **asked) == made(shuffled, sited(labels, 4), **asked)


def test_splits_are_the_same_on_every_machine_and_differ_by_seed() -> None:
    labels = people({"LMS": 6, "SS": 6})
    assert [s.hash for s in made(labels, folds=2)] == ["c85a23e46b91", "19d18fdbca0b"]
    assert made(labels, folds=2, seed=1)[0].test != made(labels, folds=2)[0].test


def test_without_need_no_tune_part_is_drawn() -> None:
    labels = people({"LMS": 3, "SS": 3})
    splits = make(cohort_of(labels), series(labels), Scheme(folds=3), needs_tune=False)
    assert all(not s.tune and len(s.train) == 4 for s in splits)


def test_a_cohort_that_can_spare_no_tune_patient_is_refused() -> None:
    labels = people({"LMS": 2, "SS": 2})
    with pytest.raises(SplitError, match=r"no patient to spare for the tune part of patient_kfold-0-0.*LMS \(LMS"):
        made(labels, folds=2)
    assert make(cohort_of(labels), series(labels), Scheme(folds=2), needs_tune=False)


def test_more_folds_than_patients_are_refused() -> None:
    with pytest.raises(SplitError, match=r"3 patients for 5 folds.*set validation.folds to 3"):
        made(people({"LMS": 2, "SS": 1}))


def test_quotas_go_by_largest_remainder_and_give_one_to_each_class_of_three() -> None:
    assert quotas({"a": 10, "b": 7, "c": 3, "d": 2, "e": 1}, 0.2) == {"a": 2, "b": 2, "c": 1, "d": 0, "e": 0}


@given(st.integers(2, 6), st.integers(2, 30), st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_leave_one_site_out_tests_each_site_once(n: int, size: int, seed: int) -> None:
    labels = {f"P{i}": "ab"[i // 2 % 2] for i in range(n * max(4, size // n))}
    sites = sited(labels, n)
    splits = made(labels, sites, scheme="leave_one_site_out", seed=seed, repeats=3)
    assert len(splits) == len(set(sites.values()))
    for s, site in zip(splits, sorted(set(sites.values())), strict=True):
        assert s.test == {p for p in labels if sites[p] == site}
        assert s.train | s.tune == set(labels) - s.test


@pytest.mark.parametrize(("sites", "said"), [({}, "no site known"), ({"LMS0": "A", "SS0": "A"}, "one site only: A")])
def test_leave_one_site_out_needs_two_sites(sites: dict[str, str], said: str) -> None:
    with pytest.raises(SplitError, match=f"{said}, for leave_one_site_out"):
        made({"LMS0": "LMS", "SS0": "SS"}, sites, scheme="leave_one_site_out")


@given(COUNTS, st.integers(2, 4), st.integers(0, 3), st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_site_preserved_keeps_sites_whole_and_covers_everyone(
    counts: dict[str, int], folds: int, seed: int, draw
) -> None:
    labels = people({name: n + 4 for name, n in counts.items()})
    sites = {p: f"s{i if i < folds else draw.randrange(folds + 3)}" for i, p in enumerate(labels)}
    scheme = Scheme(scheme="site_preserved", folds=folds, seed=seed)
    splits = make(cohort_of(labels, sites), series(labels), scheme, needs_tune=False)
    assert sorted(p for s in splits for p in s.test) == sorted(labels)
    homes = [{sites[p] for p in s.test} for s in splits]
    assert len(splits) == folds
    assert sum(map(len, homes)) == len(set().union(*homes))


def test_site_preserved_balances_classes_where_it_can() -> None:
    """Eight sites of one class each, of unequal size, that fit evenly in two folds."""
    sizes = {"a": ("LMS", 7), "b": ("LMS", 4), "c": ("LMS", 3), "d": ("SS", 9), "e": ("SS", 5), "f": ("SS", 4)}
    labels = {f"{s}{i}": name for s, (name, n) in sizes.items() for i in range(n)}
    splits = made(labels, {p: p[0] for p in labels}, scheme="site_preserved", folds=2)
    held = [[sum(labels[p] == name for p in s.test) for name in ("LMS", "SS")] for s in splits]
    assert held == [[7, 9], [7, 9]]


def test_site_preserved_is_quick_with_a_hundred_sites_and_repeats_differ() -> None:
    labels = {f"P{i}": "abcd"[i * 7 % 4] for i in range(600)}
    sites = {p: f"s{i * i % 101}" for i, p in enumerate(labels)}
    splits = made(labels, sites, scheme="site_preserved", folds=5, repeats=2)
    first, second = ({s.test for s in splits if s.repeat == r} for r in (0, 1))
    assert first != second
    for name in "abcd":
        held = [sum(labels[p] == name for p in s.test) for s in splits]
        assert max(held) - min(held) <= 2


def test_site_preserved_makes_no_repeat_twice() -> None:
    labels = people({"LMS": 6, "SS": 6})
    assert len(made(labels, sited(labels, 2), scheme="site_preserved", folds=2, repeats=5)) == 2


def test_site_preserved_needs_a_site_a_fold() -> None:
    labels = people({"LMS": 6, "SS": 6})
    with pytest.raises(SplitError, match=r"3 sites for 5 folds.*set validation.folds to 3"):
        made(labels, sited(labels, 3), scheme="site_preserved")


@given(st.integers(2, 5), st.integers(0, 4), st.integers(0, 3))
@settings(max_examples=30, deadline=None)
def test_one_patient_per_class_tests_exactly_one_of_each(folds: int, more: int, seed: int) -> None:
    labels = people({"LMS": folds + more, "SS": folds + 1, "MPNST": folds})
    splits = made(labels, scheme="one_patient_per_class", folds=folds, seed=seed, tune=0.3)
    assert len(splits) == folds
    tested = [p for s in splits for p in s.test]
    assert len(tested) == len(set(tested))
    for s in splits:
        assert sorted(labels[p] for p in s.test) == ["LMS", "MPNST", "SS"]


def test_one_patient_per_class_names_the_class_that_is_too_small() -> None:
    with pytest.raises(SplitError, match=r"fewer patients than 5 folds in class SS \(3 patients: SS0, SS1, SS2\)"):
        made(people({"LMS": 6, "SS": 3}), scheme="one_patient_per_class")


def test_the_holdout_is_tested_once_and_in_no_other_split() -> None:
    labels = people({"LMS": 8, "SS": 8})
    splits = made(labels, sited(labels, 4), also=("leave_one_site_out",), holdout="site == 'site0'", folds=3)
    assert [s.name for s in splits] == [
        *(f"patient_kfold-0-{f}" for f in range(3)),
        *(f"leave_one_site_out-0-{f}" for f in range(3)),
        "holdout-0-0",
    ]
    held = {p for p, s in sited(labels, 4).items() if s == "site0"}
    assert splits[-1].test == held
    assert splits[-1].train | splits[-1].tune == set(labels) - held
    assert all(not (s.train | s.tune | s.test) & held for s in splits[:-1])


@pytest.mark.parametrize(
    ("condition", "error", "said"),
    [
        ("site == 'x'", SplitError, "selects none of 8 patients"),
        ("site != 'x'", SplitError, "selects all of 8 patients"),
        ("sit == 'x'", CohortError, "did you mean 'site'"),
    ],
)
def test_a_holdout_that_cannot_be_is_refused(condition: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        made(people({"LMS": 4, "SS": 4}), holdout=condition)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"scheme": "patient_kfolds"}, "did you mean 'patient_kfold'"),
        ({"also": ("loso",)}, "scheme 'loso'"),
        ({"folds": 1}, "folds 1"),
        ({"tune": 1.5}, "tune 1.5"),
        ({"scheme": "file"}, "scheme file with file None"),
    ],
)
def test_a_scheme_that_cannot_be_is_refused(asked: dict[str, object], said: str) -> None:
    with pytest.raises(SplitError, match=said):
        Scheme(**asked)


def test_image_labels_leave_each_class_to_train_on() -> None:
    """Four cases, three classes, as in the osteosarcoma tiles: tune must be the case that others cover."""
    images = {"A": "nt nv", "B": "nt nv v", "C": "nt v", "D": "nt"}
    strata = {p: "+".join(own.split()) for p, own in images.items()}
    cohort = cohort_of(strata)
    rows = [(p, f"{p}{c}", c) for p, own in images.items() for c in own.split()]
    by_image = pd.Series({image: c for _, image, c in rows})
    cohort = type(cohort)(
        patients=cohort.patients,
        images=pd.DataFrame({"patient": [r[0] for r in rows], "image": [r[1] for r in rows]}),
        fingerprint="0",
    )
    splits = make(cohort, series(strata), Scheme(folds=4), images_labels=by_image)
    for s in splits:
        assert {c for p in s.train for c in images[p].split()} == {"nt", "nv", "v"}
        assert len(s.tune) == 1
    with pytest.raises(SplitError, match="images of several classes"):
        make(cohort, series(strata), Scheme(scheme="one_patient_per_class", folds=2), images_labels=by_image)


def test_splits_written_and_read_are_the_same(tmp_path: Path) -> None:
    labels = {p.replace("S", 'S,"; ', 1): c for p, c in people({"LMS": 5, "SS": 5}).items()} | {"NA": "SS", "007": "SS"}
    splits = made(
        labels, sited(labels, 3), also=("leave_one_site_out", "site_preserved"), folds=2, holdout="patient == '007'"
    )
    write(tmp_path / "splits.csv", splits)
    assert read(tmp_path / "splits.csv") == splits
    before = (tmp_path / "splits.csv").read_bytes()
    write(tmp_path / "splits.csv", read(tmp_path / "splits.csv"))
    assert (tmp_path / "splits.csv").read_bytes() == before


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (lambda t: t + "patient_kfold,0,0,test,LMS1,0\npatient_kfold,0,0,train,LMS1,0\n", LeakError, "1 patient twice"),
        (lambda t: t.replace("patient_kfold,0,1,test,", "patient_kfold,0,1,train,"), SplitError, "tested in no fold"),
        (lambda t: t.replace(",0,0,train,", ",0,0,learn,", 1), SplitError, "found a part in row"),
        (lambda t: t.replace("_kfold,0,", "_kfold,a,", 1), SplitError, "no whole number in row 2"),
        (lambda t: t.replace("repeat", "round", 1), SplitError, "no column 'repeat'"),
    ],
)
def test_an_edited_split_file_is_refused(tmp_path: Path, change, error: type[Exception], said: str) -> None:
    write(tmp_path / "splits.csv", made(people({"LMS": 4, "SS": 4}), folds=2))
    text = change((tmp_path / "splits.csv").read_text())
    (tmp_path / "splits.csv").write_text(text)
    with pytest.raises(error) as fault:
        read(tmp_path / "splits.csv")
    assert said in str(fault.value)
    assert "splits.csv" in str(fault.value)


def edited(path: Path, splits: list[Split], *moves: tuple[str, str, str]) -> Path:
    """The written splits with rows 'SCHEME,REPEAT,FOLD,PART,PATIENT' renamed: (split, patient, new part or '')."""
    lines = []
    write(path, splits)
    for line in path.read_text().splitlines():
        scheme, repeat, fold, part, patient, seed = line.split(",")
        for split, who, new in moves:
            part = new if (f"{scheme}-{repeat}-{fold}", patient) == (split, who) else part
        lines += [",".join([scheme, repeat, fold, part, patient, seed])] if part else []
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_patient_moved_to_a_second_test_fold_is_a_leak(tmp_path: Path) -> None:
    splits = made(people({"LMS": 4, "SS": 4}), folds=2)
    patient = min(splits[1].train)
    with pytest.raises(LeakError, match=f"patients tested in two folds, the second patient_kfold-0-1: {patient}"):
        read(edited(tmp_path / "splits.csv", splits, ("patient_kfold-0-1", patient, "test")))


def test_a_patient_taken_out_of_one_fold_is_found(tmp_path: Path) -> None:
    splits = made(people({"LMS": 4, "SS": 4}), folds=2)
    patient = min(splits[1].train)
    with pytest.raises(SplitError, match=f"not in patient_kfold-0-1 or the first: {patient}"):
        read(edited(tmp_path / "splits.csv", splits, ("patient_kfold-0-1", patient, "")))


def test_a_holdout_patient_in_another_split_is_a_leak(tmp_path: Path) -> None:
    splits = made(people({"LMS": 5, "SS": 5}), folds=2, holdout="patient == 'SS0'")
    write(tmp_path / "splits.csv", splits)
    rows = "".join(f"patient_kfold,0,{fold},train,SS0,0\n" for fold in (0, 1))
    with (tmp_path / "splits.csv").open("a") as file:
        file.write(rows)
    with pytest.raises(LeakError, match="patients of the holdout in patient_kfold-0-0: SS0"):
        read(tmp_path / "splits.csv")
