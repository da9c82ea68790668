"""Calibration and decision curves on the page: what is drawn from how many patients, and the line below it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from jinja2 import Environment, PackageLoader, StrictUndefined

from phenolens.evaluate.calibration import CURVE_NOTE
from phenolens.evaluate.curves import CALIBRATION_NOTE
from phenolens.report import calibration
from phenolens.report import names as naming
from phenolens.report.pictures import Album
from phenolens.report.record import read
from tests.report.reportdata import write_study


def _view(folder: Path, *, sharpen: float = 1.0, task: dict[str, Any] | None = None, mend: bool = False, **how: Any):
    """The part for a study whose probabilities are raised to a power, and turned back by the guard where `mend`."""
    write_study(folder, maps=False, audit=False, models=("abmil",), **how)
    path, manifest = folder / "results/predictions.csv", folder / "results/manifest.json"
    table, known = pd.read_csv(path), json.loads(manifest.read_text("utf-8"))
    columns = [f"p_{c}" for c in known["classes"]]
    p = table[columns].to_numpy()
    sharp = p**sharpen / (p**sharpen).sum(1, keepdims=True)
    if mend:
        table[[c.replace("p_", "q_") for c in columns]] = p
    table[columns] = sharp
    table.to_csv(path, index=False)
    known["study"]["task"] |= task or {}
    manifest.write_text(json.dumps(known))
    record = read(folder)
    names = naming.make(record, pseudonyms=False)
    return calibration.view(record, names, Album(folder))


def test_two_hundred_patients_have_a_curve_and_fewer_have_bins(tmp_path: Path) -> None:
    many, few = _view(tmp_path / "many", patients=240), _view(tmp_path / "few", patients=80)
    assert (many["models"][0]["smooth"], few["models"][0]["smooth"]) == (True, False)
    assert "percentage points apart on average" in many["models"][0]["words"]
    assert "groups of patients the interval holds the dashed line" in few["models"][0]["words"]
    assert (many["notes"][0], few["notes"][0]) == (f"Calibration: {CURVE_NOTE}", f"Calibration: {CALIBRATION_NOTE}")
    assert all(v["models"][0]["figure"].startswith("data:image/svg+xml") for v in (many, few))


def test_sharpened_probabilities_are_called_too_extreme_and_the_mended_stand_beside_them(tmp_path: Path) -> None:
    model = _view(tmp_path, patients=420, sharpen=3.0, mend=True)["models"][0]
    assert "too extreme" in model["words"]
    rows = {row[1].text: row for row in model["table"].rows}
    assert set(rows) == {"as stated", "recalibrated"}
    stated, mended = (float(rows[k][3].text) for k in ("as stated", "recalibrated"))
    assert stated * 3 == pytest.approx(mended, abs=0.05)


def test_a_slope_from_few_patients_is_marked_exploratory_and_distances_are_not_estimable(tmp_path: Path) -> None:
    table = _view(tmp_path, patients=80)["models"][0]["table"]
    notes = dict(table.told)
    row = table.rows[0]
    assert notes[row[3].mark].startswith("Exploratory: 39 patients with B")
    assert [c.text for c in row[4:]] == ["not estimable"] * 3
    assert "200 needed for a smooth curve" in notes[row[4].mark]


def test_the_decision_is_about_the_named_class_and_speaks_of_the_fixed_threshold(tmp_path: Path) -> None:
    four = ("DDLPS", "LMS", "SS", "MPNST")
    silent = _view(tmp_path / "silent", patients=240, classes=four)["models"][0]
    assert silent["decision"] == ""
    assert "task.positive must name" in silent["decision_words"]
    told = _view(tmp_path / "told", patients=240, classes=four, task={"positive": "LMS", "threshold": 0.2})["models"][0]
    assert told["decision"].startswith("data:image/svg+xml")
    assert "Acting on LMS by the model does more good" in told["decision_words"]
    assert "At the threshold fixed beforehand, 0.2, the gain is" in told["decision_words"]
    assert [row[0].text for row in told["table"].rows] == list(four)


def test_a_model_without_signal_is_not_said_to_do_good() -> None:
    x = np.round(np.arange(0.01, 1, 0.01), 2)
    curve = pd.DataFrame({"threshold": x, "gain": 0.01, "gain_low": -0.01, "gain_high": 0.03})
    text = calibration.read_decision(curve, "B", None, "patient")
    assert text.startswith("At no threshold was acting on B by the model shown to do more good")
    some = curve.assign(gain_low=np.where((x >= 0.2) & (x <= 0.4), 0.01, -0.01))
    assert "at thresholds from 20% to 40% (" in calibration.read_decision(some, "B", None, "patient")
    assert "fewer than 10 patients" in calibration.read_decision(curve.head(0), "B", None, "patient")


def test_the_sentence_on_bins_counts_the_groups_whose_interval_misses(tmp_path: Path) -> None:
    bins = pd.DataFrame(
        {"predicted": [0.2, 0.5, 0.9], "observed": [0.2, 0.8, 0.5], "low": [0.1, 0.6, 0.3], "high": [0.4, 0.9, 0.7],
         "units": [30, 30, 12]}
    )  # fmt: skip
    text = calibration.read_bins(bins, "patient")
    assert text.startswith("In 1 of 3 groups of patients the interval holds the dashed line")
    assert "states too much in 1 and too little in 1" in text
    assert "The smallest group has 12 patients" in text


def test_a_study_of_masks_has_no_calibration_and_the_fragment_is_empty(tmp_path: Path) -> None:
    write_study(tmp_path, maps=False, audit=False)
    record = read(tmp_path)
    masks = type(record)(
        **{**vars(record), "manifest": {**record.manifest, "study": {"task": {"kind": "segmentation"}}}}
    )
    assert calibration.view(masks, naming.make(record, pseudonyms=False), Album(tmp_path)) == {}
    environment = Environment(loader=PackageLoader("phenolens.report", ""), undefined=StrictUndefined, autoescape=True)
    assert environment.get_template("calibration.html").render(calibration={}).strip() == ""


def test_the_same_results_give_the_same_part(tmp_path: Path) -> None:
    again = [_view(tmp_path / k, patients=240) for k in "ab"]
    assert again[0]["models"][0]["figure"] == again[1]["models"][0]["figure"]
    assert again[0]["models"][0]["decision"] == again[1]["models"][0]["decision"]


def test_the_page_shows_calibration_once_a_model(page: str) -> None:
    assert page.count("<h3>Are the probabilities right, and is it worth acting on them?</h3>") == 1
    assert page.count('alt="Observed share over stated probability') == 2
    assert page.count('alt="Net benefit over the threshold of a decision') == 2
    assert "<h4>Calibration</h4>" not in page
