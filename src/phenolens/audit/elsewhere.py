"""The audit of results made elsewhere: what a predictions table and a split table tell of how they were made.

It cannot refit anything. It sees overlap, tests on trained patients, pooled scores, calibration, sites and subgroups
too small to be told; what it cannot see is said.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from phenolens.audit.given_sites import judged, of_labels
from phenolens.audit.given_tables import SCHEME, Given, read_given, read_parts
from phenolens.cohort.faults import counted, listed
from phenolens.core.store import fingerprint, write_json
from phenolens.core.types import Finding, Severity
from phenolens.evaluate.score import estimates
from phenolens.steps.desk import write_csv

POOLED_METHOD = "all test patients taken as one test set"


@dataclass(frozen=True, kw_only=True)
class Elsewhere:
    """Findings, the worst first, the estimates made honestly, and lines for a person."""

    findings: tuple[Finding, ...]
    estimates: pd.DataFrame
    lines: tuple[str, ...]

    @property
    def failed(self) -> bool:
        """Whether a finding is an error."""
        return any(f.severity == "error" for f in self.findings)


def audit_elsewhere(
    predictions: Path,
    splits: Path | None = None,
    *,
    truth: str | None = None,
    positive: str | None = None,
    out: Path | None = None,
) -> Elsewhere:
    """Audit a predictions table (STAMP, WORC, a notebook), with the splits it was made on where they are known.

    With `out` a folder, writes audit.json and estimates.csv there. Raises PhenolensError for a table that cannot be
    read; what is wrong with the results themselves is a finding.
    """
    given = read_given(predictions, truth=truth, positive=positive)
    parts = None if splits is None else read_parts(splits)
    table = estimates(given.predictions)
    found = [*_overlap(parts), *_tested(given, parts), *_rows(given), *_unknown_folds(given), *_floors(table)]
    tested = judged(given.predictions, table)
    found += [*of_labels(given.predictions), *tested.findings, *_known(parts)]
    order = ("error", "warning", "note")
    findings = tuple(sorted(found, key=lambda f: order.index(f.severity)))
    made = Elsewhere(findings=findings, estimates=table, lines=tuple(_lines(given, table, findings)))
    if out is not None:
        write_csv(out / "estimates.csv", table)
        told = {"read_as": dict(given.taken), "findings": [asdict(f) for f in findings], "tests": tested.rows()}
        files = {"predictions": fingerprint(predictions), "splits": None if splits is None else fingerprint(splits)}
        write_json(out / "audit.json", told | files)
    return made


def _finding(
    rule: str, severity: Severity, what: str, todo: str, who: Iterable[str] = (), inflates: str = ""
) -> Finding:
    return Finding(rule=rule, severity=severity, what=what, todo=todo, who=tuple(sorted(who)), inflates=inflates)


def _overlap(parts: pd.DataFrame | None) -> list[Finding]:
    """Patients in two parts of one fold of the split table."""
    if parts is None:
        what = "no split table: whether a test patient was trained on cannot be seen"
        return [_finding("no-splits", "warning", what, "give it with --splits: patient, fold, part")]
    found = []
    for (scheme, repeat, fold), rows in parts.groupby(["scheme", "repeat", "fold"], sort=True):
        counts = rows.groupby("patient")["part"].agg(lambda p: " and ".join(sorted(set(p))))
        for both, who in counts[counts.str.contains(" and ")].groupby(counts):
            name = "-".join(str(x) for x in (scheme, repeat, fold) if x != "")
            what = f"{counted(len(who), 'patient')} in {both} of fold {name}: {listed(who.index)}"
            severity: Severity = "error" if "test" in str(both) else "warning"
            todo = "split by patient, never by image or tile, and fit again: these results cannot be mended"
            inflates = "tiles or slides of one patient in two parts: AUC up to 1.00 on noise"
            found.append(_finding("patient-in-two-parts", severity, what, todo, map(str, who.index), inflates))
    return found


def _tested(given: Given, parts: pd.DataFrame | None) -> list[Finding]:
    """Test predictions of patients whom the split table has in training, or nowhere; patients tested in two folds."""
    table, found = given.predictions.table, []
    if given.folds:
        folds = table.groupby(["model", "repeat", "patient"])["fold"].nunique()
        several = sorted(set(folds[folds > 1].index.get_level_values("patient")))
        if several:
            what = f"{counted(len(several), 'patient')} tested in several folds of one repeat: {listed(several)}"
            todo = "split by patient: images of one patient were in training while others of them were tested"
            inflates = "images of one patient in training and test: AUC up to 1.00 on noise"
            found.append(_finding("patient-in-two-folds", "error", what, todo, several, inflates))
    if parts is None:
        return found
    keys = ["repeat", "fold", "patient"] if given.folds else ["patient"]
    learnt = parts[parts["part"] != "test"][[*keys, "part"]].drop_duplicates(keys)
    tests = parts[parts["part"] == "test"][keys].drop_duplicates()
    asked = table[keys].drop_duplicates()
    inside = asked.merge(learnt, on=keys).merge(tests, on=keys, how="left", indicator="also")
    trained = inside[inside["also"] == "left_only"] if not given.folds else inside
    if len(trained):
        who = sorted(set(trained["patient"]))
        shown = "train" if (trained["part"] == "train").any() else "tune"
        what = f"{counted(len(who), 'patient')} predicted by a model that had them in {shown}: {listed(who)}"
        todo = "predict each patient with the fold's model that had them in test only"
        inflates = "a model tested on its own training patients: AUC up to 1.00 on noise"
        found.append(_finding("tested-where-trained", "error", what, todo, who, inflates))
    stray = asked.merge(parts[keys].drop_duplicates(), on=keys, how="left", indicator="seen")
    strangers = sorted(set(stray["patient"][stray["seen"] == "left_only"]))
    if strangers:
        what = f"{counted(len(strangers), 'patient')} predicted, not named in the splits: {listed(strangers)}"
        todo = "give the splits these results were made on"
        found.append(_finding("not-in-splits", "warning", what, todo, strangers))
    return found


def _rows(given: Given) -> list[Finding]:
    if not given.twice:
        return []
    what = f"{counted(len(given.twice), 'unit')} predicted twice in one fold: {listed(given.twice)}"
    todo = "remove the copies; only the first of each was counted here"
    return [_finding("predicted-twice", "warning", what, todo, given.twice, "copies count a patient several times")]


def _unknown_folds(given: Given) -> list[Finding]:
    """That nothing says whether scores of several models were pooled."""
    if given.folds:
        return []
    what = "no folds: if these are out-of-fold scores of several models, they were pooled"
    todo = "add the column fold; an interval of pooled scores held the true value in 78 to 89% of simulations"
    return [_finding("folds-unknown", "warning", what, todo)]


def _floors(table: pd.DataFrame) -> list[Finding]:
    rows = table[(table["metric"] == "auc") & table["note"].str.startswith("not estimable")]
    names = sorted(set(rows["subgroup"].str.replace(";", " of ")))
    if not names:
        return []
    shown = f"{counted(len(names), 'subgroup')} ({listed(names)})"
    what = f"AUC not estimable in {shown}: under 10 patients with or without"
    return [_finding("under-floor", "note", what, "give counts there, no AUC")]


def _known(parts: pd.DataFrame | None) -> list[Finding]:
    """What these tables cannot tell."""
    unseen = "features, selection, tuning and duplicates"
    what = f"{unseen} are not in these tables: whether anything was fitted outside the fold cannot be seen"
    found = [_finding("not-seen", "note", what, "run the study with phenolens to have it refitted and audited")]
    tuned = parts is not None and not (parts["part"] == "tune").any()
    if tuned:
        what = "no tune part in the splits: if a model stopped early or was chosen, it was on the test patients"
        todo = "say how training was stopped and hyper-parameters were chosen"
        found.append(
            _finding("no-tune-part", "warning", what, todo, inflates="stopping on the test fold: 0.60 on noise")
        )
    return found


def _lines(given: Given, table: pd.DataFrame, findings: Sequence[Finding]) -> list[str]:
    t = given.predictions.table
    read = ", ".join(f"{name} from {column}" for name, column in given.taken.items() if name != column)
    lines = [
        f"{t['patient'].nunique()} patients, {len(given.predictions.classes)} classes, models: "
        f"{', '.join(sorted(set(t['model'])))}; folds: {t['fold'].nunique()}" + (f"; read as: {read}" if read else "")
    ]
    for row in table[(table["metric"] == "auc") & table["subgroup"].str.startswith("class=")].to_dict("records"):
        if ";" not in row["subgroup"]:
            lines.append(_line(row))
    for f in findings:
        lines += [f"{f.severity}: {f.what}", *([f"    could inflate: {f.inflates}"] if f.inflates else [])]
        lines.append(f"    to do: {f.todo}")
    return lines


def _line(row: dict[Any, Any]) -> str:
    name = f"{row['model']}, AUC of {row['subgroup'].removeprefix('class=')}"
    if pd.isna(row["value"]):
        return f"{name}: {row['note']}"
    spread = "" if pd.isna(row["low"]) else f" ({row['low']:.3f} to {row['high']:.3f})"
    return f"{name}: {row['value']:.3f}{spread}, {row['method'] or POOLED_METHOD}"


__all__ = ["SCHEME", "Elsewhere", "audit_elsewhere"]
