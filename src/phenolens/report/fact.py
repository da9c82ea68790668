"""One fact of a run, and what the extractors of facts share: units tested, settings in words, figures by model."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from phenolens.evaluate.folds import HOLDOUT
from phenolens.report import words
from phenolens.report.names import UNKNOWN, Names
from phenolens.report.record import Record, model_name
from phenolens.report.settings import shown

MANIFEST, PREDICTIONS, ESTIMATES = "results/manifest.json", "results/predictions.csv", "results/estimates.csv"
IMAGES, COHORT = "results/images.csv", "results/cohort.json"
_NAMED = re.compile(r"\S+:")
_HEADLINES = ("macro_auc", "uno_c", "c_index", "dice", "balanced_accuracy")


@dataclass(frozen=True, kw_only=True)
class Fact:
    """What the run says, as sentences, and in which of its files it stands."""

    text: str
    where: str


def section(record: Record, name: str) -> Mapping[str, Any]:
    """A section of the study file as it was run; empty where the manifest has none."""
    return dict(record.manifest["study"].get(name) or {})


def units(record: Record) -> pd.DataFrame:
    """One row a unit that was tested, with patient, unit_id and site; of masks one row a scan."""
    if record.finds_masks:
        found = record.more.get("segmentation")
        table = pd.DataFrame(columns=["patient", "image", "site"]) if found is None else found
        return table.rename(columns={"image": "unit_id"}).drop_duplicates("unit_id")
    table = record.predictions.table
    return table[table["part"] == "test"].drop_duplicates("unit_id")


def held_out(record: Record) -> set[str]:
    """The patients of the locked holdout."""
    table = record.predictions.table
    return set(table[(table["scheme"] == HOLDOUT) & (table["part"] == "test")]["patient"])


def site_counts(record: Record) -> dict[str, int]:
    """Patients tested at each known site."""
    counts = units(record).groupby("site")["patient"].nunique()
    return {str(site): int(n) for site, n in counts.items() if site not in (UNKNOWN, "")}


def outcomes(table: pd.DataFrame, record: Record) -> str:
    """Patients of each class, or patients with the event, in a few words; empty where neither is known."""
    if "event" in table:
        seen = table[pd.to_numeric(table["event"]) == 1]["patient"].nunique()
        return f"{seen} with the event, {table['patient'].nunique() - seen} without"
    if "truth" not in table or not len(table):
        return ""
    counts = table.groupby("truth")["patient"].nunique()
    order = [c for c in map(str, record.manifest.get("classes", ())) if c in counts] or sorted(counts.index)
    return ", ".join(f"{name} {int(counts[name])}" for name in order)


def settings(given: Mapping[str, Any], names: Names) -> str:
    """The settings that are set, as `name value`, comma between."""
    return names.text(", ".join(_setting(k, v) for k, v in given.items() if v not in (None, "", [], {}, ())))


def _setting(name: str, value: Any) -> str:
    inner = isinstance(value, Mapping)
    told = " and ".join(_setting(str(k), v) for k, v in value.items()) if inner else shown(value)
    return f"{name.replace('_', ' ')} {told}"


def models(record: Record) -> list[str]:
    """The models with estimates, in the order of the study file."""
    found = set(record.estimates["model"].astype(str))
    asked = [str(m.get("name", "")).rpartition(":")[2] for m in record.manifest.get("models", ())]
    return [m for m in asked if m in found] + sorted(found - set(asked))


def schemes(record: Record) -> list[str]:
    """The schemes with estimates: the asked one first, the holdout last."""
    asked = str(section(record, "validation").get("scheme", ""))
    return sorted(set(record.estimates["scheme"]), key=lambda s: (s != asked, s == HOLDOUT, s))


def headline(record: Record, scheme: str) -> str:
    """The metric a scheme is told in: the first of the usual ones that has a value; empty where none has."""
    rows = record.estimates
    rows = rows[(rows["scheme"] == scheme) & (rows["subgroup"] == "all") & rows["value"].notna()]
    found = set(rows["metric"])
    return next((m for m in (*_HEADLINES, *words.in_order(sorted(found))) if m in found), "")


def rows_of(record: Record, scheme: str, metric: str, subgroup: str = "all") -> list[dict[str, Any]]:
    """The estimates of one scheme, metric and subgroup that have a value, in the order of the models."""
    rows = record.estimates
    rows = rows[(rows["scheme"] == scheme) & (rows["metric"] == metric) & (rows["subgroup"] == subgroup)]
    order = {m: i for i, m in enumerate(models(record))}
    kept = [{str(k): v for k, v in row.items()} for row in rows[rows["value"].notna()].to_dict("records")]
    return sorted(kept, key=lambda row: order.get(str(row["model"]), len(order)))


def valued(row: Mapping[str, Any]) -> str:
    """A value with its interval."""
    interval = words.limits(row["low"], row["high"])
    return words.number(row["value"]) + (f" ({interval})" if interval else " (no interval)")


def scheme_words(record: Record, scheme: str) -> str:
    """A scheme in words."""
    return words.scheme(scheme, section(record, "validation"))


def joined(parts: Sequence[str]) -> str:
    """Sentences, each with one full stop; empty ones fall away. A name before a colon keeps its first letter."""
    told = [part.strip() for part in parts if part.strip()]
    return " ".join(
        f"{part}." if _NAMED.match(part) and part[-1] not in ".!?" else words.sentence(part) for part in told
    )


def encoder_name(record: Record) -> str:
    """The encoder; empty where features were made elsewhere."""
    return model_name(
        str((record.manifest.get("encoder") or {}).get("name") or section(record, "features").get("encoder") or "")
    )


def asked_models(record: Record) -> list[dict[str, Any]]:
    return [dict(m) | {"name": model_name(str(m["name"]))} for m in record.manifest.get("models") or ()]


def final_config(record: Record, model: str) -> dict[str, Any]:
    """The configuration of the model refitted on all development patients; empty where there is none."""
    path = record.folder / "results" / "models" / model / "final" / "config.json"
    return dict(json.loads(path.read_text("utf-8"))) if path.exists() else {}


def stored_models(record: Record) -> Iterator[tuple[str, dict[str, Any]]]:
    for one in asked_models(record):
        if config := final_config(record, one["name"]):
            yield one["name"], config


def feature_count(config: Mapping[str, Any]) -> int:
    """How many numbers a model of a table is given for one case; 0 for a model that reads instances or voxels."""
    fitted = config.get("fitted") or {}
    table = fitted.get("table") or {}
    return len(table.get("features") or ()) * len(table.get("parts") or ()) or int(fitted.get("dimension") or 0)
