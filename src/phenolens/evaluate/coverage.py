"""Whether the sets of the guard hold what they promise, how often it abstains, and who is unlike the training.

Only measured here: sets and distances are columns of the Predictions table, made in the fold of each model. A patient
with several units is covered when every one of them is, because the calibration took the worst of them. Every patient
counts once, with the first test prediction of each unit: each fold's sets stand on the threshold of that fold, so that
counting them together compares no scores of different models.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from phenolens.core.conformal import ALPHAS, cross_guarantee, floor, realised_coverage
from phenolens.core.predictions import SET_GROUPS, SET_NONE, SET_PATIENTS, Predictions
from phenolens.evaluate.folds import EXTERNAL, GROUP, LEAVE_ONE_SITE_OUT
from phenolens.evaluate.interval import wilson

COLUMNS = (
    *GROUP,
    "alpha",
    "subgroup",
    "patients",
    "without_set",
    "coverage",
    "low",
    "high",
    "mean_size",
    "empty",
    "full",
    "calibration",
    "expected",
    "expected_low",
    "expected_high",
    "guaranteed",
    "note",
)
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class _Sets:
    """Test units with a set: covered, size and patient of each, and where they are from."""

    covered: Bools
    size: npt.NDArray[np.int64]
    patient: npt.NDArray[np.object_]
    truth: npt.NDArray[np.object_]
    site: npt.NDArray[np.object_]


def coverage(predictions: Predictions, *, kind: Literal["split", "class"] = "split") -> pd.DataFrame:
    """Coverage of the conformal sets: one row a group, alpha and subgroup ("all", "class=A", "site=X").

    Columns as in COLUMNS. `coverage` is the share of patients all of whose units have their class in the set, with a
    Wilson interval; `mean_size` the mean number of classes in a set; `empty` and `full` the shares of patients with a
    unit whose set is empty, or holds every class; `without_set` counts patients no set was offered to. `expected` is
    the mean coverage that the calibration patients of the folds promise, `expected_low` and `expected_high` where that
    of one model lies in 95 of 100 calibration sets (Beta; of the fold with the fewest). With `kind` "class" the promise
    is of each class; no promise is made of one class with "split" sets, nor of a single site, nor under
    leave-one-site-out or of an external cohort: a new site is not exchangeable with those of the calibration.

    Cross-conformal sets, which the table itself tells (columns SET_PATIENTS and SET_GROUPS), have no Beta: of them
    `calibration` and `guaranteed` are told, the least coverage whatever the model (`core.conformal.cross_guarantee`,
    averaged over folds), and no `expected`.

    Empty where the predictions hold no sets. Raises nothing of its own.
    """
    rows: list[dict[str, Any]] = []
    for key, test, tune in _groups(predictions):
        for column, alpha in ALPHAS.items():
            if column not in test:
                continue
            offered = test[column] != SET_NONE
            made = _sets(test[offered], column)
            sizes = _calibration(test[offered], tune, predictions.classes, kind)
            head = {**key, "alpha": alpha}
            for name, chosen, everyone in _subgroups(test, made, predictions.classes):
                row = {**head, "subgroup": name, **_measured(made, chosen, everyone, len(predictions.classes))}
                crossed = _crossed(test[offered], name)
                rows.append({**row, **_promised(name, key["scheme"], kind, sizes, alpha, row["patients"], crossed)})
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    counts = {name: table[name].astype("Int64") for name in ("patients", "without_set", "calibration")}
    floats = [c for c in COLUMNS if c not in (*GROUP, "subgroup", "note", *counts)]
    return table.assign(**counts, **{name: table[name].astype("float64") for name in floats})


def outside(predictions: Predictions) -> pd.DataFrame:
    """The share of patients unlike the training (their worst unit has `ood` above 1), by group and site.

    Columns: those of GROUP, subgroup ("all" or "site=X"), patients, share, low, high (Wilson). Patients whose fold had
    no reference are left out. Empty where the predictions hold no distances.
    """
    rows = []
    for key, test, _ in _groups(predictions):
        if "ood" not in test:
            continue
        known = test[test["ood"].notna()]
        for name, part in [("all", known), *((f"site={s}", g) for s, g in known.groupby("site", sort=True))]:
            far = (part["ood"] > 1).groupby(part["patient"]).any()
            if len(far):
                rows.append({**key, "subgroup": name, "patients": len(far), **_share(far.to_numpy())})
    return pd.DataFrame(rows, columns=[*GROUP, "subgroup", "patients", "share", "low", "high"])


def abstentions(predictions: Predictions) -> pd.DataFrame:
    """The share of patients of whom a model of the fold says nothing, by group, and why.

    As `phenolens predict` abstains: a unit outside the training, or whose set at alpha 0.1 is empty or holds every
    class. Columns: those of GROUP, patients, share, low, high (Wilson), outside, empty, full; the last three are shares
    that may overlap. Empty where the predictions hold neither sets nor distances.
    """
    rows = []
    for key, test, _ in _groups(predictions):
        if "ood" not in test and "set_90" not in test:
            continue
        sizes = _sizes(test["set_90"]) if "set_90" in test else np.full(len(test), -1)
        why = {
            "outside": test["ood"].to_numpy(dtype=float) > 1 if "ood" in test else np.zeros(len(test), dtype=bool),
            "empty": sizes == 0,
            "full": sizes == len(predictions.classes),
        }
        by_patient = pd.DataFrame(why).groupby(test["patient"].to_numpy()).any()
        told = {name: float(by_patient[name].mean()) for name in why}
        rows.append({**key, "patients": len(by_patient), **_share(by_patient.any(axis=1).to_numpy()), **told})
    return pd.DataFrame(rows, columns=[*GROUP, "patients", "share", "low", "high", "outside", "empty", "full"])


def _groups(predictions: Predictions) -> Iterator[tuple[dict[str, str], pd.DataFrame, pd.DataFrame]]:
    """Each group's key, the first test row of every unit, and the tune rows."""
    ordered = predictions.table.sort_values([*GROUP, "repeat", "fold", "patient", "unit_id"], kind="stable")
    for key, rows in ordered.groupby(GROUP, sort=True):
        test = rows[rows["part"] == "test"]
        if len(test):
            first = test[~test.duplicated(["patient", "unit_id"])].reset_index(drop=True)
            yield dict(zip(GROUP, map(str, key), strict=True)), first, rows[rows["part"] == "tune"]


