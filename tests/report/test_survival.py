"""The survival part of the report: what it shows, in which words, and what it does not say."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jinja2 import Environment, PackageLoader, StrictUndefined

from phenolens.core.predictions import SurvivalPredictions
from phenolens.evaluate.survival_score import survival_estimates
from phenolens.report import figures_survival
from phenolens.report.names import Names
from phenolens.report.pictures import Album
from phenolens.report.survival import view
from tests.evaluate.survivaldata import HORIZONS, TIMES, cross_validated, table


def seen(predictions: SurvivalPredictions | None, names: Names | None = None, **more: str) -> dict[str, Any]:
    estimates = survival_estimates(predictions if predictions is not None else cross_validated(40))
    return view(predictions, estimates, names or Names(hidden=False), Album(Path()), **more)


def page(shown: dict[str, Any]) -> str:
    environment = Environment(
        loader=PackageLoader("phenolens.report", ""), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("survival.html").render(survival=shown)


def svg(uri: str) -> str:
    return base64.b64decode(uri.partition("base64,")[2]).decode()


@pytest.fixture(scope="module")
def both() -> SurvivalPredictions:
    """A good model and one that forecasts twice the hazard, at three sites, with a histology for most patients."""
    good = cross_validated(240, repeats=2, model="cox", noise=0.5, sites=3)
    bad = cross_validated(240, repeats=2, model="forest", noise=1.5, times_hazard=2.0, sites=3)
    whole = table([good.table, bad.table])
    kinds = np.array(["leiomyosarcoma", "liposarcoma", "synovial sarcoma", ""])
    own = kinds[whole.table["patient"].str[1:].astype(int) % 4]
    return table([whole.table.assign(g_histology=own)])


@pytest.fixture(scope="module")
def shown(both: SurvivalPredictions) -> dict[str, Any]:
    return seen(both, time="time (months)")


def test_the_page_shows_estimates_curves_scores_and_calibration_of_each_model(shown: dict[str, Any]) -> None:
    text = page(shown)
    for word in (
        "Uno&#39;s C ↑",
        "gain over Kaplan–Meier ↑",
        "integrated Brier score ↓",
        "cox minus forest",
        "primary: p (Holm)",
        "exploratory: p (BH)",
        "D-calibration p",
    ):
        assert word in text
    assert [g["title"] for g in shown["groups"]] == ["cox", "forest"]
    assert [g["title"] for g in shown["columns"]] == ["histology"]
    assert text.count("<img") == 6
    assert text.count("data:image/svg+xml") == 6
    assert "time (months)" in svg(shown["groups"][0]["figure"])


def test_numbers_at_risk_stand_below_the_curves(both: SurvivalPredictions, shown: dict[str, Any]) -> None:
    first = both.table.query("model == 'cox' and repeat == 0")
    drawn = svg(shown["groups"][0]["figure"])
    assert "at risk" in drawn
    for level in ("low", "high"):
        mine = first[first["group"] == level]
        assert f"{level} ({len(mine)})" in drawn
        assert f">{int((mine['time'] >= 15).sum())}<" in drawn


def test_each_picture_has_a_reading_with_its_numbers(shown: dict[str, Any]) -> None:
    reading = shown["groups"][0]["reading"]
    assert reading.startswith("Low risk: ")
    assert "low-risk patients were without the event" in reading
    assert "Log-rank p < 0.001: the curves differ." in reading
    assert "Log-rank p" in shown["columns"][0]["reading"]
    assert "No miscalibration is shown" in shown["calibration"][0]["reading"]
    assert "cannot be taken at their word at 12 and 24" in shown["calibration"][1]["reading"]
    assert "never on the patients shown" in shown["notes"]["groups"]


def test_small_studies_are_told_why_nothing_is_shown() -> None:
    shown = seen(cross_validated(14))
    text = page(shown)
    assert "not estimable<sup>a</sup>" in text
    assert "patients with the event by 36 (10 needed)" in text
    assert (shown["over_time"]["figure"], shown["calibration"][0]["figure"]) == ("", "")
    assert text.count("not estimable</p>") == 2


def test_without_survival_there_is_nothing_to_show() -> None:
    assert seen(None) == {}
    empty = cross_validated(40).table.iloc[:0]
    assert seen(SurvivalPredictions(table=empty, times=TIMES, horizons=HORIZONS)) == {}


def test_the_scheme_can_be_named_and_the_holdout_is_not_the_first() -> None:
    base = cross_validated(60)
    predictions = table([base.table, base.table.assign(scheme="holdout", fold=0)])
    assert seen(predictions)["scheme"] == "patient_kfold"
    shown = seen(predictions, scheme="holdout")
    assert "patient bootstrap" in shown["table"].words


def test_pseudonyms_hide_the_sites() -> None:
    hidden = Names(hidden=True, sites={f"S{i}": f"site {'ABC'[i]}" for i in range(3)})
    text = page(seen(cross_validated(90, sites=3), hidden))
    assert "site B" in text
    assert ">S1<" not in text


def test_equal_predictions_give_equal_bytes(both: SurvivalPredictions, shown: dict[str, Any]) -> None:
    turned = table([both.table.sample(frac=1, random_state=0)])
    assert page(seen(turned, time="time (months)")) == page(shown)


def test_at_most_eight_levels_are_drawn_the_largest_first() -> None:
    predictions = cross_validated(120)
    number = np.minimum(np.arange(120) // 10, 10)
    shown = seen(table([predictions.table.assign(g_scanner=[f"model {n:02d}" for n in number])]))
    (column,) = shown["columns"]
    assert column["more"] == "3 smaller groups not drawn."
    assert svg(column["figure"]).count("model 10 (20)") == 1
    assert figures_survival.MOST_LEVELS == 8
