"""The classification task: labels, weights, columns, refusals."""

from __future__ import annotations

import numpy as np
import pytest

from phenolens.core.errors import ModelError, PluginError
from phenolens.core.registry import TASKS, Choice
from phenolens.core.types import Example
from phenolens.tasks.classification import Classification

TASK = Classification(target="subtype", classes=("LMS", "SS", "MPNST"))


def unit(label: object) -> Example:
    return Example(patient="p1", unit_id="u1", parts=(), targets={"subtype": label})


def test_the_task_is_behind_its_door_and_takes_classes_as_a_list() -> None:
    made = Choice("task", "classification", {"target": "subtype", "classes": ["LMS", "SS"]}).create()
    assert made.classes == ("LMS", "SS")
    assert made.kind == "classification"
    assert TASKS.describe("classification")["version"] == 1


def test_the_columns_follow_the_order_of_the_classes() -> None:
    assert TASK.columns == ("p_LMS", "p_SS", "p_MPNST")


def test_the_truth_is_the_position_of_the_label() -> None:
    assert [TASK.truth(unit(c)) for c in TASK.classes] == [0, 1, 2]


@pytest.mark.parametrize(("label", "words"), [("LSM", "did you mean 'LMS'"), (None, "no label 'subtype'")])
def test_a_label_outside_the_classes_is_refused_with_the_unit(label: object, words: str) -> None:
    with pytest.raises(ModelError, match="unit 'u1' of patient 'p1'") as caught:
        TASK.truth(unit(label))
    assert words in str(caught.value)


def test_the_weights_let_every_class_count_the_same() -> None:
    examples = [unit(c) for c in ("LMS",) * 6 + ("SS",) * 3 + ("MPNST",)]
    weights = TASK.weights(examples)
    np.testing.assert_allclose(weights * [6, 3, 1], 10 / 3)


def test_a_class_absent_from_training_is_named() -> None:
    with pytest.raises(ModelError, match="no training unit of class MPNST among 2"):
        TASK.weights([unit("LMS"), unit("SS")])


@pytest.mark.parametrize("classes", [(), ("LMS",), ("LMS", "LMS"), ("LMS", "")])
def test_fewer_than_two_distinct_classes_are_refused(classes: tuple[str, ...]) -> None:
    with pytest.raises(PluginError, match="two or more names"):
        TASKS.create("classification", {"target": "subtype", "classes": classes})
