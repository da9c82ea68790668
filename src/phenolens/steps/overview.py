"""One table over all experiments of a study file, and the comparisons that common test patients allow."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import pandas as pd

from phenolens.core.predictions import Predictions
from phenolens.core.store import fingerprint, write_json
from phenolens.evaluate.compare import COLUMNS, benjamini_hochberg, compare, holm
from phenolens.experiments import Experiment
from phenolens.steps.desk import write_csv

ESTIMATES, COMPARED, INDEX = "experiments.csv", "experiments_compared.csv", "experiments.json"
SITE = "site="
"""How the subgroup begins of an estimate at one site."""
COMPARED_BY = ("balanced_accuracy", "macro_auc")
ENOUGH = 0.5
"""The share of the smaller test set that two experiments must have in common to be compared."""
_LEVELS = (("estimates.csv", ""), ("tile_estimates.csv", "tile"))
_KEYS = ["scheme", "repeat", "fold", "unit_id"]
_CLASSIFIES = "classification"
_PLACES = ("b: earlier", "a: later")
"""Stand-ins for the names of a pair, so that the later experiment minus the earlier one is told."""


@dataclass(frozen=True, kw_only=True)
class Ran:
    """A finished experiment and its manifest."""

    experiment: Experiment
    manifest: dict[str, Any]

    @property
    def results(self) -> Any:
        return self.experiment.folder / "results"

    @property
    def kind(self) -> str:
        return str(self.manifest["study"]["task"]["kind"])

    @property
    def model(self) -> str:
        """Its first model, by which it is compared with others."""
        return self.experiment.study.model_choices()[0].name.rpartition(":")[2]


def finished(made: Sequence[Experiment]) -> list[Ran]:
    """The experiments that have run to their end, in their order."""
    paths = [(e, e.folder / "results" / "manifest.json") for e in made]
    return [Ran(experiment=e, manifest=json.loads(p.read_text("utf-8"))) for e, p in paths if p.exists()]


def write_overview(made: Sequence[Experiment]) -> None:
    """results/experiments.csv, experiments_compared.csv and experiments.json beside the study file."""
    ran = finished(made)
    results = made[0].study.base / "results"
    rows = [row for one in ran for row in _rows(one)]
    write_csv(results / ESTIMATES, pd.concat(rows, ignore_index=True) if rows else pd.DataFrame())
    write_csv(results / COMPARED, compared(ran))
    told = [
        {
            "name": one.experiment.name,
            "family": one.experiment.family,
            "arm": one.experiment.arm,
            "study_id": one.manifest["study_id"],
            "manifest": fingerprint(one.results / "manifest.json"),
        }
        for one in ran
    ]
    waiting = [e.name for e in made if e.name not in {one.experiment.name for one in ran}]
    write_json(results / INDEX, {"experiments": told, "waiting": waiting})


def _rows(one: Ran) -> Iterator[pd.DataFrame]:
    """The estimates of one experiment over all patients and at each site, by level (unit of prediction, tile)."""
    for name, level in _LEVELS:
        path = one.results / name
        if not path.exists():
            continue
        table = pd.read_csv(path, keep_default_na=False, na_values={c: [""] for c in ("value", "low", "high")})
        whole = table[(table["subgroup"] == "all") | table["subgroup"].str.match(f"^{SITE}[^;]*$")]
        known = {"experiment": one.experiment.name, "family": one.experiment.family, "arm": one.experiment.arm}
        level = level or str(one.manifest["unit"])
        yield whole.drop(columns=["experiment"]).assign(**known, level=level)


def compared(ran: Sequence[Ran]) -> pd.DataFrame:
    """Every pair of experiments by their first models, on the test units that both predicted in the same folds.

    Paired as `evaluate.compare`; corrected over all pairs of a scheme and metric. A pair that has less than half of the
    smaller test set in common is left out.
    """
    held = {one.experiment.name: table for one in ran if (table := _predicted(one)) is not None}
    rows = [
        row
        for (a, of_a), (b, of_b) in combinations(held.items(), 2)
        if of_a.classes == of_b.classes
        for row in _pair((a, of_a.table), (b, of_b.table), of_a.classes)
    ]
    if not rows:
        return pd.DataFrame(columns=[*COLUMNS, "n_units", "left_out"])
    pairs = pd.concat(rows, ignore_index=True)
    for _, group in pairs.groupby(["scheme", "metric"]):
        p = group["p"].tolist()
        pairs.loc[group.index, "p_holm"], pairs.loc[group.index, "p_bh"] = holm(p), benjamini_hochberg(p)
    return pairs


def _predicted(one: Ran) -> Predictions | None:
    """The test predictions of the first model; None where no classes are predicted."""
    if one.kind != _CLASSIFIES:
        return None
    table = pd.read_csv(one.results / "predictions.csv", dtype={"unit_id": str, "patient": str, "truth": str})
    table = table[(table["part"] == "test") & (table["model"] == one.model)]
    return Predictions(table=table.reset_index(drop=True), classes=tuple(one.manifest["classes"]))


def _pair(a: tuple[str, pd.DataFrame], b: tuple[str, pd.DataFrame], classes: tuple[str, ...]) -> Iterator[pd.DataFrame]:
    for scheme in sorted(set(a[1]["scheme"]) & set(b[1]["scheme"])):
        sides = [(name, table[table["scheme"] == scheme].set_index(_KEYS).sort_index()) for name, table in (a, b)]
        both = sides[0][1].index.intersection(sides[1][1].index)
        smaller = min(len(table) for _, table in sides)
        if len(both) < ENOUGH * smaller:
            continue
        # one experiment, and one hash for a fold that both tested: only units of both are left in it
        paired = [
            table.loc[both].reset_index().assign(model=place, experiment="across", split_hash="common")
            for place, (_, table) in zip(_PLACES, sides, strict=True)
        ]
        names = dict(zip(_PLACES, (name for name, _ in sides), strict=True))
        whole = Predictions(table=pd.concat(paired, ignore_index=True), classes=classes)
        for metric in COMPARED_BY:
            lost = max(len(table) for _, table in sides) - len(both)
            made = compare(whole, metric).assign(n_units=len(both), left_out=lost)
            yield made.replace({"model_a": names, "model_b": names})
