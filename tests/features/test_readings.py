"""A table of repeated readings: whose they are, that none is lacking, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from phenolens.core.errors import FeatureError
from phenolens.features.readings import Readings, read_readings

UNITS = pd.DataFrame({"unit_id": ["P1", "P2", "P3"], "patient": ["P1", "P2", "P3"]})
NAMES = {"features": ("size", "grey")}


def table(*patients: str, **changes: object) -> pd.DataFrame:
    rows = [(p, r, i + 0.5, 10.0 * i, 7.0) for i, p in enumerate(patients) for r in ("first", "second")]
    return pd.DataFrame(rows, columns=["patient", "reading", "size", "grey", "unused"]).assign(**changes)


def read(folder: Path, content: pd.DataFrame, **more: object) -> Readings:
    content.to_csv(folder / "readings.csv", index=False)
    return read_readings(folder / "readings.csv", UNITS, NAMES, **more)  # type: ignore[arg-type]


def test_readings_of_the_cohort_and_of_others_are_told_apart(tmp_path: Path) -> None:
    found = read(tmp_path, table("P1", "P2", "X9"))
    assert (sorted(found.own), len(found.elsewhere), found.count) == (["P1", "P2"], 1, 2)
    bag = found.own["P2"][0][0].load()
    assert bag is not None
    assert bag.names == ("size", "grey")
    np.testing.assert_array_equal(bag.x, [[1.5, 10.0]])


def test_a_lesion_that_is_not_predicted_of_a_patient_who_is_belongs_to_no_one_else(tmp_path: Path) -> None:
    units = pd.DataFrame({"unit_id": ["P1/1"], "patient": ["P1"]})
    table("P1", "P1", "X9").assign(lesion=["1", "1", "2", "2", "1", "1"]).to_csv(tmp_path / "r.csv", index=False)
    found = read_readings(tmp_path / "r.csv", units, NAMES, unit="lesion")
    assert (sorted(found.own), len(found.elsewhere)) == (["P1/1"], 1)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (table("P1", "P2").iloc[:-1], "1 unit without one of the readings: P2"),
        (table("P1", "P1"), "a reading twice in rows 2"),
        (table("P1").iloc[:1], "without one of the readings"),
        (table("P1").drop(columns="grey"), "1 column not there: grey"),
        (table("P1").drop(columns="reading"), "1 column not there: reading"),
        (table("P1", grey=[1.0, None]), "a hole in reading 'second' of 'P1'"),
        (table("p1", "P2"), "ids written otherwise than in the cohort: 'p1' is 'P1' there"),
        (table("P1", sequence="T1"), "readings of the part 'T1'"),
    ],
)
def test_what_is_lacking_is_named(tmp_path: Path, content: pd.DataFrame, told: str) -> None:
    with pytest.raises(FeatureError, match=told):
        read(tmp_path, content)
