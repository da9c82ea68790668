from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from evaldata import cross_validated, random_p, rows, table

from phenolens.core.predictions import Predictions
from phenolens.evaluate.subgroup import subgroups


def with_column(predictions: Predictions, name: str, of: dict[str, str] | list[str]) -> Predictions:
    """The same predictions with a column of subgroups, by patient or by row."""
    known = predictions.table["patient"].map(of) if isinstance(of, dict) else of
    return Predictions(table=predictions.table.assign(**{name: known}), classes=predictions.classes)


def by_number(predictions: Predictions, share: float) -> dict[str, str]:
    people = sorted(set(predictions.table["patient"]))
    return {p: "old" if i < share * len(people) else "young" for i, p in enumerate(people)}


def level(found: pd.DataFrame, name: str, **more: str) -> pd.Series:
    rows_ = found[found["level"] == name]
    for column, value in more.items():
        rows_ = rows_[rows_[column] == value]
    assert len(rows_) == 1, rows_
    return rows_.iloc[0]


def test_without_a_column_of_subgroups_there_is_no_row() -> None:
    assert subgroups(cross_validated(60)).empty


def test_the_value_is_the_share_of_right_pairs_within_folds() -> None:
    base = cross_validated(80, folds=4, repeats=2)
    found = subgroups(with_column(base, "g_sex", by_number(base, 0.5)))
    right = total = 0.0
    of = by_number(base, 0.5)
    for _, fold in base.table.groupby(["repeat", "fold"]):
        mine = fold[fold["patient"].map(of) == "old"]
        one, other = (mine[mine["truth"] == c]["p_B"].to_numpy() for c in "BA")
        right += (one[:, None] > other[None]).sum() + 0.5 * (one[:, None] == other[None]).sum()
        total += len(one) * len(other)
    assert level(found, "old")["value"] == pytest.approx(right / total, abs=1e-12)
    assert level(found, "old")["class"] == "B"
    assert list(found["n_patients"]) == [40, 40]
    assert list(found["n_events"]) == [20, 20]


def test_scores_of_different_folds_are_never_ranked_together() -> None:
    base = cross_validated(80, folds=4)
    shift = base.table["fold"].to_numpy() * 0.2
    p = base.table["p_B"].to_numpy() / 10 + shift
    moved = Predictions(table=base.table.assign(p_B=p, p_A=1 - p), classes=base.classes)
    one, other = (subgroups(with_column(made, "g_sex", by_number(base, 0.5))) for made in (base, moved))
    np.testing.assert_allclose(one["value"], other["value"], atol=1e-12)


def test_the_two_sides_of_a_column_mirror_each_other_and_count_once() -> None:
    base = cross_validated(200)
    found = subgroups(with_column(base, "g_sex", by_number(base, 0.3)))
    old, young = level(found, "old"), level(found, "young")
    assert old["difference"] == pytest.approx(-young["difference"])
    assert old["difference_low"] == pytest.approx(-young["difference_high"])
    assert old["p"] == old["p_holm"] == young["p_holm"]


def test_six_events_are_not_estimable_and_the_rest_has_no_difference_either() -> None:
    truth = ["B"] * 6 + ["A"] * 20 + ["B"] * 40 + ["A"] * 40
    p = random_p(len(truth), 2, 0, np.array([int(t == "B") for t in truth]), 1.0)
    base = table([rows(truth, p, "AB", fold=[i % 2 for i in range(len(truth))])], "AB")
    found = subgroups(with_column(base, "g_scanner", ["rare"] * 26 + ["usual"] * 80))
    rare, usual = level(found, "rare"), level(found, "usual")
    assert rare["note"] == "not estimable: 6 with the class (10 patients needed)"
    assert rare[["value", "low", "high", "difference", "p"]].isna().all()
    assert (rare["n_patients"], rare["n_events"]) == (26, 6)
    assert usual["value"] > 0.5
    assert usual["note"] == "no difference: 6 with the class (10 patients needed) in the rest"


def test_nobody_is_ever_called_fair() -> None:
    base = cross_validated(200)
    found = subgroups(with_column(base, "g_sex", by_number(base, 0.5)))
    assert not found.astype(str).apply(lambda c: c.str.contains("fair", case=False)).to_numpy().any()


def test_each_of_several_classes_is_told() -> None:
    base = cross_validated(150, ("A", "B", "C"))
    found = subgroups(with_column(base, "g_sex", by_number(base, 0.5)))
    assert list(found["class"]) == ["A", "A", "B", "B", "C", "C"]


def test_levels_of_numbers_stand_in_their_order_and_the_unknown_last() -> None:
    base = cross_validated(160)
    names = ["70 and over", "unknown", "under 50", "50 to under 70"]
    found = subgroups(with_column(base, "g_age", {f"P{i:03d}": names[i // 2 % 4] for i in range(160)}))
    assert list(found["level"]) == ["under 50", "50 to under 70", "70 and over", "unknown"]


def test_a_patient_with_several_images_is_drawn_whole_and_counted_once() -> None:
    truth = ["AB"[i // 2 % 2] for i in range(160)]
    p = random_p(160, 2, 1, np.array([int(t == "B") for t in truth]), 1.0)
    people = [f"P{i // 2:03d}" for i in range(160)]
    base = table([rows(truth, p, "AB", fold=[i // 4 % 4 for i in range(160)], patient=people)], "AB")
    found = subgroups(with_column(base, "g_sex", {q: "fm"[i // 2 % 2] for i, q in enumerate(sorted(set(people)))}))
    assert list(found["n_patients"]) == [40, 40]


def test_the_order_of_rows_and_another_run_change_nothing() -> None:
    base = with_column(cross_validated(120), "g_sex", by_number(cross_validated(120), 0.5))
    mixed = Predictions(table=base.table.sample(frac=1, random_state=3), classes=base.classes)
    pd.testing.assert_frame_equal(subgroups(base), subgroups(mixed))
