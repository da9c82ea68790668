from __future__ import annotations

from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from phenolens.cohort.telling import repeated, telling
from phenolens.cohort.telling_time import FollowUp, concordance, concordance_by_chance
from phenolens.core.types import Finding


def noise(n: int, d: int, seed: int = 0) -> pd.DataFrame:
    values = np.random.default_rng(seed).normal(size=(n, d))
    return pd.DataFrame(values, index=[f"P{i}" for i in range(n)], columns=[f"f{j}" for j in range(d)])


def labels(n: int, classes: str = "ab") -> pd.Series[str]:
    return pd.Series([classes[i % len(classes)] for i in range(n)], index=[f"P{i}" for i in range(n)])


def found(x: pd.DataFrame, truth: pd.Series[str]) -> dict[str, Finding]:
    patient = pd.Series(x.index, index=x.index)
    return {f.rule: f for f in telling(x, truth, patient, "dx")}


@pytest.mark.parametrize("sign", [1, -1])
def test_a_column_made_from_the_label_is_an_error_in_either_direction(sign: int) -> None:
    truth = labels(60)
    x = noise(60, 40).assign(score=sign * (truth == "b").astype(float) + 0.05 * noise(60, 1)["f0"])
    told = found(x, truth)["column-tells-target"]
    assert told.severity == "error"
    assert "1 column of 41 alone tells the dx: score (AUC 1.000 for " in told.what
    assert "sign_offs" in told.todo


def test_a_column_that_tells_one_of_several_classes_is_found() -> None:
    truth = labels(90, "abc")
    told = found(noise(90, 10).assign(late=(truth == "b").astype(float)), truth)["column-tells-target"]
    assert "late (AUC 1.000 for b)" in told.what


def test_an_honest_table_has_no_error_over_many_seeds() -> None:
    wrong = [found(noise(24, 500, seed), labels(24)) for seed in range(40)]
    assert not any("column-tells-target" in told for told in wrong)


def test_what_chance_could_do_among_many_columns_of_few_patients_is_a_note() -> None:
    truth = labels(20)
    x = noise(20, 3000)
    x["f7"] = (truth == "b") + noise(20, 1, 5)["f0"] * 0.3
    assert found(x, truth)["column-near-target"].severity == "note"


def test_under_twenty_patients_nothing_is_said_of_columns() -> None:
    truth = labels(18)
    assert found(noise(18, 3).assign(late=(truth == "b").astype(float)), truth) == {}


@pytest.mark.parametrize("name", ["response", "bestResponse", "RECIST_1", "follow-up_days", "os", "Relapse.2y"])
def test_a_column_named_like_an_outcome_is_a_warning(name: str) -> None:
    told = found(noise(10, 2).assign(**{name: 0.0}), labels(10))["column-named-outcome"]
    assert told.severity == "warning"
    assert name in told.what


@pytest.mark.parametrize("name", ["firstorder_Energy", "glcm_cluster_prominence", "position", "ostium", "preventive"])
def test_names_of_features_are_no_names_of_outcomes(name: str) -> None:
    assert found(noise(10, 2).assign(**{name: 0.0}), labels(10)) == {}


def test_rows_copied_under_other_patients_are_an_error_that_names_them() -> None:
    x = noise(40, 12)
    x.loc["P7"] = x.loc["P3"]
    x.loc["P9"] = x.loc["P3"]
    (told,) = repeated(x, pd.Series(x.index, index=x.index), "f.csv")
    assert (told.rule, told.severity, told.who) == ("rows-repeated", "error", ("P3", "P7", "P9"))
    assert "P3 = P7 = P9" in told.what
    assert "0.77" in told.inflates


def test_oversampling_of_a_whole_class_is_found() -> None:
    x = noise(60, 12)
    for i in range(30, 60):
        x.loc[f"P{i}"] = x.loc[f"P{i % 10}"]
    (told,) = repeated(x, pd.Series(x.index, index=x.index), "f.csv")
    assert len(told.who) == 40


def test_equal_rows_of_one_patient_are_no_copy_of_another() -> None:
    x = noise(40, 12)
    x.loc["P7"] = x.loc["P3"]
    assert repeated(x, pd.Series(["P3" if p == "P7" else p for p in x.index], index=x.index), "f.csv") == []


def test_equal_rows_of_a_few_coarse_columns_are_chance() -> None:
    x = noise(200, 3).round(0)
    assert x.duplicated().any()
    assert repeated(x, pd.Series(x.index, index=x.index), "f.csv") == []


def follow_up(n: int, seed: int = 1, censored: float = 0.3) -> FollowUp:
    rng = np.random.default_rng(seed)
    return FollowUp(time=rng.exponential(100, n).round(1) + 0.1, event=rng.random(n) > censored)


def found_with(x: pd.DataFrame, told: FollowUp) -> dict[str, Finding]:
    truth = pd.Series(np.where(told.event, "event", "censored"), index=x.index)
    return {f.rule: f for f in telling(x, truth, pd.Series(x.index, index=x.index), "os", told)}


@pytest.mark.parametrize("sign", [1, -1])
def test_a_column_made_from_the_follow_up_is_an_error_in_either_direction(sign: int) -> None:
    told = follow_up(80)
    x = noise(80, 40).assign(late=sign * (np.log(told.time) + 0.1 * noise(80, 1, 3)["f0"].to_numpy()))
    error = found_with(x, told)["column-tells-target"]
    assert error.severity == "error"
    assert "1 column of 41 alone tells the os: late (C 0.9" in error.what
    assert "with the follow-up" in error.what
    assert "sign_offs: {column-tells-target: REASON}" in error.todo


def test_a_strong_honest_column_of_survival_passes() -> None:
    told = follow_up(120)
    x = noise(120, 20).assign(grade=np.log(told.time) + 1.5 * noise(120, 1, 3)["f0"].to_numpy())
    assert found_with(x, told) == {}


def test_an_honest_table_of_survival_has_no_error_over_many_seeds() -> None:
    wrong = [found_with(noise(24, 500, seed), follow_up(24, seed)) for seed in range(40)]
    assert not any("column-tells-target" in told for told in wrong)


def test_what_chance_orders_among_many_columns_and_few_events_is_a_note() -> None:
    rng = np.random.default_rng(0)
    event = np.zeros(24, dtype=bool)
    event[:5] = True
    told = FollowUp(time=np.r_[np.arange(1.0, 6), rng.uniform(1.5, 9, 19).round(1)], event=event)
    x = noise(24, 4000)
    x["f7"] = -told.time + 0.2 * x["f7"]
    assert found_with(x, told)["column-near-target"].severity == "note"


def test_concordance_is_the_share_of_ordered_pairs_and_its_chance_that_of_all_orders() -> None:
    told = follow_up(7, seed=5)
    x = np.array([3.0, 1.0, 1.0, 5.0, 2.0, 6.0, 4.0])

    def share(values: np.ndarray) -> float:
        right = pairs = 0.0
        for i in np.flatnonzero(told.event):
            for j in range(7):
                if told.time[j] > told.time[i] or (told.time[j] == told.time[i] and not told.event[j]):
                    pairs += 1
                    right += (values[i] > values[j]) + 0.5 * (values[i] == values[j])
        return right / pairs

    assert concordance(x[:, None], told)[0] == pytest.approx(max(share(x), 1 - share(x)))
    drawn = np.array([share(x[list(order)]) for order in permutations(range(7))])
    z = abs(share(x) - 0.5) / drawn.std()
    assert concordance_by_chance(x, told) == pytest.approx(2 * stats.norm.sf(z), rel=1e-9)
