"""What the fold models rest on: coefficients with their stability, and the sequences that carried decisions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, cast

import pandas as pd

from phenolens.core.errors import ModelError
from phenolens.core.predictions import Predicted, Predictions, SurvivalPredictions
from phenolens.core.registry import MODELS, Choice
from phenolens.core.types import Example
from phenolens.explain.coefficients import stability
from phenolens.explain.parts import part_falls, part_shares
from phenolens.models.contract import Weighs
from phenolens.models.predict import Stored, load_model
from phenolens.steps.desk import Desk, write_csv
from phenolens.steps.models import Fit, folder_of

RISK = "risk"
"""What the coefficients of a model of survival weigh."""
_MOST_UNITS = 200
"""Units a model whose parts are taken away; more would tell the same and cost minutes."""


def write_evidence(desk: Desk, fits: Sequence[Fit], predictions: Predicted, examples: Sequence[Example]) -> None:
    """results/coefficients.csv and results/sequences.csv; a file of an earlier run that is not due is removed.

    Of a survival the coefficients are those of the risk; what a sequence carried is told of classes only.
    """
    weighed = (RISK,) if isinstance(predictions, SurvivalPredictions) else predictions.classes
    rows: list[pd.DataFrame] = []
    falls: list[dict[str, Any]] = []
    by_unit = {e.unit_id: e for e in examples}
    many = (
        isinstance(predictions, Predictions)
        and len({p.name for e in examples for p in e.parts}) > 1
        and desk.study.reads in ("scan", "table")
    )
    for model in desk.study.model_choices():
        plugin = MODELS.plugin(model.name, base=model.base)[0]
        linear, adds = "coefficients" in plugin.offers, "contributions" in plugin.offers
        open_ = many and (adds or plugin.accepts_missing) and not getattr(plugin, "baseline", False)
        if not linear and not open_:
            continue
        stored = fold_models(desk, fits, model)
        name = model.name.rpartition(":")[2]
        if linear:
            weights = [cast(Weighs, s.fitted).coefficients() for s in stored.values()]
            rows.append(stability(weights, weighed).assign(model=name))
        if open_ and isinstance(predictions, Predictions):
            falls += _falls(desk, name, stored, predictions, by_unit, adds=adds)
    for table, file in ((_joined(rows), "coefficients.csv"), (pd.DataFrame(falls), "sequences.csv")):
        if len(table):
            write_csv(desk.results / file, table)
        else:
            (desk.results / file).unlink(missing_ok=True)


def _joined(tables: list[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def fold_models(desk: Desk, fits: Sequence[Fit], model: Choice) -> Mapping[tuple[int, int], Stored]:
    """(repeat, fold) -> the stored model of that fold of the main scheme."""
    main = desk.study.validation.scheme
    return {
        (f.split.repeat, f.split.fold): load_model(folder_of(desk, f), base=desk.study.base)
        for f in fits
        if f.model.name == model.name and f.split is not None and f.split.scheme == main
    }


def _falls(
    desk: Desk,
    name: str,
    stored: Mapping[tuple[int, int], Stored],
    predictions: Predictions,
    examples: Mapping[str, Example],
    *,
    adds: bool,
) -> list[dict[str, Any]]:
    """One row a part: how much the predicted class loses without it, on test units, each by its own fold's model.

    Of models that add up their parts (`adds`) it is what the part adds, which takes no part away.
    """
    measure = part_shares if adds else part_falls
    table = predictions.table
    rows = table[(table["model"] == name) & (table["scheme"] == desk.study.validation.scheme)]
    rows = rows[(rows["part"] == "test") & (rows["repeat"] == 0)].sort_values("unit_id").head(_MOST_UNITS)
    found: dict[str, list[float]] = {}
    first: Counter[str] = Counter()
    refused = 0
    for row in rows.to_dict("records"):
        target = int(pd.Series([row[c] for c in predictions.columns]).to_numpy(dtype=float).argmax())
        try:
            falls = measure(stored[row["repeat"], row["fold"]].fitted, examples[row["unit_id"]], target)
        except ModelError:  # declared by the model: it refuses subsets that it was not trained on
            refused += 1
            continue
        for part, fall in falls.items():
            found.setdefault(part, []).append(fall)
        if falls:
            first[max(falls, key=lambda p: falls[p])] += 1
    return [
        {
            "model": name,
            "sequence": part,
            "measure": "contribution" if adds else "fall",
            "units": len(values),
            "mean_fall": float(pd.Series(values).mean()),
            "median_fall": float(pd.Series(values).median()),
            "share_most": first[part] / max(1, sum(first.values())),
            "refused": refused,
        }
        for part, values in sorted(found.items())
    ]
