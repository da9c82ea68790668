"""What every model behind the door promises; a file dropped into `zoo/` is tested here without a line of test."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from bagdata import OF_BAGS, SHORT, bag, shifted
from safetensors.numpy import load

from phenolens.core.errors import ModelError
from phenolens.core.registry import MODELS
from phenolens.core.store import canonical
from phenolens.core.types import Example, Loaded
from phenolens.models.record import weights_bytes
from phenolens.tasks.classification import Classification

CLASSES = ("A", "B", "C")
TASK = Classification(target="subtype", classes=CLASSES)
EXAMPLES = shifted(45, classes=CLASSES)
TEST, TUNE, TRAIN = EXAMPLES[:12], EXAMPLES[12:21], EXAMPLES[21:]


@pytest.fixture(scope="module", params=OF_BAGS)
def model(request: pytest.FixtureRequest) -> Any:
    return MODELS.create(request.param, SHORT.get(request.param))


@pytest.fixture(scope="module")
def fitted(model: Any) -> Any:
    return model.fit(TRAIN, TUNE, TASK, seed=3)


def shuffled(example: Example, *, seed: int = 0) -> Example:
    """The same instances, each where it was, stored in another order within each part, and the parts in reverse."""
    rng = np.random.default_rng(seed)
    parts = []
    for part, held in zip(example.parts, example.bags(), strict=True):
        order = rng.permutation(len(held.x))
        mixed = replace(held, x=held.x[order], coords=held.coords[order])
        parts.append(replace(part, source=Loaded(bag=mixed)))
    return replace(example, parts=tuple(parts[::-1]))


def test_a_model_declares_what_it_reads_and_needs(model: Any) -> None:
    assert is_dataclass(model)
    assert type(model).__dataclass_params__.frozen
    assert all(f.kw_only for f in fields(model))
    assert isinstance(model.version, int)
    assert isinstance(model.summary, str)
    assert model.reads in {"bag", "any"}
    assert set(model.offers) <= {"attention", "coefficients", "parts", "contributions", "tile_probability"}
    assert all(isinstance(getattr(model, name), bool) for name in ("accepts_missing", "needs_tune", "cheap"))


def test_a_model_learns_an_easy_task(fitted: Any) -> None:
    truth = np.array([TASK.truth(e) for e in TEST])
    assert (fitted.predict(TEST).argmax(1) == truth).mean() >= 0.9


def test_probabilities_are_one_row_a_unit_and_sum_to_one(fitted: Any) -> None:
    p = fitted.predict(TEST)
    assert p.shape == (len(TEST), len(CLASSES))
    assert p.dtype == np.float64
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-12)
    assert (p >= 0).all()


def test_a_prediction_does_not_depend_on_the_others_nor_on_the_label(fitted: Any) -> None:
    together = fitted.predict(TEST)
    alone = np.concatenate([fitted.predict([replace(e, targets={})]) for e in TEST])
    np.testing.assert_array_equal(together, alone)


def test_the_order_in_which_instances_and_parts_are_stored_does_not_matter(fitted: Any) -> None:
    np.testing.assert_allclose(fitted.predict([shuffled(e) for e in TEST]), fitted.predict(TEST), atol=1e-5)


def test_the_same_seed_gives_the_same_bytes_in_whatever_order_examples_come(model: Any, fitted: Any) -> None:
    again = model.fit(TRAIN[::-1], TUNE[::-1], TASK, seed=3)
    assert weights_bytes(again, "") == weights_bytes(fitted, "")
    assert again.config() == fitted.config()
    np.testing.assert_array_equal(again.predict(TEST), fitted.predict(TEST))


def test_a_restored_model_gives_exactly_the_same_predictions(model: Any, fitted: Any) -> None:
    weights, config = load(weights_bytes(fitted, "")), json.loads(canonical(fitted.config()))
    restored = model.restore(weights, config)
    np.testing.assert_array_equal(restored.predict(TEST), fitted.predict(TEST))
    assert weights_bytes(restored, "") == weights_bytes(fitted, "")
    if "attention" in model.offers:
        np.testing.assert_array_equal(restored.attention(TEST[0]), fitted.attention(TEST[0]))
    if "coefficients" in model.offers:
        np.testing.assert_equal(restored.coefficients(), fitted.coefficients())


def test_the_weights_are_finite(fitted: Any) -> None:
    assert fitted.weights()
    assert all(np.isfinite(w).all() for w in fitted.weights().values())


def test_attention_over_all_instances_of_all_parts_sums_to_one(model: Any, fitted: Any) -> None:
    if "attention" not in model.offers:
        assert not hasattr(fitted, "attention")
        return
    for example in TEST:
        attention = fitted.attention(example)
        assert attention.shape == (len(example.instances()),)
        assert (attention >= 0).all()
        assert attention.sum() == pytest.approx(1, abs=1e-12)


def test_a_constant_feature_and_a_single_instance_do_no_harm(model: Any) -> None:
    def flat(example: Example) -> Example:
        x = example.instances().copy()
        x[:, 5] = 7
        return replace(example, parts=(replace(example.parts[0], source=Loaded(bag=bag(x))),))

    made = model.fit([flat(e) for e in TRAIN], [flat(e) for e in TUNE], TASK, seed=0)
    assert np.isfinite(made.predict([flat(TEST[0]).keep(np.arange(1))])).all()


def test_a_model_that_needs_a_tune_split_refuses_to_go_without(model: Any) -> None:
    if not model.needs_tune:
        assert model.fit(TRAIN, (), TASK, seed=0).predict(TEST).shape == (len(TEST), len(CLASSES))
        return
    with pytest.raises(ModelError, match="no tune unit"):
        model.fit(TRAIN, (), TASK, seed=0)


def test_computing_leaves_torch_as_it_was(model: Any, fitted: Any) -> None:
    torch.manual_seed(11)
    before = torch.get_rng_state().clone(), torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    model.fit(TRAIN, TUNE, TASK, seed=0).predict(TEST)
    after = torch.get_rng_state(), torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]


def test_listing_the_models_imports_neither_torch_nor_sklearn() -> None:
    code = (
        "import sys; from phenolens.core.registry import MODELS, TASKS;"
        "[d.describe(n) for d in (MODELS, TASKS) for n in d.names()];"
        "sys.exit(str([m for m in ('torch', 'sklearn') if m in sys.modules] or '') or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
