"""Stable features for a reader: what repeated readings of the training patients agreed on, fold by fold."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from phenolens.report import words
from phenolens.report.record import Record

_SHOWN = 5
_FOLDS = "[0-9]*-[0-9]*"
"""The folders of the fold models of the main scheme."""


def view(record: Record) -> list[dict[str, Any]]:
    """One entry a model that chose stable features: a sentence, and the features that agree most and least."""
    made = []
    for model in record.models:
        found = sorted((record.folder / "results" / "models" / model).glob(f"{_FOLDS}/config.json"))
        tables = [(json.loads(path.read_text("utf-8")).get("fitted") or {}).get("table") or {} for path in found]
        tables = [table for table in tables if (table.get("stable") or {}).get("low")]
        if tables:
            made.append({"model": model, "reading": _reading(record, tables), **_ends(tables)})
    return made


def _reading(record: Record, tables: list[Mapping[str, Any]]) -> str:
    told = [table["stable"] for table in tables]
    kept, units = [t["kept"] for t in told], [t["training_units"] + t["units_elsewhere"] for t in told]
    always = set.intersection(*(_kept(table) for table in tables))
    return (
        f"{_range(kept)} of {words.count(told[0]['of'], 'feature')} are kept in a fold, {len(always)} of them in every "
        f"one: those whose agreement over {told[0]['readings']} readings of {_range(units)} training {record.unit}s "
        f"has a lower limit of at least {told[0]['least']:g}{_how(record)}."
    )


def _how(record: Record) -> str:
    asked = record.manifest["study"].get("features", {}).get("perturb") or []
    kinds = [str(k) for one in asked for k in ([one] if isinstance(one, str) else one)]
    return f". The scans were read as they are and after {words.listed(kinds)}" if kinds else ""


def _ends(tables: list[Mapping[str, Any]]) -> dict[str, Any]:
    """The features with the highest and the lowest lower limit, its median over folds where their columns are alike."""
    names = _names(tables[0])
    alike = [t for t in tables if _names(t) == names]
    low = np.array([[np.nan if v is None else v for v in t["stable"]["low"]] for t in alike], dtype=np.float64)
    middle = np.where(np.isfinite(low).all(0), np.median(low, axis=0), -np.inf)
    order = np.argsort(-middle, kind="stable")
    rows = [{"feature": names[i], "low": f"{middle[i]:.2f}"} for i in order if np.isfinite(middle[i])]
    shown = min(_SHOWN, len(rows) // 2)
    return {"most": rows[:shown], "least": rows[len(rows) - shown :], "folds": len(alike)}


def _names(table: Mapping[str, Any]) -> list[str]:
    parts = table["parts"]
    return [f"{p}/{f}" for p in parts for f in table["features"]] if parts else list(table["features"])


def _kept(table: Mapping[str, Any]) -> set[str]:
    names = _names(table)
    return {names[i] for i in table["kept"]}


def _range(values: list[int]) -> str:
    low, high = min(values), max(values)
    return f"{low}" if low == high else f"{low} to {high}"
