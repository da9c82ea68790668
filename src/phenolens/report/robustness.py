"""Robustness for a reader: what each fault of a slide or a scan, dose by dose, does to the predictions."""

from __future__ import annotations

from typing import Any

import pandas as pd

from phenolens.report import figures_robustness, stable, words
from phenolens.report.names import Names
from phenolens.report.pictures import Album
from phenolens.report.record import Record

_TITLES = {
    "stain": "Other staining",
    "blur": "Out of focus",
    "jpeg": "JPEG compression",
    "pen": "Pen marks",
    "fold": "Tissue folds",
    "noise": "More noise",
    "bias": "Bias field",
    "spacing": "Coarser voxels",
    "contour": "Outline moved",
    "rotation": "Turned",
}
_HARM = 0.05
"""A fall of the mean probability of the true class from which the words call it one, where its interval excludes 0."""
_STEADY = 0.9
"""A share of units that keep their predicted class under which a model is not said to hold."""


def view(record: Record, names: Names, album: Album) -> dict[str, Any]:
    """The curves, a line of reading each fault and a table of the worst doses, and stable features; empty where neither
    was asked for."""
    held, made = stable.view(record), record.more.get("robustness")
    if not made:
        return {"stable": held} if held else {}
    rows = pd.DataFrame(made["rows"])
    there = set(map(str, rows["fault"])) - {"none"}
    faults = [*(f for f in _TITLES if f in there), *sorted(there - set(_TITLES))]
    models = [m for m in record.models if (rows["model"] == m).any()]
    shown = rows[rows["measure"] == "true_class"]
    titles = [_TITLES.get(f, f) for f in faults]
    return {
        "stable": held,
        "figure": album.figure(figures_robustness.dose_response(shown, faults, titles, models)),
        "patients": words.count(int(made["patients"]), "test patient"),
        "of_scans": "scans" in made,
        "read": words.count(int(made["scans"]), "scan") if "scans" in made else words.count(int(made["tiles"]), "tile"),
        "faults": [_fault(rows[rows["fault"] == f], _TITLES.get(f, f), models, names) for f in faults],
        "clean": [_clean(rows[(rows["fault"] == "none") & (rows["model"] == m)], m) for m in models],
        "notes": [words.sentence(n) for n in _notes(rows)]
        + [f"{model} was not tested: {why}." for model, why in made.get("untested", {}).items()],
    }


def _fault(rows: pd.DataFrame, title: str, models: list[str], names: Names) -> dict[str, Any]:
    told = [_worst(rows[rows["model"] == model], model) for model in models]
    return {
        "title": title,
        "unit": names.text(str(rows["unit"].iloc[0])),
        "rows": [cells for cells, _ in told],
        "reading": " ".join(said for _, said in told),
    }


def _worst(rows: pd.DataFrame, model: str) -> tuple[dict[str, str], str]:
    """The dose at which the probability of the true class falls most, as cells; and the fault's effect in words."""
    changes = rows[rows["measure"] == "change"]
    worst = changes.iloc[int(changes["value"].to_numpy(dtype=float).argmin())]
    at = rows[rows["dose"] == worst["dose"]].set_index("measure")
    kept, area = at.loc["kept"], at.loc["macro_auc"]
    cells = {
        "model": model,
        "dose": f"{worst['dose']:g}",
        "change": _with_limits(worst, signed=True),
        "kept": _with_limits(kept),
        "area": _with_limits(area),
    }
    fall, certain = -float(worst["value"]), pd.notna(worst["high"]) and float(worst["high"]) < 0
    fewest = float(rows.loc[rows["measure"] == "kept", "value"].astype(float).min())
    if fall >= _HARM:
        loses, close = ("loses", ")") if certain else ("may lose", "; the interval holds no change)")
        said = f"{model} {loses} up to {fall:.2f} in probability of the true class (at {worst['dose']:g}{close}"
    else:
        holds = "holds: it" if fewest >= _STEADY else "as a whole"
        said = f"{model} {holds} loses at most {max(fall, 0):.2f} in probability of the true class"
    said += f", and up to {1 - fewest:.0%} of its predictions change." if fewest < _STEADY else "."
    return cells, said


def _clean(rows: pd.DataFrame, model: str) -> dict[str, str]:
    at = rows.set_index("measure")
    return {"model": model, "true_class": _with_limits(at.loc["true_class"]), "area": _with_limits(at.loc["macro_auc"])}


def _with_limits(row: Any, *, signed: bool = False) -> str:
    if pd.isna(row["value"]):
        return "not estimable"
    text = words.number(row["value"])
    text = f"+{text}" if signed and float(row["value"]) > 0 and float(text) else text
    return text if pd.isna(row["low"]) else f"{text} ({words.limits(row['low'], row['high'])})"


def _notes(rows: pd.DataFrame) -> list[str]:
    lost = rows[rows["note"].str.contains("without a prediction") & (rows["measure"] == "kept")]
    return [
        f"{r['model']}, {_TITLES.get(r['fault'], r['fault']).lower()} {r['dose']:g}: {r['note']}"
        for r in lost.to_dict("records")
    ]
