"""Two layers on the features of each tile: learning, balance, votes and what is stored of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from bagdata import CLASSES, shifted

from phenolens.core.errors import ModelError
from phenolens.core.registry import Choice
from phenolens.core.types import Example
from phenolens.models.heads import _Drawn
from phenolens.models.zoo.tile_head import TileHead

TASK = Choice("task", "classification", {"target": "subtype", "classes": CLASSES}).create()
QUICK = TileHead(width=16, epochs=30, tiles_per_epoch=512, learning_rate=0.01)


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    return shifted(30, seed=4)


def split(examples: list[Example]) -> tuple[list[Example], list[Example], list[Example]]:
    return examples[:18], examples[18:24], [replace(e, targets={}) for e in examples[24:]]


def test_it_learns_what_tiles_show(examples: list[Example]) -> None:
    train, tune, test = split(examples)
    p = QUICK.fit(train, tune, TASK, seed=0).predict(test)
    truth = [TASK.truth(e) for e in examples[24:]]
    assert (p.argmax(1) == truth).mean() >= 0.8


def test_the_votes_are_what_their_names_say(examples: list[Example]) -> None:
    train, tune, test = split(examples)
    fitted = QUICK.fit(train, tune, TASK, seed=0)
    for example in test:
        read = fitted.read(example)
        votes, p = fitted.pooled(read), read.every()
        assert len(p) == len(example.instances())
        np.testing.assert_allclose(votes["mean"], p.mean(0), atol=1e-12)
        np.testing.assert_allclose(votes["majority"], [(p.argmax(1) == c).mean() for c in range(p.shape[1])])
        np.testing.assert_allclose(votes["attention"], fitted.attention(example) @ p, atol=1e-9)
        condensed, bags = fitted.condensed(example)
        np.testing.assert_allclose(condensed.predict([bags])[0], fitted.predict([example])[0], atol=1e-6)


def test_a_stored_head_predicts_the_same(examples: list[Example]) -> None:
    train, tune, test = split(examples)
    fitted = QUICK.fit(train, tune, TASK, seed=0)
    again = QUICK.restore(fitted.weights(), fitted.config())
    np.testing.assert_array_equal(again.predict(test), fitted.predict(test))


def test_classes_and_patients_are_drawn_alike_however_many_tiles_they_have() -> None:
    units = [("a", 0, 400), ("b", 0, 4), ("c", 1, 40)]
    made = [(who, label, np.full((n, 2), i, np.float32)) for i, (who, label, n) in enumerate(units)]
    drawn = _Drawn(replace(QUICK, batch=64), made)
    rng = np.random.default_rng(0)
    seen = Counter[int]()
    for _ in range(100):
        rows, labels = drawn._batch(rng)
        seen.update(int(v) for v in drawn.x[rows, 0])
        assert set(labels) <= {0, 1}
    shares = np.array([seen[i] for i in range(3)]) / 6400
    np.testing.assert_allclose(shares, [0.25, 0.25, 0.5], atol=0.02)


def test_without_a_tune_unit_it_says_so(examples: list[Example]) -> None:
    with pytest.raises(ModelError, match="no tune unit"):
        QUICK.fit(examples[:10], [], TASK, seed=0)
