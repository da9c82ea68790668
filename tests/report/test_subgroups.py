from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from jinja2 import Environment, PackageLoader, StrictUndefined

from phenolens.core.predictions import Predictions
from phenolens.evaluate.score import estimates
from phenolens.evaluate.subgroup import subgroups
from phenolens.report import names as naming
from phenolens.report import subgroups as part
from phenolens.report.figures_subgroups import Line, Sum, forest
from phenolens.report.pictures import Album
from phenolens.report.record import read
from tests.report.reportdata import write_study

SCANNERS = ("Alpha", "Beta", "Rare")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes at three sites; scanner Alpha is served worse, and Rare has six patients of each class or fewer."""
    folder = write_study(
        tmp_path_factory.mktemp("sub") / "study", patients=180, also=("leave_one_site_out",), models=("mean_pool",)
    )
    path = folder / "results" / "predictions.csv"
    table = pd.read_csv(path, dtype={"split_hash": str})
    number = table["patient"].str[4:].astype(int)
    scanner = np.where(number > 170, "Rare", np.where(number % 3 == 0, "Alpha", "Beta"))
    sex = np.where(number // 2 % 2, "f", "m")
    coin = np.random.default_rng(0).uniform(0.2, 0.8, len(table))
    table["p_A"] = np.where(scanner == "Alpha", coin, table["p_A"])
    table = table.assign(p_B=1 - table["p_A"], g_scanner=scanner, g_sex=sex)
    table.to_csv(path, index=False)
    predictions = Predictions(table=table, classes=("A", "B"))
    estimates(predictions).to_csv(folder / "results" / "estimates.csv", index=False)
    subgroups(predictions).to_csv(folder / "results" / "subgroups.csv", index=False)
    return folder


def view(folder: Path, *, pseudonyms: bool = False) -> dict[str, Any]:
    record = read(folder)
    names = naming.make(record, pseudonyms=pseudonyms)
    return part.view(record, names, Album(folder, names.all()))


def test_the_forest_of_subgroups_says_what_differs_and_what_cannot_be_told(study: Path) -> None:
    (one,) = view(study)["subgroups"]
    assert one["figure"].startswith("data:image/svg+xml")
    assert re.search(r"For scanner Alpha the AUC of B is 0\.\d\d lower than for everyone else", one["reading"])
    assert "more than chance explains" in one["reading"]
    assert "For sex" not in one["reading"]
    assert "1 subgroup cannot be estimated: fewer than 10 patients" in one["reading"]


def test_the_forest_of_sites_says_where_a_new_site_is_expected(study: Path) -> None:
    (one,) = view(study)["sites"]
    assert "over 3 of 3 sites the mean macro AUC is 0." in one["reading"]
    assert re.search(r"in a new, similar hospital it is expected between [01]\.\d\d and [01]\.\d\d", one["reading"])


def test_nobody_is_called_fair_and_no_site_is_named_under_pseudonyms(study: Path) -> None:
    environment = Environment(loader=PackageLoader("phenolens.report", ""), autoescape=True, undefined=StrictUndefined)
    template = environment.get_template("subgroups.html")
    made = view(study, pseudonyms=True)
    page = template.render(subgroups=made)
    assert "<h3>Subgroups</h3>" in page
    assert "<h3>Site by site</h3>" in page
    assert "fair" not in page.lower()
    assert "Northtown" not in page
    assert template.render(subgroups={}).strip() == ""


def test_without_subgroups_and_sites_left_out_there_is_nothing_to_show(small: Path) -> None:
    assert view(small) == {}


def test_no_difference_is_told_with_what_is_not_ruled_out(study: Path) -> None:
    record = read(study)
    rows = record.more["subgroups"]
    mine = rows[(rows["scheme"] == "patient_kfold") & (rows["column"] == "sex")]
    said = part.reading(mine, "B", naming.make(record, pseudonyms=False))
    assert re.match(
        r"No difference between subgroups is told apart from chance; differences of up to 0\.\d\d are", said
    )


def test_two_drawings_of_one_forest_are_the_same_bytes() -> None:
    lines = [Line(name="sex", heading=True), Line(name="f", counts="9 (4)", value=0.7, low=0.6, high=0.8, told="x")]
    one, two = (forest(lines, everyone=0.7, label="AUC", head=("a", "b", "c")) for _ in range(2))
    assert one == two


def test_a_mean_without_a_prediction_interval_says_so() -> None:
    said = part.site_reading(Sum(value=0.7, confidence=None, prediction=None), [Line(name="S", value=0.7)], "macro_auc")
    assert said.endswith("where a new site lies cannot be told from so few.")


def test_a_new_site_that_may_tell_nothing_is_said_so() -> None:
    total = Sum(value=0.7, confidence=(0.6, 0.8), prediction=(0.4, 0.9))
    said = part.site_reading(total, [Line(name="S", value=0.7)], "macro_auc", 0.5)
    assert said.endswith("between 0.40 and 0.90: at such a site the model may tell nothing (0.50).")
