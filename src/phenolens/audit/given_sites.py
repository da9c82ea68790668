"""What a predictions table made elsewhere tells of sites and of its probabilities."""

from __future__ import annotations

from typing import Any

import pandas as pd

from phenolens.cohort import check
from phenolens.cohort.schemes import Roster
from phenolens.core.inflation import inflates
from phenolens.core.predictions import Predictions
from phenolens.core.types import Finding
from phenolens.evaluate.calibration import summary

GAP = 0.1
"""How far the AUC over all patients may lie above that within sites before the sites are said to carry it."""


def of_sites(predictions: Predictions, estimates: pd.DataFrame) -> list[Finding]:
    """Labels that follow the site, and AUCs that fall within sites; the rules of labels are those of `cohort.check`."""
    rows = predictions.table.drop_duplicates("patient")
    told = predictions.table.groupby("patient")["truth"].agg(set)
    classes = {str(p): frozenset(map(str, t)) for p, t in told.items()}
    who = Roster(
        labels={p: "+".join(sorted(c)) for p, c in classes.items()},
        sites=dict(zip(rows["patient"].map(str), rows["site"].map(str), strict=True)),
        classes=classes,
    )
    return [*check.sites(who), *_within(estimates)]


def _within(estimates: pd.DataFrame) -> list[Finding]:
    """Models whose AUC of a class within sites, weighed by patients, is lower by more than GAP than over all."""
    rows = estimates[(estimates["metric"] == "auc") & estimates["subgroup"].str.startswith("class=")]
    found = []
    for (model, name), own in rows.groupby(["model", rows["subgroup"].str.partition(";")[0]], sort=True):
        whole = own[~own["subgroup"].str.contains(";site=")]["value"].dropna()
        sites = own[own["subgroup"].str.contains(";site=")].dropna(subset=["value"])
        if whole.empty or len(sites) < 2:
            continue
        weights = sites["n_patients"].astype(float)
        within = float((sites["value"] * weights).sum() / weights.sum())
        if float(whole.iloc[0]) - within > GAP:
            what = (
                f"{model}: AUC of {str(name).removeprefix('class=')} {whole.iloc[0]:.3f} over all patients and "
                f"{within:.3f} within {len(sites)} sites: the site carries part of it"
            )
            todo = "report within-site figures, and test with whole sites left out"
            found.append(
                Finding(rule="site-carries", severity="warning", what=what, todo=todo, inflates=inflates("site"))
            )
    return found


def of_probabilities(predictions: Predictions) -> list[Finding]:
    """Probabilities that are too extreme or too timid, or too high or low on the whole, beyond chance."""
    rows = summary(predictions)
    found = []
    for row in rows[rows["measure"].isin(("slope", "intercept"))].to_dict("records"):
        target = 1.0 if row["measure"] == "slope" else 0.0
        if pd.notna(row["value"]) and not row["low"] <= target <= row["high"]:
            found.append(_off(row))
    return found


def _off(row: dict[Any, Any]) -> Finding:
    slope = row["measure"] == "slope"
    words = ("too extreme", "too timid") if slope else ("too high", "too low")
    said = words[int(row["value"] > (1 if slope else 0))]
    note = f" ({row['note']})" if row["note"] else ""
    return Finding(
        rule="calibration-off",
        severity="warning",
        what=(
            f"{row['model']}: probabilities of {row['class']} are {said}: calibration {row['measure']} "
            f"{row['value']:.2f} ({row['low']:.2f} to {row['high']:.2f}){note}"
        ),
        todo="recalibrate inside the training fold (intercept first) before a probability is read as a chance",
    )
