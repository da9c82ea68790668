"""What is left of a result once size alone is set beside it."""

from __future__ import annotations

import pandas as pd

from phenolens.core.errors import SplitError
from phenolens.core.registry import MODELS
from phenolens.evaluate.compare import compare, compare_survival
from phenolens.report import words
from phenolens.report.record import Record
from phenolens.report.tables import headline

_ALPHA = 0.05
RISKS = "uno_c"


def size_alone(record: Record) -> list[tuple[str, str]]:
    """A caveat for each baseline (size of the region, of the image) that no other model is shown to beat."""
    known = set(MODELS.names())
    size = [m for m in record.models if m in known and getattr(MODELS.plugin(m)[0], "baseline", False)]
    others = [m for m in record.models if m not in size]
    if not size or not others:
        return []
    metric = headline(record) if record.survival is None else RISKS
    pairs = paired(record, metric)
    if pairs is None:
        return []
    means = _means(record, metric)
    said = []
    for baseline in size:
        if any(_beats(pairs, model, baseline) for model in others):
            continue
        best = max(others, key=lambda m: means.get(m, float("-inf")))
        text = (
            f"On these patients no model is shown to do better than {baseline} ({words.metric(metric)} "
            f"{words.number(means[baseline])}; the best other, {best}, {words.number(means[best])}): nothing beyond "
            "size is shown."
        )
        said.append(("warning", text))
    return said


def paired(record: Record, metric: str) -> pd.DataFrame | None:
    """Every pair of models in the main scheme; None where they cannot be compared, as is said where they are shown.

    Of a survival always in Uno's C.
    """
    try:
        if record.survival is not None:
            return compare_survival(record.of_survival(record.main), RISKS)
        return compare(record.of_scheme(record.main), metric)
    except SplitError:
        return None


def _means(record: Record, metric: str) -> dict[str, float]:
    rows = record.estimates
    rows = rows[(rows["scheme"] == record.main) & (rows["metric"] == metric) & (rows["subgroup"] == "all")]
    return {str(m): float(v) for m, v in zip(rows["model"], rows["value"], strict=True)}


def _beats(pairs: pd.DataFrame, model: str, baseline: str) -> bool:
    """Whether the difference is in the model's favour and beyond chance by Holm's p."""
    for row in pairs.to_dict("records"):
        if {row["model_a"], row["model_b"]} == {model, baseline}:
            ahead = row["difference"] if row["model_a"] == model else -row["difference"]
            return bool(ahead > 0 and row["p_holm"] < _ALPHA)
    return False
