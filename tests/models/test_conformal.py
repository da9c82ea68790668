"""Conformal sets: a hand-computed example, the promise over many draws, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import beta

from phenolens.core import conformal as promise
from phenolens.core.predictions import SET_NONE
from phenolens.models.conformal import Conformal, fit_conformal

AB = ("A", "B")


def of_two(p_true: list[float], truth: list[int]) -> np.ndarray:
    """Rows (n, 2) that give the true class the probability stated."""
    rows = np.array([[p, 1 - p] for p in p_true])
    return np.where(np.array(truth)[:, None] == 0, rows, rows[:, ::-1])


def names(n: int) -> list[str]:
    return [f"p{i}" for i in range(n)]


def test_a_hand_computed_example() -> None:
    """Nine patients with p of the true class .95 .9 .85 .8 .7 .6 .55 .4 .3, so scores .05 .1 .15 .2 .3 .4 .45 .6 .7.

    alpha 0.1: rank ceil(10 · 0.9) = 9, threshold 0.7: a class stays with p >= 0.3.
    alpha 0.2: rank ceil(10 · 0.8) = 8, threshold 0.6: a class stays with p >= 0.4.
    """
    truth = [0, 1, 0, 1, 0, 1, 0, 1, 0]
    p = of_two([0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.55, 0.4, 0.3], truth)
    made = fit_conformal(p, np.array(truth), names(9), AB, kind="split")
    assert made.thresholds(0.1) == pytest.approx([0.7, 0.7])
    assert made.thresholds(0.2) == pytest.approx([0.6, 0.6])
    new = np.array([[0.65, 0.35], [0.72, 0.28], [0.38, 0.62], [0.45, 0.55]])
    assert made.column(new, 0.1) == ["A|B", "A", "A|B", "A|B"]
    assert made.column(new, 0.2) == ["A", "A", "B", "A|B"]


def test_a_set_can_be_empty_and_is_told_from_none() -> None:
    truth = [0] * 9
    made = fit_conformal(of_two([0.9] * 9, truth), np.array(truth), names(9), AB, kind="split")
    assert made.column(np.array([[0.6, 0.4]]), 0.1) == [""]
    few = fit_conformal(of_two([0.9] * 8, truth[:8]), np.array(truth[:8]), names(8), AB, kind="split")
    assert few.column(np.array([[0.6, 0.4]]), 0.1) == [SET_NONE]
    assert few.refused(0.1) == "8 calibration patients at alpha 0.1 (9 needed)"
    assert few.column(np.array([[0.95, 0.05]]), 0.2) == ["A"]


def test_the_floors_are_nine_nineteen_and_four() -> None:
    assert [promise.floor(alpha) for alpha in (0.1, 0.05, 0.2)] == [9, 19, 4]
    assert [promise.rank(n, 0.1) for n in (9, 19, 20, 99)] == [9, 18, 19, 90]


def test_realised_coverage_is_the_beta_distribution_of_vovk() -> None:
    for n, alpha in ((9, 0.1), (20, 0.1), (20, 0.2), (1000, 0.1)):
        k = promise.rank(n, alpha)
        told = beta(k, n + 1 - k)
        found = promise.realised_coverage(n, alpha)
        assert found == pytest.approx((told.mean(), told.ppf(0.025), told.ppf(0.975)), abs=1e-9)
    with pytest.raises(ValueError, match="9 are needed"):
        promise.realised_coverage(8, 0.1)


def made_up(rng: np.random.Generator, n: int, minority: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of a fair model of two classes that is worse at class B, and the classes."""
    truth = (rng.random(n) < minority).astype(np.intp)
    logit = rng.normal(np.where(truth == 1, 0.4, -1.2), 1.0)
    p = 1 / (1 + np.exp(-logit))
    return np.column_stack([1 - p, p]), truth


