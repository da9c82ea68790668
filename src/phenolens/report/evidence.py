"""What the fold models rest on: their weightiest features, and which sequence carried decisions."""

from __future__ import annotations

from typing import Any

import pandas as pd

from phenolens.report import words
from phenolens.report.names import Names
from phenolens.report.record import Record
from phenolens.report.tables import Cell, Table, label

_FEATURES = 15


def view(record: Record, names: Names) -> dict[str, Any]:
    """Tables by model; empty where the run wrote none."""
    weights, falls, sets = (record.more.get(name) for name in ("coefficients", "sequences", "subsets"))
    return {
        "coefficients": [] if weights is None else [_weights(m, t, record, names) for m, t in weights.groupby("model")],
        "sequences": [] if falls is None else [_falls(m, t) for m, t in falls.groupby("model")],
        "subsets": [] if sets is None else [_subsets(str(m), t, names) for m, t in sets.groupby("model")],
    }


def _weights(model: str, table: pd.DataFrame, record: Record, names: Names) -> dict[str, Any]:
    """The first features of the table; of two classes one column says both."""
    classes = list(record.classes) if record.survival is None else ["risk"]
    shown = classes[1:] if len(classes) == 2 else classes
    features = list(dict.fromkeys(table["feature"]))
    alike = len(classes) > 1 and not table.groupby("feature")["mean"].nunique().gt(1).any()
    shown = classes[:1] if alike else shown
    rows = []
    for feature in features[:_FEATURES]:
        own = table[table["feature"] == feature].set_index("class")
        values = [f"{_signed(own.at[c, 'mean'])} ± {words.number(float(own.at[c, 'sd']))}" for c in shown]
        used, sign = float(own["share_used"].max()), float(own.loc[shown, "share_sign"].min())
        rows.append({"feature": names.text(feature), "values": values, "used": f"{used:.0%}", "sign": f"{sign:.0%}"})
    return {
        "model": model,
        "classes": ["importance"] if alike else shown,
        "alike": alike,
        "rows": rows,
        "n": f"{len(features):,}",
        "folds": int(table["folds"].iloc[0]),
    }


def _falls(model: str, table: pd.DataFrame) -> dict[str, Any]:
    table = table.sort_values("mean_fall", ascending=False)
    rows = [
        {
            "sequence": row["sequence"],
            "units": f"{int(row['units']):,}",
            "mean": _signed(row["mean_fall"]),
            "median": _signed(row["median_fall"]),
            "share": f"{row['share_most']:.0%}",
        }
        for row in table.to_dict("records")
    ]
    adds = str(table["measure"].iloc[0]) == "contribution"
    return {"model": model, "rows": rows, "refused": int(table["refused"].max()), "adds": adds}


def _subsets(model: str, table: pd.DataFrame, names: Names) -> Table:
    """Every set of sequences with its figures; the smaller sets first."""
    metrics = [m for m in ("macro_auc", "balanced_accuracy") if m in set(table["metric"])]
    shown = Table(f"Every set of sequences: {model}", ["sequences", *map(words.metric, metrics), "patients", "refused"])
    for subset, rows in table.groupby("subset", sort=False):
        own = rows.set_index("metric")
        cells = []
        for metric in metrics:
            row: Any = own.loc[metric]
            if pd.isna(row["value"]):
                cells.append(Cell("–", mark=shown.mark(names.text(str(row["note"])))))
            else:
                cells.append(Cell(words.number(row["value"]), words.limits(row["low"], row["high"])))
        counts = [Cell(f"{int(own[c].max()):,}") for c in ("n_patients", "refused")]
        shown.rows.append([label(str(subset).replace("+", " + ")), *cells, *counts])
    shown.words = (
        "Each set is shown alone to the models of the folds, on the test units that have all of it: a set with fewer "
        "patients is of other patients, so compare neighbouring rows with care."
    )
    return shown


def _signed(value: Any) -> str:
    return f"{float(value):+.3f}"
