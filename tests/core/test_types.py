"""The central types refuse what cannot be."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest

from phenolens.core.errors import CohortError, FeatureError, LeakError, ModelError, PhenolensError
from phenolens.core.predictions import Predictions
from phenolens.core.types import Bag, Cohort, Example, Frame, Loaded, Part, Split

FRAME = Frame(shape=(100, 80), spacing=(0.5, 0.5), origin=(0, 0), unit="um")


def bag(n: int, d: int = 3) -> Bag:
    x = np.arange(n * d, dtype=np.float32).reshape(n, d)
    return Bag(x=x, coords=np.zeros((n, 2)), extent=112.0, names=None, frame=FRAME, recipe="r")


def split(**parts: set[str]) -> Split:
    sets = {name: frozenset(parts.get(name, ())) for name in ("train", "tune", "test")}
    return Split(scheme="patient_kfold", repeat=0, fold=0, seed=0, **sets)


@pytest.mark.parametrize("pair", [("train", "test"), ("tune", "test"), ("train", "tune")])
def test_a_patient_in_two_parts_of_a_split_is_a_leak(pair: tuple[str, str]) -> None:
    with pytest.raises(LeakError, match="P7"):
        split(**{pair[0]: {"P1", "P7"}, pair[1]: {"P7"}})


def test_a_split_hash_follows_its_content() -> None:
    a = split(train={"P1", "P2"}, test={"P3"})
    assert a.hash == split(train={"P2", "P1"}, test={"P3"}).hash != split(train={"P1"}, test={"P3"}).hash


def test_a_bag_with_other_counts_or_names_is_refused() -> None:
    with pytest.raises(FeatureError, match="coordinates"):
        Bag(x=np.zeros((3, 2), np.float32), coords=np.zeros((2, 2)), extent=1, names=None, frame=FRAME, recipe="")
    with pytest.raises(FeatureError, match="names"):
        Bag(x=np.zeros((3, 2), np.float32), coords=np.zeros((3, 2)), extent=1, names=("a",), frame=FRAME, recipe="")


def test_an_example_joins_its_parts_and_skips_absent_ones() -> None:
    parts = (
        Part(name="slide", image="a", source=Loaded(bag=bag(2))),
        Part(name="slide", image="b", source=None),
        Part(name="slide", image="c", source=Loaded(bag=bag(3))),
    )
    example = Example(patient="P1", unit_id="P1", parts=parts)
    assert example.instances().shape == (5, 3)
    kept = example.keep(np.array([0, 4]))
    np.testing.assert_array_equal(kept.instances(), example.instances()[[0, 4]])


def test_an_example_without_instances_is_named() -> None:
    example = Example(patient="P1", unit_id="u9", parts=(Part(name="slide", image="a", source=None),))
    with pytest.raises(ModelError, match="u9"):
        example.instances()


def test_a_patient_twice_is_refused() -> None:
    patients = pd.DataFrame(index=pd.Index(["P1", "P1"], name="patient"))
    with pytest.raises(CohortError, match="P1"):
        Cohort(patients=patients, images=pd.DataFrame(), fingerprint="")


def test_predictions_check_columns_probabilities_and_duplicates() -> None:
    row = {
        "experiment": "main", "scheme": "patient_kfold", "target": "t", "model": "m", "repeat": 0, "fold": 0,
        "part": "test", "patient": "P1", "unit": "patient", "unit_id": "P1", "site": "A", "split_hash": "h",
        "truth": "a", "p_a": 0.25, "p_b": 0.75,
    }  # fmt: skip
    Predictions(table=pd.DataFrame([row]), classes=("a", "b"))
    with pytest.raises(ModelError, match="without the columns truth"):
        Predictions(table=pd.DataFrame([row]).drop(columns="truth"), classes=("a", "b"))
    with pytest.raises(ModelError, match="sum"):
        Predictions(table=pd.DataFrame([{**row, "p_a": 0.5}]), classes=("a", "b"))
    with pytest.raises(ModelError, match="two predictions for unit 'P1'"):
        Predictions(table=pd.DataFrame([row, row]), classes=("a", "b"))


def test_mpp_is_only_for_slides_and_frames_are_positive() -> None:
    assert FRAME.mpp == 0.5
    with pytest.raises(ValueError, match="um"):
        _ = Frame(shape=(4, 4, 4), spacing=(1, 1, 1), origin=(0, 0, 0), unit="mm").mpp
    with pytest.raises(ValueError, match="positive"):
        Frame(shape=(0, 4), spacing=(1, 1), origin=(0, 0), unit="um")


def test_errors_travel_between_processes_whole() -> None:
    error = LeakError("a", expected="b", todo="c", where="d.csv:3")
    again = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert isinstance(again, LeakError)
    assert isinstance(again, PhenolensError)
    assert str(again) == "d.csv:3: found a; expected b; c"
