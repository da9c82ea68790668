"""What sets the three models apart: the penalty that is chosen, quantiles, attention, stopping, real bags."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bagdata import CLASSES, example, few_witnesses, musk, shifted
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold

from phenolens.core.errors import PluginError
from phenolens.core.registry import MODELS
from phenolens.core.types import Example
from phenolens.models import bag_fit
from phenolens.models.bags import Scaler, condense
from phenolens.models.linear import GRID
from phenolens.tasks.classification import Classification

TASK = Classification(target="subtype", classes=CLASSES)


def auc(fitted: Any, examples: list[Example]) -> float:
    truth = [TASK.truth(e) for e in examples]
    return float(roc_auc_score(truth, fitted.predict(examples)[:, 1]))


def test_attention_finds_the_few_instances_that_no_mean_shows() -> None:
    examples = few_witnesses(120)
    test, tune, train = examples[:40], examples[40:60], examples[60:]
    attention, mean, quantiles = (
        MODELS.create(name).fit(train, tune, TASK, seed=0) for name in ("abmil", "mean_pool", "sampler")
    )
    assert auc(attention, test) > 0.9
    assert auc(mean, test) < 0.7
    assert auc(quantiles, test) > 0.7
    positive = test[1]
    witnesses = positive.instances()[:, :3].sum(1) > 4
    weights = attention.attention(positive)
    assert weights[witnesses].mean() > 2 * weights[~witnesses].mean()


def test_the_moments_of_many_blocks_are_those_of_all_rows_at_once() -> None:
    draw = np.random.default_rng(0)
    blocks = [(draw.normal(1e4, 2, size=(n, 5))).astype(np.float32) for n in (1, 7, 100, 3)]
    rows = np.concatenate(blocks).astype(np.float64)
    made = Scaler.fit(iter(blocks))
    np.testing.assert_allclose(made.mean, rows.mean(0), rtol=1e-12)
    np.testing.assert_allclose(made.scale, rows.std(0), rtol=1e-9)


def test_standardised_outliers_are_cut() -> None:
    made = Scaler.fit([np.random.default_rng(0).normal(size=(50, 2))])
    assert np.abs(made.apply(np.array([[1e30, -1e30]]))).max() == 10


@pytest.mark.parametrize("name", ["mean_pool", "sampler", "abmil"])
def test_standardisation_is_learnt_from_training_examples_alone(name: str) -> None:
    train, tune = shifted(20), shifted(10, seed=1)
    far = [example(e.patient, e.targets["subtype"], e.instances() + 50) for e in tune]
    model = MODELS.create(name, {"epochs": 2} if name == "abmil" else {})
    a, b = (model.fit(train, held, TASK, seed=0).weights() for held in (tune, far))
    np.testing.assert_array_equal(a["mean"], b["mean"])
    np.testing.assert_array_equal(a["scale"], b["scale"])
    if name == "abmil":
        rows = np.concatenate([e.instances() for e in train])
        np.testing.assert_allclose(a["mean"], rows.mean(0), atol=1e-5)


def test_the_quantiles_are_those_of_numpy() -> None:
    x = np.random.default_rng(0).normal(size=(37, 4)).astype(np.float32)
    made = MODELS.create("sampler", {"quantiles": 5})
    expected = np.quantile(x.astype(np.float64), [0.1, 0.3, 0.5, 0.7, 0.9], axis=0).T.ravel()
    np.testing.assert_allclose(made.pool(example("p", "A", x[:20], x[20:])), expected, atol=1e-7)


@pytest.mark.parametrize("d", [3, 200])
def test_logistic_regression_in_the_row_space_is_the_full_one(d: int) -> None:
    examples = shifted(40, d=d)
    train, tune = examples[:30], examples[30:]
    made = MODELS.create("mean_pool").fit(train, tune, TASK, seed=0)
    x = np.stack([e.instances().mean(0, dtype=np.float64) for e in train])
    truth = np.array([TASK.truth(e) for e in train])
    z = Scaler.fit([x]).apply(x)
    full = LogisticRegression(C=made.config()["C"], tol=1e-8, max_iter=10_000, class_weight="balanced").fit(z, truth)
    np.testing.assert_allclose(made.predict(train), full.predict_proba(z), atol=1e-4)


def test_the_penalty_is_the_one_with_the_least_tune_loss() -> None:
    examples = few_witnesses(60)
    config = MODELS.create("sampler").fit(examples[:40], examples[40:], TASK, seed=0).config()
    assert list(config["tune_loss"]) == [f"{c:g}" for c in GRID]
    assert config["tune_loss"][f"{config['C']:g}"] == min(config["tune_loss"].values())


def test_classes_weigh_the_same_however_rare_one_is() -> None:
    draw = np.random.default_rng(0)
    rare = [example(f"r{i}", "B", draw.normal(size=(5, 4))) for i in range(6)]
    many = [example(f"m{i}", "A", draw.normal(size=(5, 4))) for i in range(60)]
    for name in ("mean_pool", "abmil"):
        made = MODELS.create(name).fit(rare[:4] + many[:40], rare[4:] + many[40:], TASK, seed=0)
        assert abs(made.predict(rare + many)[:, 1].mean() - 0.5) < 0.2


def test_training_stops_on_the_tune_split_and_keeps_its_best_epoch() -> None:
    draw = np.random.default_rng(1)
    noise = [example(f"p{i}", CLASSES[i % 2], draw.normal(size=(10, 6))) for i in range(30)]
    config = MODELS.create("abmil", {"patience": 3, "epochs": 60}).fit(noise[:20], noise[20:], TASK, seed=0).config()
    assert config["epochs"] == config["kept_epoch"] + 3
    assert config["epochs"] < 60


def test_bags_beyond_the_cache_are_read_again_and_give_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    examples = shifted(20)
    model = MODELS.create("abmil", {"epochs": 3})
    kept = model.fit(examples[:14], examples[14:], TASK, seed=0).weights()
    monkeypatch.setattr(bag_fit, "CACHE_BYTES", 2000)
    read_again = model.fit(examples[:14], examples[14:], TASK, seed=0).weights()
    assert all(np.array_equal(kept[name], read_again[name]) for name in kept)


def test_another_seed_gives_another_network() -> None:
    examples = shifted(20)
    model = MODELS.create("abmil", {"epochs": 2})
    a, b = (model.fit(examples[:14], examples[14:], TASK, seed=s).weights()["project.weight"] for s in (0, 1))
    assert not np.array_equal(a, b)


@pytest.mark.parametrize("name", ["mean_pool", "sampler"])
def test_a_refit_on_condensed_examples_gives_the_same_numbers_without_reading_features(name: str) -> None:
    examples = shifted(20)
    model = MODELS.create(name)
    small = condense(model, examples)
    with pytest.raises(Exception, match="features that were pooled"):
        small[0].instances()
    a = model.fit(examples[:14], examples[14:], TASK, seed=0)
    b = model.fit(small[:14], small[14:], TASK, seed=0)
    np.testing.assert_array_equal(a.weights()["coef"], b.weights()["coef"])
    np.testing.assert_array_equal(a.predict(examples), b.predict(small))


def test_a_model_that_does_not_pool_keeps_its_examples() -> None:
    examples = shifted(3)
    assert condense(MODELS.create("abmil"), examples) == examples


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("abmil", {"dropout": 1.0}),
        ("abmil", {"epochs": 0}),
        ("abmil", {"instance_share": 0.0}),
        ("abmil", {"learning_rate": 0.0}),
        ("sampler", {"quantiles": 1}),
    ],
)
def test_impossible_parameters_are_refused(name: str, params: dict[str, float]) -> None:
    with pytest.raises(PluginError, match=next(iter(params))):
        MODELS.create(name, params)


@pytest.mark.parametrize("name", ["mean_pool", "abmil"])
def test_real_bags_of_musk_are_told_apart_on_patient_folds(real_data: Path, name: str) -> None:
    examples = musk(real_data)
    truth = [TASK.truth(e) for e in examples]
    assert len(examples) == 92
    assert sum(truth) == 47
    params = {"patience": 10} if name == "abmil" else {}
    found = []
    for k, (rest, test) in enumerate(StratifiedKFold(5, shuffle=True, random_state=0).split(truth, truth)):
        rest = np.random.default_rng(k).permutation(rest)
        tune, train = rest[: len(rest) // 5], rest[len(rest) // 5 :]
        made = MODELS.create(name, params).fit([examples[i] for i in train], [examples[i] for i in tune], TASK, seed=0)
        found.append(auc(made, [examples[i] for i in test]))
    assert np.mean(found) > 0.8
