"""Subgroups of a study of survival: the concordance of a level, and how often its difference from the rest errs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from survivaldata import HORIZONS, RATE, TIMES, cross_validated, curves, rows, table

from phenolens.core.predictions import SurvivalPredictions
from phenolens.evaluate.survival_score import survival_estimates
from phenolens.evaluate.survival_subgroup import survival_subgroups

SEEDS = 200


def with_column(predictions: SurvivalPredictions, name: str, of: dict[str, str]) -> SurvivalPredictions:
    return replace(predictions, table=predictions.table.assign(**{name: predictions.table["patient"].map(of)}))


def halves(predictions: SurvivalPredictions, share: float = 0.5) -> dict[str, str]:
    people = sorted(set(predictions.table["patient"]))
    return {p: "old" if i < share * len(people) else "young" for i, p in enumerate(people)}


def test_on_one_test_set_the_value_of_a_level_is_uno_c_of_its_patients() -> None:
    whole = cross_validated(160, folds=1, noise=1.0)
    found = survival_subgroups(with_column(whole, "g_age", halves(whole))).set_index("level")
    told = survival_estimates(whole, ["uno_c"]).query("subgroup == 'all'")["value"].iloc[0]
    everyone = survival_subgroups(with_column(whole, "g_all", dict.fromkeys(halves(whole), "one"))).iloc[0]
    assert everyone["value"] == pytest.approx(told, abs=1e-12)
    assert everyone["note"] == "no difference: everyone is in it"
    # the same patients as sites: the weights for censoring stay those of all patients
    sites = whole.table.assign(site=whole.table["patient"].map(halves(whole)))
    by_site = survival_estimates(replace(whole, table=sites), ["uno_c"]).set_index("subgroup")["value"]
    for level in ("old", "young"):
        assert found.loc[level, "value"] == pytest.approx(by_site[f"site={level}"], abs=1e-12)
    assert found.loc["old", "difference"] == pytest.approx(-found.loc["young", "difference"], abs=1e-12)
    assert found.loc["old", "p_holm"] == found.loc["old", "p"]


def test_events_are_counted_on_each_side_and_up_to_tau() -> None:
    whole = cross_validated(160, noise=1.0)
    found = survival_subgroups(with_column(whole, "g_age", halves(whole, 0.25))).set_index("level")
    once = whole.table.assign(level=whole.table["patient"].map(halves(whole, 0.25)))
    seen = once[(once["event"] == 1) & (once["time"] <= TIMES[-1])].groupby("level").size()
    assert found.loc["old", "n_events"] == seen["old"] == found.loc["young", "rest_events"]
    assert found.loc["young", "n_events"] == seen["young"] == found.loc["old", "rest_events"]
    assert found.loc["old", "n_patients"] == 40
    assert (once["time"] > TIMES[-1]).any()


def test_nine_events_are_not_estimable_and_the_rest_has_no_difference_either() -> None:
    whole = cross_validated(160, noise=1.0)
    dead = whole.table[(whole.table["event"] == 1) & (whole.table["time"] <= TIMES[-1])]["patient"]
    few = set(dead[:9]) | set(whole.table[whole.table["event"] == 0]["patient"][:30])
    of = {p: "rare" if p in few else "usual" for p in whole.table["patient"]}
    found = survival_subgroups(with_column(whole, "g_scanner", of)).set_index("level")
    assert np.isnan(found.loc["rare", "value"])
    assert found.loc["rare", "note"] == "not estimable: 9 patients with the event by 36 (10 needed)"
    assert found.loc["usual", "value"] > 0.6
    assert found.loc["usual", "note"] == "no difference: 9 patients with the event by 36 (10 needed) in the rest"


def test_the_result_is_the_same_each_time_and_whatever_the_order_of_rows() -> None:
    whole = cross_validated(80, noise=1.0)
    made = with_column(whole, "g_age", halves(whole))
    mixed = replace(made, table=made.table.sample(frac=1, random_state=1))
    pd.testing.assert_frame_equal(survival_subgroups(made), survival_subgroups(mixed))
    assert survival_subgroups(whole).empty


def study(
    seed: int, *, inside: float, outside: float, n: int = 400, share: float = 0.3, d: int = 20
) -> SurvivalPredictions:
    """Five folds of a ridge on log-rank scores; a feature moves the hazard, by `inside` in the subgroup."""
    rng = np.random.default_rng(seed)
    mine, x = rng.random(n) < share, rng.normal(size=(n, d))
    own = rng.exponential(1 / (RATE * np.exp(np.where(mine, inside, outside) * x[:, 0])))
    until = rng.uniform(3, 80, size=n)
    time, event = np.minimum(own, until), own <= until
    fold = rng.permutation(n) % 5
    frames = []
    for k in range(5):
        train, test = fold != k, fold == k
        t, e = time[train], event[train]
        left = (t[:, None] <= t[None, :]).sum(1)
        response = e - ((t[:, None] >= t[None, :]) * (e / left)[None, :]).sum(1)
        weights = np.linalg.solve(x[train].T @ x[train] + 20 * np.eye(d), x[train].T @ response)
        risk = x[test] @ weights
        names = [f"P{i:03d}" for i in np.flatnonzero(test)]
        made = rows(time[test], event[test], risk, curves(RATE * np.exp(risk)), fold=k, patient=names,
                    group=np.where(risk > 0, "high", "low").tolist())  # fmt: skip
        frames.append(made.assign(unit_id=names, g_half=np.where(mine[test], "inside", "outside")))
    return table(frames, TIMES, HORIZONS)


def detected(seeds: int = SEEDS, **planted: float) -> tuple[float, float]:
    """The share of seeds whose interval of the difference leaves out 0, and the mean difference."""
    found = pd.DataFrame([survival_subgroups(study(seed, **planted)).iloc[0] for seed in range(seeds)])
    beyond = (found["difference_low"] > 0) | (found["difference_high"] < 0)
    return float(beyond.mean()), float(found["difference"].mean())


def test_a_planted_difference_is_found_in_a_few_seeds() -> None:
    share, mean = detected(5, inside=0.0, outside=1.1)
    assert mean < -0.15
    assert share >= 0.8


@pytest.mark.slow
def test_a_planted_difference_of_a_fifth_is_found_in_four_of_five_seeds() -> None:
    share, mean = detected(inside=0.0, outside=1.2)
    assert mean == pytest.approx(-0.22, abs=0.02)
    assert share >= 0.8


@pytest.mark.slow
def test_without_a_difference_the_interval_leaves_out_zero_in_few_seeds() -> None:
    share, mean = detected(inside=0.9, outside=0.9)
    assert abs(mean) < 0.02
    assert share <= 0.07
