"""The section on uncertainty: sets, abstention and selective answers, and what it says when it cannot show them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from jinja2 import Environment, PackageLoader, StrictUndefined

from phenolens.core.conformal import rank
from phenolens.report import names as naming
from phenolens.report import uncertainty
from phenolens.report.pictures import Album
from phenolens.report.record import Record, read
from tests.report.reportdata import write_study

TUNE = 20


def guard(folder: Path, *, tune: int = TUNE) -> Path:
    """Write into a study's predictions what guards would have said: split sets of their own calibration patients."""
    path = folder / "results" / "predictions.csv"
    table = pd.read_csv(path, keep_default_na=False)
    rng = np.random.default_rng(5)
    parts = []
    for _, rows in table.groupby(["scheme", "model", "fold"], sort=True):
        other = rows.sample(tune, replace=True, random_state=1).reset_index(drop=True)
        ids = [f"HOSP9{i:03d}" for i in range(tune)]
        other = other.assign(part="tune", patient=ids, unit_id=ids, set_90="-", set_80="-", ood="")
        score = np.sort(1 - _of_truth(other))
        columns: dict[str, Any] = {"ood": rng.gamma(4, 0.15, len(rows)).round(3)}
        for column, alpha in (("set_90", 0.1), ("set_80", 0.2)):
            k = rank(tune, alpha)
            columns[column] = _sets(rows, score[k - 1]) if k <= tune else ["-"] * len(rows)
        parts += [rows.assign(**columns), other]
    pd.concat(parts).to_csv(path, index=False)
    return folder


def _of_truth(rows: pd.DataFrame) -> np.ndarray:
    return np.array([r[f"p_{r['truth']}"] for r in rows.to_dict("records")], dtype=float)


def _sets(rows: pd.DataFrame, threshold: float) -> list[str]:
    return ["|".join(c for c in "AB" if 1 - r[f"p_{c}"] <= threshold) for r in rows.to_dict("records")]


def shown(folder: Path, *, pseudonyms: bool = False) -> tuple[dict[str, Any], str]:
    """The view of a study and its fragment of the page."""
    record = read(folder)
    names = naming.make(record, pseudonyms=pseudonyms)
    view = uncertainty.view(record, names, Album(folder))
    return view, _page(record, view)


def _page(record: Record, view: dict[str, Any]) -> str:
    loader = PackageLoader("phenolens.report", "")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    return environment.get_template("uncertainty.html").render(uncertainty=view, unit=record.unit)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("guarded") / "study"
    return guard(write_study(folder, patients=120, also=("leave_one_site_out",)))


def test_each_model_is_read_in_one_line(guarded: Path) -> None:
    view, page = shown(guarded)
    assert [r.split(":")[0] for r in view["curve_readings"]] == ["mean_pool", "abmil"]
    assert "errors per 100 when every patient is answered" in view["curve_readings"][0]
    assert all("in 90 of 100 patients" in r for r in view["coverage_readings"])
    assert all("would abstain in" in r for r in view["abstains"])
    assert page.count("data:image/svg+xml") == 2


def test_coverage_stands_beside_what_was_promised_and_sites_that_were_left_out_promise_nothing(guarded: Path) -> None:
    view, page = shown(guarded)
    titles = [t.title for t in view["tables"]]
    assert any("sites that were left out" in t for t in titles)
    first, left = view["tables"][0], next(t for t in view["tables"] if "Coverage of the sets at sites" in t.title)
    promised = first.head.index("promised")
    assert first.rows[0][promised].text == "0.90"
    assert {row[promised].text for row in left.rows} == {"–"}
    assert {"Northtown", "Southtown", "Easttown"} <= {row[2].text for row in left.rows}
    assert "not exchangeable" in page


def test_with_pseudonyms_no_site_is_named(guarded: Path) -> None:
    _, page = shown(guarded, pseudonyms=True)
    assert "Northtown" not in page
    assert "HOSP" not in page


def test_too_few_calibration_patients_are_said(tmp_path: Path) -> None:
    view, page = shown(guard(write_study(tmp_path / "study", patients=60), tune=8))
    assert "no set was offered: under 9 calibration patients" in view["coverage_readings"][0]
    assert "under 9 calibration patients" in page


def test_predictions_without_a_guard_show_the_curve_alone(study: Path) -> None:
    view, page = shown(study)
    assert view["coverage_readings"] == []
    assert view["tables"] == []
    assert "cannot be left out" not in page
    assert page.count("data:image/svg+xml") == 1


def test_equal_results_give_equal_bytes(guarded: Path) -> None:
    assert shown(guarded)[1] == shown(guarded)[1]
