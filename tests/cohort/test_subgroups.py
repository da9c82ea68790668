from __future__ import annotations

import pandas as pd
import pytest

from phenolens.cohort.subgroups import Asked, levels
from phenolens.core.errors import CohortError


def people(**columns: list[object]) -> pd.DataFrame:
    count = len(next(iter(columns.values())))
    return pd.DataFrame(columns, index=pd.Index([f"P{i}" for i in range(count)], name="patient"))


def made(patients: pd.DataFrame, *asked: Asked) -> dict[str, list[str]]:
    return {c: list(of) for c, of in levels(patients, asked, table="patients.csv", target="dx").items()}


def test_words_stand_as_they_are_and_an_empty_cell_is_unknown() -> None:
    assert made(people(sex=["f", None, "m"]), "sex") == {"sex": ["f", "unknown", "m"]}


def test_whole_numbers_are_written_without_a_point() -> None:
    assert made(people(grade=[1.0, float("nan"), 2.0]), "grade") == {"grade": ["1", "unknown", "2"]}


def test_numbers_are_cut_with_the_cut_in_the_upper_level() -> None:
    asked = {"age": (70.0, 50.0)}
    cut = made(people(age=[49.9, 50, 69.5, 70, float("nan")]), asked)
    assert cut == {"age": ["under 50", "50 to under 70", "50 to under 70", "70 and over", "unknown"]}


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("sxe", r"subgroups by 'sxe', which is no column of patients.csv.*did you mean 'sex'"),
        ("dx", "subgroups by 'dx', the target"),
        ("age", r"20 different values of age.*subgroups: \[\{age: \[50, 70\]\}\]"),
        ({"sex": (1.0,)}, "cuts at 1 of sex, which holds words"),
    ],
)
def test_what_makes_no_groups_is_refused_with_what_to_write(asked: Asked, said: str) -> None:
    patients = people(sex=["f", "m"] * 10, age=list(range(20)), dx=["a", "b"] * 10)
    with pytest.raises(CohortError, match=said):
        made(patients, asked)
    with pytest.raises(CohortError, match="subgroups by 'sex', twice"):
        made(patients, "sex", "sex")