def _sizes(column: pd.Series[Any]) -> npt.NDArray[np.int64]:
    """How many classes each set holds; -1 where none was offered."""
    return np.array([-1 if s == SET_NONE else len(str(s).split("|")) if s else 0 for s in column], dtype=np.int64)


def _sets(test: pd.DataFrame, column: str) -> _Sets:
    pairs = zip(test[column], test["truth"].astype(str), strict=True)
    return _Sets(
        covered=np.array([t in str(s).split("|") for s, t in pairs], dtype=bool),
        size=_sizes(test[column]),
        patient=test["patient"].to_numpy(dtype=object),
        truth=test["truth"].astype(str).to_numpy(dtype=object),
        site=test["site"].astype(str).to_numpy(dtype=object),
    )


def _subgroups(test: pd.DataFrame, made: _Sets, classes: Sequence[str]) -> Iterator[tuple[str, Bools, int]]:
    """The name of each subgroup, its units among those with a set, and all of its patients."""
    who, truth, site = (test[c].astype(str).to_numpy(dtype=object) for c in ("patient", "truth", "site"))
    yield "all", np.ones(len(made.covered), dtype=bool), len(set(who))
    for name in classes:
        yield f"class={name}", made.truth == name, len(set(who[truth == name]))
    for name in sorted(set(site)) if len(set(site)) > 1 else ():
        yield f"site={name}", made.site == name, len(set(who[site == name]))


def _measured(made: _Sets, chosen: Bools, everyone: int, classes: int) -> dict[str, Any]:
    units = pd.DataFrame(
        {
            "covered": made.covered[chosen],
            "empty": made.size[chosen] == 0,
            "full": made.size[chosen] == classes,
            "size": made.size[chosen].astype(float),
        }
    ).groupby(made.patient[chosen])
    n = units.ngroups
    if not n:
        return {"patients": 0, "without_set": everyone}
    covered = units["covered"].all().to_numpy()
    told = _share(covered)
    return {
        "patients": n,
        "without_set": everyone - n,
        "coverage": told["share"],
        "low": told["low"],
        "high": told["high"],
        "mean_size": float(units["size"].mean().mean()),
        "empty": float(units["empty"].any().mean()),
        "full": float(units["full"].any().mean()),
    }


def _share(found: Bools) -> dict[str, float]:
    low, high = wilson(int(found.sum()), len(found))
    return {"share": float(found.mean()), "low": low, "high": high}


def _calibration(test: pd.DataFrame, tune: pd.DataFrame, classes: Sequence[str], kind: str) -> Mapping[str, list[int]]:
    """How many calibration patients each fold with sets had, by subgroup."""
    places = set(zip(test["repeat"], test["fold"], strict=True))
    inside = [rows for place, rows in tune.groupby(["repeat", "fold"], sort=True) if place in places]
    if kind == "split":
        return {"all": [int(rows["patient"].nunique()) for rows in inside]}
    return {f"class={c}": [int(rows.loc[rows["truth"] == c, "patient"].nunique()) for rows in inside] for c in classes}


def _crossed(test: pd.DataFrame, name: str) -> list[tuple[int, int]]:
    """Calibration patients and groups of each fold with cross-conformal sets; empty of any subgroup and other sets."""
    if name != "all" or SET_GROUPS not in test:
        return []
    folds = test[test[SET_GROUPS].notna()].groupby(["repeat", "fold"], sort=True)[[SET_PATIENTS, SET_GROUPS]].first()
    return [(int(n), int(k)) for n, k in folds.to_numpy()]


def _promised(
    name: str,
    scheme: str,
    kind: str,
    sizes: Mapping[str, list[int]],
    alpha: float,
    patients: int,
    crossed: Sequence[tuple[int, int]],
) -> dict[str, Any]:
    if not patients:
        return {"note": f"no set was offered: under {floor(alpha)} calibration patients"}
    counts = sizes.get(name, [])
    if scheme in (LEAVE_ONE_SITE_OUT, EXTERNAL):
        return {"note": "no promise: patients of a new site are not exchangeable with those of the calibration"}
    if crossed:
        least = float(np.mean([cross_guarantee(n, k, alpha) for n, k in crossed]))
        return {"calibration": min(n for n, _ in crossed), "guaranteed": least, "note": ""}
    if not counts:
        promised = "of each class" if kind == "class" else "over all patients together"
        return {"note": f"no promise of this subgroup: the sets promise {promised}"}
    enough = [n for n in counts if n >= floor(alpha)]
    if not enough:
        return {"note": f"refused in every fold, so that it is in every set: under {floor(alpha)} calibration patients"}
    means = [realised_coverage(n, alpha)[0] for n in enough]
    low, high = realised_coverage(min(enough), alpha)[1:]
    few = len(counts) - len(enough)
    return {
        "calibration": min(enough),
        "expected": float(np.mean(means)),
        "expected_low": low,
        "expected_high": high,
        "note": f"refused in {few} of {len(counts)} folds" if few else "",
    }
