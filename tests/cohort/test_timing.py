from __future__ import annotations

import pandas as pd
import pytest

from phenolens.cohort.timing import Timing, late
from phenolens.core.errors import CohortError
from phenolens.core.types import Finding

WHO = ["P1", "P2", "P3"]
T0 = ["2020-01-10", "2020-02-10", "2020-03-10"]
BOTH = Timing(t0="start", event_date="relapsed_on")


def patients(**columns: list[object]) -> pd.DataFrame:
    return pd.DataFrame({"start": T0, **columns}, index=pd.Index(WHO, name="patient"))


def images(*acquired: object) -> pd.DataFrame:
    return pd.DataFrame({"patient": WHO, "image": [f"{p}-ct" for p in WHO], "acquired": list(acquired)})


def found(people: pd.DataFrame, pictures: pd.DataFrame, timing: Timing, inputs: tuple[str, ...] = ()) -> list[Finding]:
    return late(people, pictures, timing, inputs)


def test_images_before_t0_and_events_after_it_raise_nothing() -> None:
    people = patients(relapsed_on=["2021-01-01", None, "2020-03-11"])
    assert found(people, images("2020-01-10", "2020-01-01", "2019-12-31"), BOTH) == []


def test_an_image_after_the_event_is_an_error_that_names_patient_image_and_dates() -> None:
    people = patients(relapsed_on=["2021-01-01", "2020-06-01", None])
    (told,) = found(people, images("2020-01-09", "2020-07-15", "2020-01-01"), BOTH)
    assert (told.rule, told.severity, told.who) == ("image-after-event", "error", ("P2",))
    assert "1 post-event image" in told.what
    assert "P2-ct of P2 (2020-07-15, 2020-06-01)" in told.what
    assert "1.00" in told.inflates


def test_an_image_between_t0_and_the_event_is_late_all_the_same() -> None:
    people = patients(relapsed_on=["2021-01-01", None, None])
    (told,) = found(people, images("2020-01-11", "2020-01-01", "2020-01-01"), BOTH)
    assert (told.rule, told.who) == ("image-after-t0", ("P1",))


def test_an_event_at_t0_is_immortal_time_and_a_landmark_is_advised() -> None:
    people = patients(relapsed_on=["2020-01-10", "2021-01-01", None])
    (told,) = found(people, images(*T0), BOTH)
    assert (told.rule, told.severity, told.who) == ("event-before-t0", "error", ("P1",))
    assert "landmark" in told.todo


@pytest.mark.parametrize(("inputs", "errors"), [(("necrosis",), 1), (("size",), 0)])
def test_only_a_late_column_that_a_model_is_given_is_an_error(inputs: tuple[str, ...], errors: int) -> None:
    people = patients(reported=["2020-01-01", "2020-05-01", "2020-03-10"], necrosis=[1, 2, 3])
    timing = Timing(t0="start", known_at={"necrosis": "reported"})
    told = [f for f in found(people, images(*T0), timing, inputs) if f.rule == "input-after-t0"]
    assert len(told) == errors
    assert all(f.who == ("P2",) and "column necrosis was known after t0 in 1 patient" in f.what for f in told)


def test_a_column_declared_to_be_known_after_t0_is_an_error_without_any_date() -> None:
    timing = Timing(known_at={"necrosis": "after"})
    (told,) = found(patients(), images(*T0), timing, ("necrosis",))
    assert told.what == "column necrosis was known only after t0"
    assert found(patients(), images(*T0), Timing(known_at={"necrosis": "before"}), ("necrosis",)) == []


@pytest.mark.parametrize(
    ("written", "day"),
    [
        (["10.01.2020", "9.02.2020", "31.12.2019"], "2020-02-09"),
        (["01/10/2020", "02/09/2020", "12/31/2019"], "2020-02-09"),
        ([20200110, 20200209, 20191231], "2020-02-09"),
        (["2020-01-10 08:30:00", "2020-02-09T23:59", "2019-12-31"], "2020-02-09"),
    ],
)
def test_dates_are_read_in_any_one_format(written: list[object], day: str) -> None:
    people = patients(relapsed_on=["2019-01-01", "2020-02-08", "2019-01-01"])
    told = next(f for f in found(people, images(*written), Timing(event_date="relapsed_on")))
    assert f"P2-ct of P2 ({day}, 2020-02-08)" in told.what


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (["2020-01-01", "soon", "2020-01-03"], "cells that are no dates: 'soon' of P2"),
        (["2020-01-01", "2020-13-41", "2020-01-03"], "'2020-13-41' of P2"),
        (["01.02.2020", "2020-01-02", "2020-01-03"], "'01.02.2020' of P1"),
        (["01/02/2020", "03/04/2020", "05/06/2020"], "day and month could change places"),
    ],
)
def test_what_cannot_be_read_as_a_date_is_refused_with_cell_and_patient(cells: list[object], said: str) -> None:
    with pytest.raises(CohortError, match=said):
        found(patients(), images(*cells), Timing(t0="start"))


def test_a_column_that_is_not_there_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(CohortError, match=r"no column 'strat'.*did you mean 'start'"):
        found(patients(), images(*T0), Timing(t0="strat"))
    with pytest.raises(CohortError, match="timing.known_at names 'necrosi'"):
        found(patients(), images(*T0), Timing(t0="start", known_at={"necrosi": "after"}), ("necrosis",))


def test_dates_that_are_missing_are_told() -> None:
    people = patients().assign(start=["2020-01-10", None, "2020-03-10"])
    told = found(people, images("2020-01-10", "2020-01-01", None), Timing(t0="start"))
    assert [(f.rule, f.severity, f.who) for f in told] == [
        ("dates-missing", "warning", ("P2",)),
        ("dates-missing", "warning", ("P3",)),
    ]
    without = images(*T0).drop(columns="acquired")
    assert "3 images of 3 without the date" in found(patients(), without, Timing(t0="start"))[0].what
