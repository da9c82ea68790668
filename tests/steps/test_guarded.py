"""What phenolens predict says of a new case: recalibrated, with a set, outside, or abstaining with the reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from phenolens.core.types import Bag, Example, Frame, Loaded, Part
from phenolens.models.cross import Cross, Refit
from phenolens.models.guard import GuardSettings, fit_guard
from phenolens.models.predict import Stored
from phenolens.steps.guarded import ABSTAINS, guard_columns, guarded
from phenolens.tasks.classification import Classification

CLASSES = ("A", "B")
FRAME = Frame(shape=(100, 100), spacing=(0.5, 0.5), origin=(0.0, 0.0), unit="um")
FEATURES = {"dimension": 4, "names": None, "extent": 10.0}


def example(name: str, label: str | None, x: np.ndarray) -> Example:
    rows = np.asarray(x, dtype=np.float32)
    bag = Bag(x=rows, coords=np.zeros((len(rows), 2)), extent=10.0, names=None, frame=FRAME, recipe="a test")
    targets = {} if label is None else {"kind": label}
    return Example(
        patient=name, unit_id=name, parts=(Part(name=name, image=name, source=Loaded(bag=bag)),), targets=targets
    )


def stored(tune: int = 30, *, guard: bool = True, **asked: Any) -> Stored:
    """A model whose probabilities the tests make up, with a guard fitted on drawn patients."""
    rng = np.random.default_rng(0)
    train = [example(f"p{i}", CLASSES[i % 2], rng.normal(size=(3, 4))) for i in range(40)]
    held = [example(f"t{i}", CLASSES[i % 2], rng.normal(size=(3, 4))) for i in range(tune)]
    of_b = np.array([np.clip(rng.normal((0.4, 0.6)[i % 2], 0.2), 0.02, 0.98) for i in range(tune)])
    p = np.column_stack([1 - of_b, of_b])
    task = Classification(target="kind", classes=CLASSES)
    made = fit_guard(GuardSettings(**asked), train, held, p, task, exact=True) if guard else None
    nothing: Any = None
    config = {"classes": list(CLASSES), "features": FEATURES, "task": {"name": "classification"}}
    return Stored(fitted=nothing, config=config, guard=made)


class Always:
    """A refit that says class A of everyone."""

    def predict(self, examples: Sequence[Example]) -> np.ndarray:
        return np.tile([0.9, 0.1], (len(examples), 1))


def like_training(name: str = "new") -> Example:
    return example(name, None, np.random.default_rng(3).normal(size=(3, 4)))


def test_a_sure_prediction_has_its_recalibrated_probabilities_its_set_and_its_distance() -> None:
    model = stored()
    row, lines, predicted = guarded(model, like_training(), np.array([0.95, 0.05]))
    assert row["predicted"] == "A"
    assert predicted == "A (A 0.95, B 0.05)"
    assert row["q_A"] + row["q_B"] == pytest.approx(1)
    assert row["set_90"] == "A"
    assert 0 <= row["ood"] <= 1
    assert row["abstains"] == ""
    assert "  with at most one error in ten: A" in lines
    assert list(row) == [*model.shown, *guard_columns(model)]


def test_a_case_of_which_no_class_can_be_left_out_abstains() -> None:
    row, lines, predicted = guarded(stored(), like_training(), np.array([0.5, 0.5]))
    assert row["predicted"] == ABSTAINS
    assert predicted == f"{ABSTAINS} (A 0.50, B 0.50)"
    assert row["set_90"] == "A|B"
    assert "no class can be left out" in row["abstains"]
    assert lines[0] == f"  abstains: {row['abstains']}"


def test_a_case_unlike_the_training_abstains_however_sure_the_model() -> None:
    far = example("far", None, np.full((3, 4), 30.0))
    row, _, predicted = guarded(stored(), far, np.array([0.99, 0.01]))
    assert row["predicted"] == ABSTAINS
    assert predicted.startswith(ABSTAINS)
    assert row["ood"] > 1
    assert "unlike the training patients" in row["abstains"]


def test_what_could_not_be_fitted_is_said_and_nothing_abstains_for_it() -> None:
    row, lines, predicted = guarded(stored(tune=6), like_training(), np.array([0.6, 0.4]))
    assert predicted == "A (A 0.60, B 0.40)"
    assert row["set_90"] == "-"
    assert "q_A" not in row
    assert any("not recalibrated: 6 tune patients (10 needed)" in line for line in lines)
    assert any("6 calibration patients at alpha 0.1 (9 needed)" in line for line in lines)


def test_a_model_without_a_guard_says_its_class_alone() -> None:
    row, lines, words = guarded(stored(guard=False), like_training(), np.array([0.6, 0.4]))
    assert row == {"predicted": "A", "p_A": 0.6, "p_B": 0.4}
    assert (lines, words) == ([], "A (A 0.60, B 0.40)")
    assert guard_columns(stored(guard=False)) == []


def test_cross_conformal_sets_say_what_they_guarantee_beside_what_they_are_made_for() -> None:
    model = stored(conformal="none")
    assert model.guard is not None
    refits = tuple(Refit(fitted=Always(), scores=np.array([0.1, 0.2, 0.3, 0.4])) for _ in range(5))
    asked = replace(model.guard.settings, conformal="cross")
    model = replace(model, guard=replace(model.guard, settings=asked, conformal=Cross(classes=CLASSES, refits=refits)))
    row, lines, _ = guarded(model, like_training(), np.array([0.5, 0.5]))
    assert (row["predicted"], row["set_90"]) == ("A", "A")
    assert "  made for one error in ten, guaranteed for 33 in 100: A" in lines
