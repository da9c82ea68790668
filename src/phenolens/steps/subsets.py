"""How well every set of sequences does: test units shown to their fold's model with that set and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from phenolens.core.errors import ModelError
from phenolens.core.predictions import Predicted, Predictions
from phenolens.core.registry import MODELS, Choice
from phenolens.core.types import Example
from phenolens.evaluate.score import estimates
from phenolens.models.predict import Stored
from phenolens.steps.desk import Desk, write_csv
from phenolens.steps.evidence import fold_models
from phenolens.steps.models import Fit

MOST = 6
"""Sequences up to which every set is tried (63 sets); above it the single ones, all but one, and all."""
METRICS = ("macro_auc", "balanced_accuracy")
COLUMNS = ("model", "subset", "sequences", "metric", "value", "low", "high", "method", "n_patients", "refused", "note")


def write_subsets(desk: Desk, fits: Sequence[Fit], predictions: Predicted, examples: Sequence[Example]) -> None:
    """results/subsets.csv: one row a model, set of sequences and metric, with its interval, in the main scheme.

    A set is measured on the units that have all of it; a unit that the model refuses is counted. Only of classes, and
    of models that accept missing parts, in studies of several named parts; a file of an earlier run that is not due is
    removed.
    """
    path = desk.results / "subsets.csv"
    names = sorted({p.name for e in examples for p in e.parts})
    tables = []
    if isinstance(predictions, Predictions) and len(names) > 1 and desk.study.reads in ("scan", "table"):
        models = [m for m in desk.study.model_choices() if _open(m)]
        count = len(models) * len(list(subsets(names)))
        with desk.progress.step("every set of sequences", count, "sets") as step:
            for model in models:
                stored = fold_models(desk, fits, model)
                mine = _rows_of(desk, predictions, model)
                for chosen in subsets(names):
                    tables.append(_measure(chosen, model, stored, mine, predictions, examples))
                    step.advance()
    if tables:
        write_csv(path, pd.concat(tables, ignore_index=True))
    else:
        path.unlink(missing_ok=True)


def subsets(names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Every set of one or more names, the small ones first; of more than `MOST` names only the sets said there."""
    sizes = range(1, len(names) + 1) if len(names) <= MOST else sorted({1, len(names) - 1, len(names)})
    for size in sizes:
        yield from combinations(names, size)


def _open(model: Choice) -> bool:
    plugin = MODELS.plugin(model.name, base=model.base)[0]
    return bool(plugin.accepts_missing) and not getattr(plugin, "baseline", False)


def _rows_of(desk: Desk, predictions: Predictions, model: Choice) -> pd.DataFrame:
    table = predictions.table
    own = table["model"] == model.name.rpartition(":")[2]
    return table[own & (table["scheme"] == desk.study.validation.scheme)]


def _measure(
    chosen: tuple[str, ...],
    model: Choice,
    stored: Mapping[tuple[int, int], Stored],
    rows: pd.DataFrame,
    predictions: Predictions,
    examples: Sequence[Example],
) -> pd.DataFrame:
    """The estimates of one set; tune rows stay as they are, since they say how many patients trained."""
    having = {e.unit_id: only(e, chosen) for e in examples if set(chosen) <= {p.name for p in e.parts if p.present}}
    test = rows[(rows["part"] == "test") & rows["unit_id"].isin(set(having))]
    kept, p, refused = [], [], 0
    for row in test.to_dict("records"):
        try:
            p.append(stored[row["repeat"], row["fold"]].fitted.predict([having[row["unit_id"]]])[0])
            kept.append(row)
        except ModelError:  # declared by the model: it refuses sets that it was not trained on
            refused += 1
    about: dict[str, Any] = {
        "model": model.name.rpartition(":")[2],
        "subset": "+".join(chosen),
        "sequences": len(chosen),
        "refused": refused,
    }
    if not kept:
        note = f"not estimable: {refused} units refused" if refused else "not estimable: no unit has this set"
        empty = pd.DataFrame({"metric": list(METRICS), "n_patients": 0, "note": note, "method": ""})
        return empty.assign(**about, value=np.nan, low=np.nan, high=np.nan)[list(COLUMNS)]
    columns = list(predictions.columns)
    shown = pd.DataFrame(kept).assign(**{c: np.array(p)[:, i] for i, c in enumerate(columns)})
    whole = pd.concat([rows[rows["part"] == "tune"], shown], ignore_index=True)
    table = estimates(Predictions(table=whole, classes=predictions.classes), METRICS)
    return table[table["subgroup"] == "all"].assign(**about)[list(COLUMNS)].reset_index(drop=True)


def only(example: Example, chosen: Sequence[str]) -> Example:
    """The example with the chosen parts and the others absent, without its targets."""
    parts = tuple(p if p.name in chosen else replace(p, source=None) for p in example.parts)
    return replace(example, parts=parts, targets={})
