from __future__ import annotations

import pandas as pd
import pytest

from phenolens.cohort.expression import select, unseen
from phenolens.core.errors import CohortError

PATIENTS = pd.DataFrame(
    {
        "patient": ["P1", "P2", "P3"],
        "histology": ["LMS", "other", None],
        "age": [50.0, 61.0, float("nan")],
        "tumour size": [3, 5, 8],
        "class": ["a", "b", "a"],
        "#cells (n/mm²)": [1, 2, 3],
    }
)


@pytest.mark.parametrize(
    ("condition", "wanted"),
    [
        ("histology != 'other'", ["P1", "P3"]),
        ("histology in ['LMS', 'SS']", ["P1"]),
        ("histology not in ['LMS'] and age > 18", ["P2"]),
        ("not (age > 55 or age < 40)", ["P1", "P3"]),
        ("4 < `tumour size` <= 8", ["P2", "P3"]),
        ("`class` == 'a'", ["P1", "P3"]),
        ("age > -1", ["P1", "P2"]),
        ("`#cells (n/mm²)` > 2", ["P3"]),
        ("patient in ('P2', 'P3')", ["P2", "P3"]),
    ],
)
def test_a_condition_selects_patients(condition: str, wanted: list[str]) -> None:
    chosen = select(PATIENTS, condition, where="where")
    assert PATIENTS["patient"][chosen].tolist() == wanted


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("histolgy == 'LMS'", "did you mean 'histology'?"),
        ("`tumor size` > 4", "did you mean 'tumour size'?"),
        ("age > '50'", "column age, which holds numbers, compared with '50'"),
        ("histology == 3", "column histology, which holds text, compared with 3"),
        ("histology.str.len() > 2", "in the condition"),
        ("__import__('os').system('true') == 0", "in the condition"),
        ("age + 1 > 3", "in the condition"),
        ("@age > 3", "cannot be read"),
        ("class == 'a'", "in backticks"),
        ("age = 50", "cannot be read"),
        ("age == None", "'None' in the condition"),
        ("'LMS'", "compares nothing"),
        ("", "cannot be read"),
        ("1 == 1", "cannot be evaluated"),
        ("histology > age", "cannot be evaluated"),
    ],
)
def test_a_condition_that_cannot_be_meant_is_refused(condition: str, said: str) -> None:
    with pytest.raises(CohortError) as fault:
        select(PATIENTS, condition, where="where")
    assert said in str(fault.value)


def test_a_value_no_patient_has_is_named_with_the_nearest() -> None:
    assert unseen(PATIENTS, "histology != 'othr'", where="w") == [
        "no patient has histology 'othr' (did you mean 'other'?)"
    ]
    assert unseen(PATIENTS, "histology != 'other'", where="w") == []
