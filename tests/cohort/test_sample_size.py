from __future__ import annotations

import json
from pathlib import Path

import pytest

from phenolens.cohort.sample_size import advice, binary, largest_r2, parameters_for

REFERENCE = json.loads((Path(__file__).parent / "reference" / "sample_size.json").read_text("utf-8"))


@pytest.mark.parametrize("case", REFERENCE["cases"])
def test_every_criterion_asks_for_what_the_published_program_asks(case: dict[str, float]) -> None:
    made = binary(int(case["parameters"]), case["prevalence"], case["r2"])
    assert made.shrinkage == case["shrinkage"]
    assert made.optimism == case["optimism"]
    assert made.intercept == case["intercept"]
    assert made.patients == case["patients"]


def test_as_many_parameters_as_the_patients_bear_ask_for_no_more_patients() -> None:
    bears = parameters_for(1000, 0.3)
    assert binary(bears, 0.3).patients <= 1000 < binary(bears + 1, 0.3).patients


def test_where_the_overall_risk_cannot_be_told_no_parameter_is_borne() -> None:
    assert parameters_for(60, 0.5) == 0


def test_an_r2_beyond_the_possible_is_refused() -> None:
    with pytest.raises(ValueError, match="R² 0.5"):
        binary(5, 0.05, 0.5)
    assert largest_r2(0.5) == pytest.approx(0.75)


def test_the_advice_is_a_note_with_the_numbers() -> None:
    (told,) = advice({"a": 720, "b": 280}, features=560)
    assert told.severity == "note"
    assert "1000 patients, 280 of them b" in told.what
    assert f"bear {parameters_for(1000, 0.28)} candidate parameters" in told.what
    assert "560 features would ask for" in told.what
    assert "are needed to tell the share of b itself" not in told.what
    assert advice({"a": 10}) == []


def test_too_few_patients_for_the_share_of_a_class_are_told_what_is_needed() -> None:
    (told,) = advice({"a": 180, "b": 70})
    assert "they bear 0 candidate parameters" in told.what
    assert "310 patients are needed to tell the share of b itself within 0.05" in told.what
