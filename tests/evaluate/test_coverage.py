"""Coverage of conformal sets, abstentions and distances: counted by patient, beside what was promised."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from evaldata import cross_validated, rows, table
from scipy.stats import beta

from phenolens.core.conformal import rank
from phenolens.core.predictions import SET_NONE, Predictions
from phenolens.evaluate.coverage import COLUMNS, abstentions, coverage, outside

AB = ("A", "B")


def with_sets(truth: str, sets: list[str], tune: int = 20, **more: object) -> Predictions:
    """Test patients with these sets (for both alphas) and ood 0.5, and a number of tune patients."""
    names = list(truth)
    test = rows(names, np.full((len(names), 2), 0.5), AB, **more)  # type: ignore[arg-type]
    test = test.assign(set_90=sets, set_80=sets, ood=0.5)
    other = [f"T{i}" for i in range(tune)]
    held = rows([AB[i % 2] for i in range(tune)], np.full((tune, 2), 0.5), AB, part="tune", patient=other)
    held = held.assign(unit_id=other, set_90=SET_NONE, set_80=SET_NONE, ood=np.nan)
    return table([test, held], AB)


def row(found: pd.DataFrame, subgroup: str = "all", alpha: float = 0.1) -> pd.Series:
    chosen = found[(found["subgroup"] == subgroup) & (found["alpha"] == alpha)]
    assert len(chosen) == 1
    return chosen.iloc[0]


def test_sets_are_counted_by_hand() -> None:
    found = coverage(with_sets("AABB", ["A", "", "A|B", "A"]))
    one = row(found)
    assert tuple(found.columns) == COLUMNS
    assert one[["patients", "coverage", "mean_size", "empty", "full"]].tolist() == [4, 0.5, 1.0, 0.25, 0.25]
    assert row(found, "class=A")["coverage"] == 0.5
    assert one["low"] < 0.5 < one["high"]


def test_the_promise_beside_it_is_the_beta_distribution_of_the_calibration_patients() -> None:
    one = row(coverage(with_sets("AB", ["A", "B"], tune=20)))
    k = rank(20, 0.1)
    assert one["calibration"] == 20
    assert one["expected"] == pytest.approx(19 / 21)
    assert one[["expected_low", "expected_high"]].tolist() == pytest.approx(
        beta(k, 21 - k).ppf([0.025, 0.975]).tolist()
    )


def test_nothing_is_promised_of_a_class_or_site_unless_the_sets_are_made_class_by_class() -> None:
    given = with_sets("AB" * 4, ["A", "B"] * 4, tune=40, site=["S1", "S2"] * 4)
    split, by_class = coverage(given), coverage(given, kind="class")
    assert np.isnan(row(split, "class=A")["expected"])
    assert "over all patients together" in row(split, "class=A")["note"]
    assert row(by_class, "class=A")["expected"] == pytest.approx(19 / 21)
    assert row(by_class, "class=A")["calibration"] == 20
    assert np.isnan(row(by_class, "all")["expected"])
    assert np.isnan(row(split, "site=S1")["expected"])


def test_leaving_a_site_out_reports_coverage_by_site_and_promises_nothing() -> None:
    given = with_sets("AB" * 4, ["A", "A"] * 4, scheme="leave_one_site_out", site=["S1", "S1", "S2", "S2"] * 2)
    found = coverage(given)
    assert row(found, "site=S1")["coverage"] == 0.5
    assert "not exchangeable" in row(found)["note"]
    assert np.isnan(row(found)["expected"])


def test_a_patient_with_several_units_is_covered_when_every_one_is() -> None:
    given = with_sets("AAAA", ["A", "B", "A", "A"], patient=["P1", "P1", "P2", "P2"])
    one = row(coverage(given))
    assert one["patients"] == 2
    assert one["coverage"] == 0.5


def test_patients_without_a_set_are_counted_and_not_measured() -> None:
    one = row(coverage(with_sets("AABB", [SET_NONE] * 2 + ["B", "B"])))
    assert (one["patients"], one["without_set"], one["coverage"]) == (2, 2, 1.0)
    none = row(coverage(with_sets("AABB", [SET_NONE] * 4, tune=8)))
    assert none["patients"] == 0
    assert np.isnan(none["coverage"])
    assert none["note"] == "no set was offered: under 9 calibration patients"


def test_each_patient_counts_once_however_many_repeats() -> None:
    first = cross_validated(40, repeats=1).table
    again = first.assign(repeat=1, set_90="A|B", set_80="A|B")
    found = coverage(table([first.assign(set_90="A", set_80="A"), again], AB))
    one = row(found)
    assert one["patients"] == 40
    assert one["coverage"] == 0.5
    assert one["full"] == 0


def test_exchangeable_sets_cover_what_they_promise() -> None:
    """Sets by hand: the threshold is the rank of the calibration scores in each of 10 folds."""
    found = []
    for seed in range(15):
        rng = np.random.default_rng(seed)
        parts = []
        for fold in range(10):
            score, calibration = rng.random(20), np.sort(rng.random(20))
            sets = np.where(score <= calibration[rank(20, 0.1) - 1], "A", "B").tolist()
            given = with_sets("A" * 20, sets, fold=fold).table
            parts.append(
                given.assign(fold=fold, patient=given["patient"] + f"-{fold}", unit_id=given["unit_id"] + f"-{fold}")
            )
        found.append(row(coverage(table(parts, AB)))["coverage"])
    assert np.mean(found) == pytest.approx(19 / 21, abs=0.02)


def test_a_table_without_a_guard_gives_empty_tables() -> None:
    plain = cross_validated(40)
    for made in (coverage(plain), abstentions(plain), outside(plain)):
        assert made.empty


def test_patients_unlike_the_training_are_counted_by_site_with_their_worst_unit() -> None:
    given = with_sets("AAAAAA", ["A"] * 6, patient=["P1", "P1", "P2", "P3", "P4", "P5"], site=["S1"] * 4 + ["S2"] * 2)
    far = given.table.assign(ood=[0.2, 1.4, 0.3, np.nan, 2.0, 0.9, *[np.nan] * 20])
    found = outside(table([far], AB)).set_index("subgroup")
    assert found.loc["all", ["patients", "share"]].tolist() == [4, 0.5]
    assert found.loc["site=S1", "share"] == 0.5
    assert found.loc["site=S2", ["patients", "share"]].tolist() == [2, 0.5]


def test_abstentions_are_those_of_predict_and_their_reasons_may_overlap() -> None:
    given = with_sets("AAAA", ["A|B", "", "A", "A|B"])
    far = given.table.assign(ood=[0.5, 0.5, 0.5, 3.0, *[np.nan] * 20])
    one = abstentions(table([far], AB)).iloc[0]
    assert one[["share", "outside", "empty", "full"]].tolist() == [0.75, 0.25, 0.25, 0.5]


def test_the_order_of_rows_changes_nothing() -> None:
    given = with_sets("AABB", ["A", "", "A|B", "A"], site=["S1", "S2"] * 2)
    turned = table([given.table.iloc[::-1]], AB)
    for measure in (coverage, abstentions, outside):
        pd.testing.assert_frame_equal(measure(given), measure(turned))


def test_cross_conformal_sets_have_a_guarantee_and_no_beta_interval() -> None:
    given = with_sets("AABB", ["A", "A|B", "B", "A"])
    test = given.table["part"] == "test"
    crossed = table(
        [given.table.assign(set_patients=np.where(test, 20.0, np.nan), set_groups=np.where(test, 5, np.nan))], AB
    )
    one = row(found := coverage(crossed))
    assert one["guaranteed"] == pytest.approx(0.675)
    assert one["calibration"] == 20
    assert np.isnan(one["expected"])
    assert np.isnan(row(found, "class=A")["guaranteed"])
    away = coverage(table([crossed.table[test].assign(scheme="external")], AB))
    assert np.isnan(row(away)["guaranteed"])
    assert "new site" in row(away)["note"]
