"""Cox regression as a model: it finds what is planted and nothing else, its curves fall, and folds stay pure."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from bagdata import example, split_of
from coxdata import TASK, cohort, follow_up, harrell
from safetensors.numpy import load
from tabledata import without

from phenolens.core.errors import ModelError
from phenolens.core.registry import Choice
from phenolens.core.store import canonical
from phenolens.core.types import Example
from phenolens.models.fit import run_fold
from phenolens.models.record import weights_bytes

EXAMPLES = cohort(240)
TEST, TUNE, TRAIN = EXAMPLES[:80], EXAMPLES[80:120], EXAMPLES[120:]


def fit(train: list[Example] = TRAIN, tune: list[Example] = TUNE, **params: Any) -> Any:
    return Choice("model", "cox", params).create().fit(train, tune, TASK, seed=0)


def same(a: Any, b: Any) -> bool:
    return weights_bytes(a, "") == weights_bytes(b, "")


@pytest.fixture(scope="module")
def fitted() -> Any:
    return fit()


def test_a_planted_hazard_is_found_in_patients_never_seen(fitted: Any) -> None:
    time, event = follow_up(TEST)
    assert harrell(time, event, fitted.predict(TEST)[:, 0]) > 0.65
    weights = {name: abs(w[0]) for name, w in fitted.coefficients().items()}
    assert max(weights, key=lambda n: weights[n]) == "T1/size"
    assert fitted.coefficients()["T1/size"][0] > 0


def test_without_a_signal_risks_order_nothing() -> None:
    found = []
    for seed in range(12):
        drawn = cohort(160, seed=seed, effect=0)
        time, event = follow_up(drawn[:60])
        found.append(harrell(time, event, fit(drawn[80:], drawn[60:80]).predict(drawn[:60])[:, 0]))
    assert abs(np.mean(found) - 0.5) < 0.04


def test_survival_at_the_horizons_is_that_of_the_truth() -> None:
    drawn = cohort(1500, seed=5)
    made = fit(drawn[300:], drawn[:300])
    new = cohort(60, seed=9)
    first = np.array([e.parts[0].load().x[0, 0] for e in new])  # type: ignore[union-attr]
    for days in TASK.horizons:
        truth = np.exp(-0.001 * days * np.exp(first))
        found = made.predict(new)[:, TASK.columns.index(f"s_{days:g}")]
        assert np.abs(found - truth).mean() < 0.05


def test_curves_fall_and_lie_between_0_and_1(fitted: Any) -> None:
    extreme = [replace(e, parts=tuple(_times(p, 1e4) for p in e.parts)) for e in TEST[:6]]
    for examples in (TEST, extreme):
        made = fitted.predict(examples)
        assert np.isfinite(made).all()
        assert TASK.unsound(made) == ""
        assert made.shape == (len(examples), len(TASK.columns))
        risk, curve = made[:, 0], made[:, 2:]
        order = np.argsort(risk)
        assert (np.diff(curve[order], axis=0) <= 1e-12).all(), "a higher risk never lives longer"


def _times(part: Any, factor: float) -> Any:
    from tabledata import named

    from phenolens.core.types import Loaded

    return replace(part, source=Loaded(bag=named(part.load().x * factor)))


def test_groups_are_cut_at_the_median_risk_of_the_training_patients(fitted: Any) -> None:
    train = fitted.predict(TRAIN)
    assert fitted.risk.cut[0] == np.median(train[:, 0])
    assert train[:, 1].mean() == 0.5
    test = fitted.predict(TEST)
    assert ((test[:, 0] > fitted.risk.cut[0]) == (test[:, 1] == 1)).all()


def test_the_order_of_units_does_not_matter_and_a_row_stands_alone(fitted: Any) -> None:
    assert same(fit(TRAIN[::-1], TUNE[::-1]), fitted)
    alone = np.concatenate([fitted.predict([replace(e, targets={})]) for e in TEST])
    np.testing.assert_array_equal(alone, fitted.predict(TEST))


def test_a_restored_model_gives_exactly_the_same_predictions(fitted: Any) -> None:
    weights, config = load(weights_bytes(fitted, "")), json.loads(canonical(fitted.config()))
    restored = Choice("model", "cox").create().restore(weights, config)
    np.testing.assert_array_equal(restored.predict(TEST), fitted.predict(TEST))
    assert same(restored, fitted)
    assert restored.coefficients().keys() == fitted.coefficients().keys()


def test_test_patients_change_nothing_that_was_fitted() -> None:
    split = split_of(EXAMPLES)
    spoilt = [
        replace(e, parts=tuple(_times(p, 1e9) for p in e.parts), targets={"days": 1.0, "dead": 1})
        if e.patient in split.test
        else e
        for e in EXAMPLES
    ]
    model = Choice("model", "cox", {"combat": "site"}).create()
    folds = [run_fold(model, TASK, split, held, seed=0, name="cox") for held in (EXAMPLES, spoilt)]
    assert same(folds[0].fitted, folds[1].fitted)
    table = folds[0].table
    assert set(table["group"]) == {"low", "high"}
    assert set(TASK.columns) <= set(table.columns)
    assert {"time", "event"} <= set(table.columns)
    assert "truth" not in table


def test_the_penalty_is_that_under_which_the_tune_units_are_likeliest(fitted: Any) -> None:
    losses = fitted.search["tune_loss"]
    assert fitted.search["C"] == float(min(losses, key=losses.get))
    noise = cohort(120, seed=3, effect=0)
    assert fit(noise[40:], noise[:40]).search["C"] < fitted.search["C"]


def test_tune_units_without_an_event_are_no_reason_to_stop() -> None:
    tune = [replace(e, targets={**e.targets, "dead": 0}) for e in TUNE]
    assert fit(tune=tune).coefficients()["T1/size"][0] > 0


def test_screening_keeps_the_features_that_tell_most_by_themselves(fitted: Any) -> None:
    made = fit(screen=2)
    used = [name for name, w in made.coefficients().items() if w[0] != 0]
    assert len(used) == 2
    assert "T1/size" in used
    assert same(fit(screen=10), fitted)


def test_more_features_than_patients_are_fitted() -> None:
    draw = np.random.default_rng(0)
    wide = [
        replace(example(e.patient, None, draw.normal(size=(1, 200))), targets=dict(e.targets)) for e in EXAMPLES[:60]
    ]
    assert np.isfinite(fit(wide[12:], wide[:12]).predict(wide)).all()


def test_bags_are_pooled_by_their_mean() -> None:
    draw = np.random.default_rng(1)
    bags = [
        replace(example(e.patient, None, e.parts[0].load().x + draw.normal(size=(30, 5))), targets=dict(e.targets))  # type: ignore[union-attr]
        for e in EXAMPLES
    ]
    made = fit(bags[120:], bags[80:120])
    time, event = follow_up(TEST)
    assert harrell(time, event, made.predict(bags[:80])[:, 0]) > 0.65


def test_absent_parts_are_imputed_or_refused_as_the_study_says() -> None:
    holes = cohort(240, seed=2, absent=0.2)
    with pytest.raises(ModelError, match="missing: refuse"):
        fit(holes[120:], holes[80:120])
    made = fit(holes[120:], holes[80:120], missing="impute")
    time, event = follow_up(holes[:80])
    assert harrell(time, event, made.predict(holes[:80])[:, 0]) > 0.6
    whole = fit(holes[120:], holes[80:120], missing="complete")
    with pytest.raises(ModelError, match="absent"):
        whole.predict([without(TEST[0], "T1")])


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"balanced": True}, "every patient counts the same"),
        ({"missing": "complete", "fallback": "prior"}, "for classes"),
        ({"screen": 0}, "1 or more"),
    ],
)
def test_parameters_that_would_do_nothing_are_refused(params: dict[str, Any], words: str) -> None:
    with pytest.raises(Exception, match=words):
        Choice("model", "cox", params).create()


def test_combat_by_the_follow_up_is_refused() -> None:
    covered = [replace(e, covariates={**e.covariates, "dead": "1"}) for e in EXAMPLES]
    with pytest.raises(ModelError, match="which is the label"):
        fit(covered[120:], covered[80:120], combat="dead")


def test_nothing_to_choose_on_and_nothing_to_learn_from_are_refused() -> None:
    with pytest.raises(ModelError, match="no tune unit"):
        fit(tune=[])
    with pytest.raises(ModelError, match="no event among"):
        fit([replace(e, targets={**e.targets, "dead": 0}) for e in TRAIN])


@pytest.mark.slow
def test_on_noise_the_concordance_of_many_seeds_is_one_half() -> None:
    found = []
    for seed in range(100):
        draw = np.random.default_rng(seed)
        noise = [
            replace(example(e.patient, None, draw.normal(size=(1, 200))), targets=dict(e.targets))
            for e in cohort(60, seed=1000 + seed, effect=0)
        ]
        for fold in range(3):
            rest = [e for i, e in enumerate(noise) if i % 3 != fold]
            time, event = follow_up(noise[fold::3])
            made = fit(rest[8:], rest[:8])
            found.append(harrell(time, event, made.predict(noise[fold::3])[:, 0]))
    assert np.mean(found) == pytest.approx(0.5, abs=0.02)
