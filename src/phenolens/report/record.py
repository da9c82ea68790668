"""What a finished run left under results/, read once; a missing file is an error only where nothing can be said."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from phenolens.core.conformal import ALPHAS
from phenolens.core.errors import StudyError
from phenolens.core.predictions import PREDICTION_KEYS, SUBGROUP, Predictions, SurvivalPredictions
from phenolens.core.registry import Choice
from phenolens.core.store import fingerprint
from phenolens.evaluate.folds import HOLDOUT
from phenolens.report.seal import refuse_edited

SURVIVAL = "survival"
_WORDS = (
    *("patient", "image", "site", "status", "reason", "contour", "thumbnail", "notes", "format", "sequence"),
    *("spacing_mm", "look"),
)
_FOUND = ("model", "scheme", "patient", "image", "sequence", "site", "flag", "fit", "mask", "picture")
_EVIDENCE = {
    "coefficients": ("feature", "class", "model"),
    "sequences": ("model", "sequence", "measure"),
    "segmentation": _FOUND,
    "readers": ("experiment", "scheme", "target", "model", "reader", "measure", "class", "note"),
    "subgroups": ("experiment", "scheme", "target", "model", "metric", "class", "column", "level", "method", "note"),
    "subsets": ("model", "subset", "metric", "method", "note"),
}
_TEXTS = ("experiment", "scheme", "target", "model", "part", "patient", "unit", "unit_id", "site", "split_hash")
_KEYS, _FOLLOWED = (*_TEXTS, "truth", *ALPHAS), (*_TEXTS, "group")


@dataclass(frozen=True, kw_only=True)
class Record:
    """Everything the report is made of.

    `manifest`, `images` (one row an image), `predictions` and `estimates` are always there; `findings`, `cohort` (the
    snapshot of the tables), `maps` and `audit` are empty where the run wrote none; an audit of other predictions than
    these is left out.
    """

    folder: Path
    manifest: Mapping[str, Any]
    images: pd.DataFrame
    predictions: Predictions
    estimates: pd.DataFrame
    findings: Sequence[Mapping[str, Any]]
    maps: Sequence[Mapping[str, Any]]
    more: Mapping[str, Any]

    @property
    def home(self) -> Path:
        """The folder that holds all of the study: of an experiment that of the study it is part of."""
        return self.folder / str(self.manifest["study"].get("part_of") or "")

    @property
    def classes(self) -> tuple[str, ...]:
        return self.predictions.classes

    @property
    def survival(self) -> SurvivalPredictions | None:
        """The risks and curves of a study of survival, whose predictions are empty; None in others."""
        held: SurvivalPredictions | None = self.more.get("survival")
        return held

    @property
    def table(self) -> pd.DataFrame:
        """The rows of the predictions, of classes or of survival."""
        return self.predictions.table if self.survival is None else self.survival.table

    @property
    def main(self) -> str:
        """The name of the main validation scheme; the first there is where the asked one has no predictions."""
        asked = str(self.manifest["study"]["validation"]["scheme"])
        found = sorted(self.table["scheme"].unique(), key=lambda s: (s == HOLDOUT, s))
        return asked if asked in found or not found else str(found[0])

    @property
    def schemes(self) -> list[str]:
        """Schemes with predictions: the main one first, the holdout last."""
        found = sorted(self.table["scheme"].unique())
        return sorted(found, key=lambda s: (s != self.main, s == HOLDOUT, s))

    @property
    def models(self) -> list[str]:
        """Names of the models with predictions, in the order of the study file."""
        asked = [model_name(m["name"]) for m in self.manifest.get("models", [])]
        found = sorted(self.table["model"].unique())
        return sorted(found, key=lambda m: (asked.index(m) if m in asked else len(asked), m))

    @property
    def tests(self) -> Sequence[Mapping[str, Any]]:
        """The permutation tests of the audit; empty where the study was not audited."""
        return list(self.audit.get("permutation", []))

    @property
    def audit(self) -> Mapping[str, Any]:
        """The audit of these predictions; empty where the study was not audited."""
        return dict(self.more.get("audit", {}))

    @property
    def snapshot(self) -> Mapping[str, Any]:
        """Patients and images as the tables had them; empty where the run kept none."""
        cohort = self.more.get("cohort", {})
        return dict(cohort.get("cohort", cohort))

    @property
    def unit(self) -> str:
        """What one prediction is about: "patient" or "image"."""
        return str(self.manifest.get("unit", "patient"))

    @property
    def finds_masks(self) -> bool:
        """Whether the study predicts masks: then `more` holds the table "segmentation", and predictions are empty."""
        return _finds(self.manifest)

    @property
    def images_are(self) -> str:
        """What the features were made from: "slide", "scan", "folder" or "table"."""
        return str(self.manifest.get("images", "slide"))

    def of_scheme(self, scheme: str) -> Predictions:
        """The predictions of one scheme."""
        table = self.predictions.table
        return Predictions(table=table[table["scheme"] == scheme], classes=self.classes)

    def of_survival(self, scheme: str) -> SurvivalPredictions:
        """The risks and curves of one scheme, in a study of survival."""
        held = self.survival
        assert held is not None, "a study of survival"
        return replace(held, table=held.table[held.table["scheme"] == scheme])

    def test_rows(self, scheme: str) -> pd.DataFrame:
        """The test predictions of one scheme."""
        table = self.table
        return table[(table["scheme"] == scheme) & (table["part"] == "test")]


def model_name(name: str) -> str:
    """The name a model has in the tables: of `path.py:Class` the class."""
    return name.rpartition(":")[2]


def read(folder: Path) -> Record:
    """Read a finished run. Raises StudyError naming the file that is missing, cannot be read or was edited."""
    results = folder / "results"
    manifest = _json(results / "manifest.json", folder)
    refuse_edited(folder, manifest)
    survival = _survival(manifest, results, folder)
    classes = tuple(map(str, manifest.get("classes", ()))) if survival is None else ()
    none = _finds(manifest) or survival is not None
    table = _no_predictions() if none else _csv(results / "predictions.csv", folder, _KEYS)
    cohort, audit = results / "cohort.json", results / "audit.json"
    index, findings = results / "maps" / "index.json", results / "findings.json"
    return Record(
        folder=folder,
        manifest=manifest,
        images=_csv(results / "images.csv", folder, _WORDS),
        predictions=Predictions(table=table, classes=classes),
        estimates=_csv(
            results / "estimates.csv",
            folder,
            ("experiment", "scheme", "target", "model", "metric", "subgroup", "method", "note"),
        ),
        findings=_json(findings, folder) if findings.exists() else [],
        maps=_json(index, folder) if index.exists() else [],
        more={
            **({} if survival is None else {"survival": survival}),
            **({"cohort": _json(cohort, folder)} if cohort.exists() else {}),
            **_of_these(audit, folder),
            **_of_these(results / "robustness.json", folder),
            **{
                name: _csv(path, folder, words)
                for name, words in _EVIDENCE.items()
                if (path := results / f"{name}.csv").exists()
            },
        },
    )


def _finds(manifest: Mapping[str, Any]) -> bool:
    """Whether the study predicts masks, and no classes."""
    return bool(manifest["study"].get("task", {}).get("kind") == "segmentation")


def _survival(manifest: Mapping[str, Any], results: Path, folder: Path) -> SurvivalPredictions | None:
    """The predictions of a study of survival; None in others."""
    asked = dict(manifest["study"].get("task", {}))
    if asked.get("kind") != SURVIVAL:
        return None
    task = Choice("task", SURVIVAL, {k: asked[k] for k in ("target", "time", "event", "horizons", "tau")}).create()
    table = _csv(results / "predictions.csv", folder, _FOLLOWED)
    return SurvivalPredictions(table=table, times=task.times, horizons=task.horizons)


def _no_predictions() -> pd.DataFrame:
    return pd.DataFrame(columns=[*PREDICTION_KEYS, "site", "split_hash", "truth"])


def _of_these(path: Path, folder: Path) -> dict[str, Any]:
    """What was measured after the run (the audit, the robustness) under its name, where it is of these predictions."""
    if not path.exists():
        return {}
    made = _json(path, folder)
    fresh = made.get("predictions") == fingerprint(folder / "results" / "predictions.csv")
    return {path.stem: made} if fresh else {}


def _json(path: Path, folder: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise _missing(path, folder) from None
    except ValueError as fault:
        raise StudyError(
            f"{path.name} that is not JSON ({fault})",
            expected="the file as phenolens wrote it",
            todo=f"phenolens run {folder}",
            where=str(path),
        ) from fault


def _csv(path: Path, folder: Path, words: Sequence[str]) -> pd.DataFrame:
    """A table with the columns of `words` and those of subgroups as text, and every other one as numbers."""
    if not path.exists():
        raise _missing(path, folder)
    try:
        raw = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except (pd.errors.EmptyDataError, pd.errors.ParserError, UnicodeDecodeError) as fault:
        raise StudyError(
            f"{path.name} that is not a table ({fault})",
            expected="the file as phenolens wrote it",
            todo=f"phenolens run {folder}",
            where=str(path),
        ) from fault
    others = [c for c in raw.columns if c not in words and not c.startswith(SUBGROUP)]
    numbers = {c: pd.to_numeric(raw[c].replace("", None), errors="coerce") for c in others}
    return raw.assign(**numbers)


def _missing(path: Path, folder: Path) -> StudyError:
    return StudyError(
        f"no {path.name}",
        expected="the results of a finished run",
        todo=f"phenolens run {folder}, then make the report",
        where=str(path.parent),
    )
