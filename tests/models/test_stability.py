"""Features that repeated readings agree on: the intraclass correlation, and its place inside the fold."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tabledata import named, unit

from phenolens.core.errors import ModelError
from phenolens.core.types import Example, Loaded, Part
from phenolens.models.columns import TableModel
from phenolens.models.stability import icc
from phenolens.models.tabular import Reader, fit_table
from phenolens.models.zoo.forest import Forest
from phenolens.models.zoo.logistic import Logistic
from phenolens.tasks.classification import Classification

REFERENCE = json.loads((Path(__file__).parent / "reference" / "icc.json").read_text())
TASK = Classification(target="subtype", classes=("A", "B"))
STEADY, SHAKY = (0, 2), (1, 3, 4)


@pytest.mark.parametrize("case", REFERENCE["cases"], ids=lambda case: case["name"])
def test_icc_and_its_lower_limit_are_those_of_the_reference(case: dict) -> None:  # type: ignore[type-arg]
    found = icc(np.array(case["readings"], dtype=float)[:, :, None])
    assert found.value[0] == pytest.approx(case["value"], abs=1e-6)
    assert found.low[0] == pytest.approx(case["low"], abs=1e-6)


def test_many_features_at_once_are_each_as_alone() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20, 1, 7)) + rng.uniform(0.1, 2, 7) * rng.normal(size=(20, 3, 7))
    whole = icc(x)
    for j in range(7):
        alone = icc(x[:, :, j : j + 1])
        assert (alone.value[0], alone.low[0]) == pytest.approx((whole.value[j], whole.low[j]), abs=1e-12)


def test_identical_readings_agree_wholly_and_a_constant_has_no_agreement() -> None:
    x = np.repeat(np.random.default_rng(0).normal(size=(10, 1, 1)), 2, axis=1) * 1e5 + 3.3
    assert icc(x).low[0] == 1
    assert icc(x).value[0] == 1
    assert np.isnan(icc(np.full((10, 2, 1), 0.1)).low[0])


def test_of_467_features_of_lesions_read_twice_as_many_are_stable_as_by_the_reference(real_data: Path) -> None:
    known = json.loads((Path(__file__).parent / "reference" / "icc_hcc.json").read_text())
    first, second, used = (
        pd.read_csv(real_data / "tables" / "hcc-mtm-radiomics" / name, encoding="utf-8-sig")
        for name in ("R#1_1.csv", "R#1_2.csv", "XY3A.csv")
    )
    names = [c for c in used if c != "MTM"]
    low = icc(np.stack([first[names], second[names]], axis=1)).low
    assert (len(low), int((low >= 0.75).sum())) == (known["features"], known["kept"])
    for name, value in known["low"].items():
        assert low[names.index(name)] == pytest.approx(value, abs=1e-6)


def cohort(n: int = 40, *, part: str = "T1", seed: int = 0) -> list[Example]:
    """Units measured twice: the features of STEADY come out alike, those of SHAKY anew each time."""
    rng = np.random.default_rng(seed)
    made = []
    for i in range(n):
        x = rng.normal(size=5) + np.array([1.5 * (i % 2), 0, 0, 0, 0])
        again = []
        for _ in range(2):
            y = x + 0.1 * rng.normal(size=5)
            y[list(SHAKY)] = rng.normal(size=3)
            again.append((Part(name=part, image="again", source=Loaded(bag=named(list(y)))),))
        made.append(replace(unit(f"p{i:02d}", "AB"[i % 2], **{part: list(x)}), readings=tuple(again)))
    return made


def names(reader: Reader) -> list[str]:
    return [n.rpartition("/")[2] for n in reader.names]


def test_features_unstable_by_construction_are_dropped_and_the_number_is_recorded() -> None:
    reader = fit_table(TableModel(stable=0.75), cohort(), TASK).reader
    assert names(reader) == ["size", "grey"]
    told = reader.config()["stable"]
    assert (told["kept"], told["of"], told["training_units"], told["readings"]) == (2, 5, 40, 2)


def test_without_the_setting_readings_change_nothing() -> None:
    plain = [replace(e, readings=()) for e in cohort()]
    a, b = (fit_table(TableModel(), of, TASK) for of in (cohort(), plain))
    np.testing.assert_array_equal(a.x, b.x)
    assert a.reader.config()["stable"] is None


@pytest.mark.parametrize("model", [Logistic(stable=0.75), Forest(stable=0.75, trees=20)], ids=["logistic", "forest"])
def test_readings_of_test_patients_set_to_1e9_change_nothing(model) -> None:  # type: ignore[no-untyped-def]
    whole = cohort()
    train, tune, test = whole[:24], whole[24:32], whole[32:]
    huge = tuple((Part(name="T1", image="again", source=Loaded(bag=named([1e9] * 5))),) for _ in range(2))
    fitted = model.fit(train, tune, TASK, seed=0)
    spoiled = [replace(e, readings=huge) for e in test]
    again = model.fit(train, [replace(e, readings=huge) for e in tune], TASK, seed=0)
    assert fitted.config() == again.config()
    for name, value in fitted.weights().items():
        np.testing.assert_array_equal(value, again.weights()[name])
    np.testing.assert_array_equal(fitted.predict(test), again.predict(spoiled))
    # the same readings among the training patients do change what is learnt: the test above can fail
    mixed = [replace(e, readings=huge if i < 4 else e.readings) for i, e in enumerate(train)]
    assert model.fit(mixed, tune, TASK, seed=0).config()["table"] != fitted.config()["table"]


def test_a_stored_model_keeps_its_choice_and_a_dropped_feature_changes_no_prediction() -> None:
    model = Logistic(stable=0.75)
    whole = cohort()
    fitted = model.fit(whole[:30], whole[30:], TASK, seed=0)
    restored = model.restore(fitted.weights(), json.loads(json.dumps(fitted.config())))
    np.testing.assert_array_equal(fitted.predict(whole), restored.predict(whole))
    bag = whole[0].bags()[0]
    moved = bag.x.copy()
    moved[:, list(SHAKY)] = 77
    changed = replace(whole[0], parts=(replace(whole[0].parts[0], source=Loaded(bag=replace(bag, x=moved))),))
    np.testing.assert_array_equal(restored.predict([changed]), fitted.predict([whole[0]]))


def test_each_part_keeps_its_own_stable_features() -> None:
    steady = [replace(e, readings=(e.parts, e.parts)) for e in cohort(part="T2", seed=1)]
    both = []
    for a, b in zip(cohort(part="T1"), steady, strict=True):
        readings = tuple((*x, *y) for x, y in zip(a.readings, b.readings, strict=True))
        both.append(replace(a, parts=(*a.parts, *b.parts), readings=readings))
    reader = fit_table(TableModel(stable=0.75, by_part=True), both, TASK).reader
    assert reader.names == ("T1/size", "T1/grey", *(f"T2/{n}" for n in ("size", "shape", "grey", "grain", "rim")))
    assert [len(range(*block.indices(7))) for block in reader.schema.blocks] == [2, 5]


def test_readings_of_people_elsewhere_are_used_whole_and_counted_apart() -> None:
    others = tuple(e.readings for e in cohort(seed=5))
    mine = [replace(e, readings=(), readings_elsewhere=others) for e in cohort()]
    reader = fit_table(TableModel(stable=0.75), mine[:6], TASK).reader
    assert names(reader) == ["size", "grey"]
    told = reader.config()["stable"]
    assert (told["training_units"], told["units_elsewhere"]) == (0, 40)


def test_no_readings_too_few_or_nothing_stable_is_refused_in_words() -> None:
    bare = [replace(e, readings=()) for e in cohort()]
    with pytest.raises(ModelError, match="without repeated readings of any of 40 training units"):
        fit_table(TableModel(stable=0.75), bare, TASK)
    with pytest.raises(ModelError, match="repeated readings of 2 units"):
        fit_table(TableModel(stable=0.75), [*cohort()[:2], *bare[2:]], TASK)
    with pytest.raises(ModelError, match="no feature of 5 that repeated readings agree on"):
        fit_table(TableModel(stable=0.9999), cohort(), TASK)
    with pytest.raises(ValueError, match="between 0 and 1"):
        TableModel(stable=1.5)
