"""Robustness in the report: a fall is called one only where its interval says so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from phenolens.core.store import fingerprint
from phenolens.report import names as naming
from phenolens.report.pictures import Album
from phenolens.report.record import read
from phenolens.report.robustness import view
from tests.report.reportdata import write_study


def rows(fault: str, dose: float, *, change: float, high: float, kept: float, model: str) -> list[dict]:  # type: ignore[type-arg]
    values = {"true_class": (0.8 + change, 0.7, 0.9), "change": (change, change - 0.1, high), "kept": (kept, 0.2, 1)}
    common = {"model": model, "fault": fault, "dose": dose, "unit": "dose", "n_patients": 30, "note": ""}
    made = [{**common, "measure": m, "value": v, "low": low, "high": top} for m, (v, low, top) in values.items()]
    return [
        *made,
        {**common, "measure": "macro_auc", "value": None, "low": None, "high": None, "note": "not estimable"},
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = write_study(tmp_path / "study", patients=30, maps=False, audit=False)
    table = []
    for model in ("mean_pool", "abmil"):
        table += rows("none", 0, change=0, high=0.0, kept=1, model=model)
        table += rows("stain", 0.5, change=-0.3, high=-0.1 if model == "abmil" else 0.1, kept=0.6, model=model)
        table += rows("blur", 1.0, change=-0.01, high=0.01, kept=0.97, model=model)
    of = fingerprint(made / "results" / "predictions.csv")
    content = {"patients": 30, "units": 30, "tiles": 1200, "scheme": "patient_kfold", "rows": table, "predictions": of}
    (made / "results" / "robustness.json").write_text(json.dumps(content))
    return made


def shown(folder: Path) -> dict:  # type: ignore[type-arg]
    record = read(folder)
    return view(record, naming.make(record, pseudonyms=False), Album(folder))


def test_falls_are_told_by_their_interval_and_a_level_curve_holds(folder: Path) -> None:
    stain, blur = shown(folder)["faults"]
    assert "abmil loses up to 0.30 in probability of the true class (at 0.5), and up to 40%" in stain["reading"]
    assert "mean_pool may lose up to 0.30" in stain["reading"]
    assert "interval holds no change" in stain["reading"]
    assert "abmil holds: it loses at most 0.01" in blur["reading"]
    assert stain["rows"][0]["area"] == "not estimable"


def test_the_same_numbers_draw_the_same_picture(folder: Path) -> None:
    assert shown(folder)["figure"] == shown(folder)["figure"]
    assert shown(folder)["figure"].startswith("data:image/svg+xml")


def test_a_study_that_was_not_tested_shows_nothing(folder: Path) -> None:
    (folder / "results" / "robustness.json").unlink()
    assert shown(folder) == {}