def covered(made: Conformal, p: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return np.array([AB[t] in s for t, s in zip(truth, made.sets(p, 0.1), strict=True)])


def test_with_twenty_calibration_patients_a_thousand_draws_cover_between_90_and_92_percent() -> None:
    found = []
    for seed in range(1000):
        rng = np.random.default_rng(seed)
        made = fit_conformal(*made_up(rng, 20), names(20), AB, kind="split")
        found.append(covered(made, *made_up(rng, 1000)).mean())
    assert 0.90 <= np.mean(found) <= 0.92
    low, high = promise.realised_coverage(20, 0.1)[1:]
    assert np.mean([low <= f <= high for f in found]) == pytest.approx(0.95, abs=0.02)


def test_class_conditional_sets_cover_a_minority_of_twenty_which_split_sets_do_not() -> None:
    found: dict[str, list[float]] = {"class": [], "split": []}
    truth = np.repeat([0, 1], [180, 20])
    for seed in range(300):
        rng = np.random.default_rng(seed)
        p = np.concatenate([_of_class(rng, 180, 0), _of_class(rng, 20, 1)])
        new = _of_class(rng, 100, 1)
        for kind in ("class", "split"):
            made = fit_conformal(p, truth, names(200), AB, kind=kind)
            found[kind].append(covered(made, new, np.ones(100, dtype=int)).mean())
    assert np.mean(found["class"]) >= 0.88
    assert np.mean(found["split"]) < 0.80


def _of_class(rng: np.random.Generator, n: int, which: int) -> np.ndarray:
    logit = rng.normal((-1.2, 0.4)[which], 1.0, n)
    p = 1 / (1 + np.exp(-logit))
    return np.column_stack([1 - p, p])


def test_a_class_with_too_few_patients_is_refused_and_stays_in_every_set() -> None:
    truth = np.repeat([0, 1], [12, 8])
    made = fit_conformal(of_two([0.8] * 20, truth.tolist()), truth, names(20), AB, kind="class")
    assert made.refused(0.1) == "B with 8 calibration patients at alpha 0.1 (9 a class needed)"
    assert made.column(np.array([[0.99, 0.01], [0.1, 0.9]]), 0.1) == ["A|B", "B"]
    none = fit_conformal(of_two([0.8] * 12, [0, 1] * 6), np.array([0, 1] * 6), names(12), AB, kind="class")
    assert none.column(np.array([[0.99, 0.01]]), 0.1) == [SET_NONE]


def test_a_patient_with_several_units_gives_one_score_the_worst() -> None:
    truth = np.zeros(12, dtype=np.intp)
    p = of_two([0.9, 0.5, 0.7, *[0.8] * 9], truth.tolist())
    made = fit_conformal(p, truth, ["same"] * 3 + names(9), AB, kind="split")
    assert made.counts == (10,)
    assert made.scores[-1] == pytest.approx(0.5)
    assert made.scores[:-1] == pytest.approx([0.2] * 9)


def test_patients_whose_every_unit_is_covered_are_as_many_as_promised() -> None:
    found = []
    for seed in range(400):
        rng = np.random.default_rng(seed)
        people = [made_up(rng, 1, 0.5) for _ in range(70)]
        p = np.concatenate([np.repeat(a, 3, axis=0) for a, _ in people])
        p = np.clip(p + rng.normal(0, 0.1, (len(p), 1)) * [1, -1], 0.001, 0.999)
        truth = np.concatenate([np.repeat(t, 3) for _, t in people])
        who = np.repeat([f"p{i}" for i in range(70)], 3).tolist()
        made = fit_conformal(p[:60], truth[:60], who[:60], AB, kind="split")
        found.append(covered(made, p[60:], truth[60:]).reshape(-1, 3).all(1).mean())
    assert 0.89 <= np.mean(found) <= 0.92


def test_a_class_whose_name_would_make_sets_ambiguous_is_refused() -> None:
    truth = np.zeros(20, dtype=np.intp)
    made = fit_conformal(of_two([0.8] * 20, truth.tolist()), truth, names(20), ("A|B", "C"), kind="split")
    assert made.column(np.array([[0.9, 0.1]]), 0.1) == [SET_NONE]
    assert "|" in made.refused(0.1)


@pytest.mark.parametrize("kind", ["split", "class"])
def test_it_is_restored_exactly(kind: str) -> None:
    rng = np.random.default_rng(0)
    made = fit_conformal(*made_up(rng, 40), names(40), AB, kind=kind)  # type: ignore[arg-type]
    again = Conformal.restore(made.weights(), made.config(), AB)
    new = made_up(rng, 50)[0]
    assert again.sets(new, 0.1) == made.sets(new, 0.1)
    assert again.config() == made.config()
