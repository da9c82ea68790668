"""Time to an event as a task: which times, which columns, and what is no follow-up."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from phenolens.core.errors import ModelError
from phenolens.core.predictions import PREDICTION_KEYS
from phenolens.core.types import Example
from phenolens.tasks.survival import Survival

TASK = Survival(target="os", time="days", event="dead", horizons=(1095, 365))


def patient(days: object, dead: object) -> Example:
    return Example(patient="p1", unit_id="p1", parts=(), covariates={}, targets={"days": days, "dead": dead})


def test_the_times_are_the_horizons_and_twenty_even_steps_up_to_tau() -> None:
    assert TASK.horizons == (365, 1095)
    assert TASK.tau == TASK.times[-1] == 1095
    assert len(TASK.times) == 21
    assert TASK.times[0] == 54.75
    assert set(TASK.horizons) <= set(TASK.times)
    later = Survival(target="os", time="days", event="dead", horizons=(365,), tau=730)
    assert later.times[-1] == 730
    assert len(later.times) == 20, "365 is one of the steps"


def test_the_columns_are_named_after_the_times_and_never_twice() -> None:
    assert TASK.columns[:3] == ("risk", "group", "s_54.75")
    odd = Survival(target="os", time="days", event="dead", horizons=(1000.0004, 20000))
    assert odd.horizons == (1000.0, 20000.0)
    assert len(set(odd.columns)) == len(odd.columns) == 22


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"horizons": ()}, "at least one time"),
        ({"horizons": (0, 5)}, "above 0"),
        ({"tau": 300}, "before the last horizon"),
        ({"event": "days"}, "two columns"),
    ],
)
def test_a_survival_that_cannot_be_asked_is_refused(change: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Survival(**{"target": "os", "time": "days", "event": "dead", "horizons": (365, 1095), **change})  # type: ignore[arg-type]


@pytest.mark.parametrize(("days", "dead"), [(0, 1), (-3, 0), (None, 1), (12, None), (12, 2), (float("nan"), 1)])
def test_what_is_no_follow_up_is_refused_with_its_patient(days: object, dead: object) -> None:
    with pytest.raises(ModelError, match="'p1'"):
        TASK.facts(patient(days, dead))


def test_the_truth_is_the_stratum_and_the_facts_are_time_and_event() -> None:
    assert TASK.facts(patient(12, 1)) == (12.0, 1)
    assert [TASK.classes[TASK.truth(patient(12, d))] for d in (0, 1)] == ["censored", "event"]


def test_a_training_set_without_an_event_is_refused() -> None:
    with pytest.raises(ModelError, match="no event among 2"):
        TASK.weights([patient(12, 0), patient(30, 0)])
    assert TASK.weights([patient(12, 0), patient(30, 1)]).tolist() == [1, 1]


def test_unsound_predictions_are_told_in_words() -> None:
    good = np.column_stack([[0.3, -1.0], [1, 0], *[[1 - i / 40, 1 - i / 30] for i in range(21)]])
    assert TASK.unsound(good) == ""
    for column, value, words in ((1, 0.5, "groups"), (4, 1.2, "outside 0 to 1"), (5, 0.99, "rises")):
        bad = good.copy()
        bad[1, column] = value
        assert words in TASK.unsound(bad)


def test_groups_become_words_and_the_table_is_judged() -> None:
    key = dict.fromkeys(PREDICTION_KEYS, "x") | {"site": "A", "split_hash": "h", "time": 12.0, "event": 1}
    row = dict.fromkeys(TASK.columns, 0.5) | {"group": 1.0}
    made = TASK.checked(pd.DataFrame([key | row, key | row | {"unit_id": "y", "group": 0.0}]))
    assert made["group"].tolist() == ["high", "low"]
    with pytest.raises(ModelError, match="not above 0"):
        TASK.checked(pd.DataFrame([key | row | {"time": 0.0}]))
