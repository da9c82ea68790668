"""From the tables to a checked cohort with frozen splits."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from phenolens.cohort import check, check_followup, split, table
from phenolens.core.errors import CohortError, SplitError
from phenolens.core.predictions import STRATA
from phenolens.core.registry import MODELS
from phenolens.core.signoff import signed
from phenolens.core.store import canonical, key_of, write_json
from phenolens.core.types import Cohort, Finding, Split
from phenolens.steps import identity, inputs, subgroups
from phenolens.steps import tables as tables_step
from phenolens.steps.desk import Desk, Ready, decision_of
from phenolens.steps.frozen import frozen_elsewhere

EXAMPLE = "EXAMPLE-"
"""How the patient ids begin that `phenolens new` writes into the tables."""
_OF_FILES = ("file-not-found", "annotation-not-found", "mask-not-found", "lesion-without-mask")


def read_cohort(desk: Desk) -> Ready:
    """Read and check both tables; faults stop here with table, row and column."""
    tables = desk.tables
    _refuse_template(tables)
    cohort, findings = table.load(tables)
    if desk.study.reads in ("folder", "table"):  # no image is opened
        findings = [f for f in findings if f.rule not in _OF_FILES]
    if desk.study.reads == "scan":
        scan = desk.study.scan
        named = {"scan.sequences": scan.sequences, "scan.intensity_of": tuple(scan.intensity_of)}
        findings += table.asked_sequences(cohort, tables, named)
    labels = table.labels(cohort, tables)
    units = table.units(cohort, tables)
    classes = STRATA if tables.time is not None else tables.classes or tuple(sorted(set(units["truth"]) - {""}))
    decision_of(desk.study, classes)  # a decision about no class is refused here, not after the models are fitted
    ready = Ready(cohort=cohort, labels=labels, units=units, classes=classes, findings=tuple(findings))
    held = tables_step.read(desk, ready) if desk.study.reads == "table" else None
    findings += [*(held.findings if held is not None else ()), *inputs.input_findings(desk, ready, held)]
    subgroups.levels_of(desk, ready)  # a column that is not there is refused before anything runs
    return _complete(desk, replace(ready, findings=tuple(signed(findings, desk.study.sign_offs))))


def needed(desk: Desk) -> tuple[str, ...]:
    """The sequences without which a patient is left out; none where missing ones are allowed."""
    scan = desk.study.scan
    return scan.sequences if desk.study.reads == "scan" and scan.missing == "left_out" else ()


def _complete(desk: Desk, ready: Ready) -> Ready:
    """Without the patients whom the tables give no scan of a sequence that is needed; they are named."""
    wanted = needed(desk)
    if not wanted:
        return ready
    shown = table.at_timepoint(ready.cohort.images, desk.tables)
    have = {str(patient): set(names) for patient, names in shown.groupby("patient")["sequence"]}
    out = sorted(p for p in ready.cohort.patients.index if not have.get(p, set()).issuperset(wanted))
    if not out:
        return ready
    finding = Finding(
        rule="patient-without-sequence",
        severity="note" if len(out) < len(ready.cohort.patients) else "error",
        what=f"{len(out)} of {len(ready.cohort.patients)} patients lack one of {', '.join(wanted)} and are left out",
        todo="add their scans, or set scan.missing: allowed with models that accept that",
        who=tuple(out),
        where="scan.missing",
    )
    kept = only(ready, set(ready.cohort.patients.index) - set(out))
    return replace(kept, findings=(*ready.findings, finding))


def _refuse_template(tables: table.Tables) -> None:
    """Stop a study whose tables still hold the rows that phenolens new wrote as an example."""
    for path in (tables.patients, tables.images, tables.lesions if tables.unit == "lesion" else None):
        if path is None:
            continue
        held = table.read_table(path)
        left = sorted({p for p in held.get("patient", ()) if str(p).startswith(EXAMPLE)})
        if left:
            raise CohortError(
                f"the example rows of the template ({', '.join(left)})",
                expected="your own patients and images",
                todo="replace those rows with yours, as README.md beside it says, then run phenolens check again",
                where=path.name,
            )


def scheme_of(desk: Desk) -> split.Scheme:
    """The validation section as the split room reads it."""
    asked = desk.study.validation
    return split.Scheme(
        scheme=asked.scheme,
        folds=asked.folds,
        repeats=asked.repeats,
        also=tuple(asked.also),
        holdout=asked.holdout,
        seed=asked.seed,
        tune=asked.tune,
        file=None if asked.file is None else desk.study.path(asked.file),
    )


def needs_tune(desk: Desk) -> bool:
    """Whether any model of the study stops or searches."""
    return any(MODELS.plugin(c.name, base=c.base)[0].needs_tune for c in desk.study.model_choices())


def only(ready: Ready, patients: Collection[str]) -> Ready:
    """The same cohort with only the given patients."""
    whole = ready.cohort
    keep = whole.patients.index.isin(list(patients))
    cohort = Cohort(
        patients=whole.patients[keep],
        images=whole.images[whole.images["patient"].isin(list(patients))].reset_index(drop=True),
        fingerprint=whole.fingerprint,
        lesions=None
        if whole.lesions is None
        else whole.lesions[whole.lesions["patient"].isin(list(patients))].reset_index(drop=True),
    )
    units = ready.units[ready.units["patient"].isin(list(patients))].reset_index(drop=True)
    return replace(ready, cohort=cohort, labels=ready.labels[ready.labels.index.isin(list(patients))], units=units)


def draw_splits(desk: Desk, ready: Ready) -> list[Split]:
    """The splits the study asks for, from nothing."""
    by_unit = table.unit_labels(ready.cohort, desk.tables)
    return split.make(ready.cohort, ready.labels, scheme_of(desk), needs_tune=needs_tune(desk), images_labels=by_unit)


def freeze_splits(desk: Desk, ready: Ready, usable: frozenset[str], *, extend: bool) -> tuple[Ready, list[Split]]:
    """The splits on disk and the patients they are made of; made from the usable patients when there are none.

    A changed cohort, or a patient who became usable since, is named and refused unless told what to do. A split file
    of the user's own names every patient of the table, usable or not.
    """
    if not usable:
        raise CohortError(
            "no patient with a usable image",
            expected="at least two patients of each class",
            todo="mend what results/quarantine.csv lists",
            where=str(desk.study.folder),
        )
    path, record = desk.results / "splits.csv", desk.results / "cohort.json"
    if path.exists() and record.exists():
        before = json.loads(record.read_text("utf-8"))
        inside, splits = _still_valid(desk, ready, usable, before, extend=extend)
        _expect(record, before, splits)
    else:
        inside = ready if desk.study.validation.scheme == "file" else only(ready, usable)
        known_splits = frozen_elsewhere(desk, _asked(desk), _labels(ready), frozenset(inside.cohort.patients.index))
        splits = known_splits or _draw_after_quarantine(desk, ready, inside)
    desk.reopen()
    split.write(path, splits)
    known = {"cohort": table.snapshot(ready.cohort), "validation": _asked(desk), "usable": sorted(usable)}
    write_json(record, {**known, "labels": _labels(ready), "splits": [_frozen(splits)]})
    return inside, splits


def _labels(ready: Ready) -> str:
    """What tells the labels of one cohort from those of another."""
    return key_of(sorted((str(patient), str(label)) for patient, label in ready.labels.items()))


def _frozen(splits: Sequence[Split]) -> str:
    """What tells one set of splits from another."""
    return key_of([s.hash for s in splits])


def _expect(record: Path, before: dict[str, Any], splits: Sequence[Split]) -> None:
    """Note splits that are about to replace the frozen ones, so that a run killed between the two files goes on."""
    known = list(before.get("splits", ()))
    if known and _frozen(splits) not in known:
        write_json(record, {**before, "splits": [*known, _frozen(splits)]})


def _refuse_edited(desk: Desk, known: dict[str, Any], splits: Sequence[Split]) -> None:
    if known.get("splits") and _frozen(splits) not in known["splits"]:
        raise SplitError(
            "a splits.csv that was edited since it was frozen",
            expected="the splits as phenolens made them; results would not be those of the procedure",
            todo="put the file back, give your own splits as validation.scheme: file, or run with --new-splits",
            where=str(desk.results / "splits.csv"),
        )


def _asked(desk: Desk) -> dict[str, Any]:
    """The validation section, without machine paths, as recorded beside the splits."""
    asked = asdict(scheme_of(desk))
    asked["file"] = None if asked["file"] is None else Path(asked["file"]).name
    asked["needs_tune"] = needs_tune(desk)
    return asked


def _draw_after_quarantine(desk: Desk, ready: Ready, inside: Ready) -> list[Split]:
    try:
        return draw_splits(desk, inside)
    except SplitError as error:
        lost = sorted(set(ready.cohort.patients.index) - set(inside.cohort.patients.index))
        if lost:
            shown = ", ".join(lost[:8]) + (", …" if len(lost) > 8 else "")
            error.todo += f"; {len(lost)} patients have no usable image (see results/quarantine.csv): {shown}"
        raise


def _still_valid(
    desk: Desk, ready: Ready, usable: frozenset[str], known: dict[str, Any], *, extend: bool
) -> tuple[Ready, list[Split]]:
    if canonical(known["validation"]) != canonical(_asked(desk)):
        raise SplitError(
            "a validation section that changed since the splits were frozen",
            expected=f"what results/cohort.json records: {canonical(known['validation'])}",
            todo="put it back, or archive the results and split anew with: phenolens run --new-splits",
            where=str(desk.study.folder),
        )
    splits = split.read(desk.results / "splits.csv")
    _refuse_edited(desk, known, splits)
    members = frozenset().union(*(s.train | s.tune | s.test for s in splits))
    inside = only(ready, members | usable)
    came = usable & set(known["cohort"]["patients"]) - members - set(known["usable"])
    changes = table.difference(known["cohort"], ready.cohort) + _became_usable(came)
    if not changes:
        return inside, splits
    if not extend:
        listed = "; ".join(changes[:12]) + ("; …" if len(changes) > 12 else "")
        raise CohortError(
            f"a cohort that changed since the last run: {listed}",
            expected="the cohort the splits were made from",
            todo="keep patients in their folds with: phenolens run --extend, or start over with --new-splits",
            where=str(desk.study.folder),
        )
    for change in changes:
        desk.progress.say(f"cohort: {change}")
    by_unit = table.unit_labels(inside.cohort, desk.tables)
    return inside, split.extend(splits, inside.cohort, inside.labels, scheme_of(desk), images_labels=by_unit)


def _became_usable(patients: Collection[str]) -> list[str]:
    if not patients:
        return []
    some = f"{len(patients)} patient{'s' * (len(patients) != 1)}"
    return [f"{some} whose images could not be used before: {', '.join(sorted(patients))}"]


def archive(results: Path) -> Path | None:
    """Move old results aside, to results-1, results-2, …; None when there are none."""
    if not results.exists():
        return None
    number = 1
    while (target := results.with_name(f"results-{number}")).exists():
        number += 1
    shutil.move(results, target)
    return target


def foreseen(desk: Desk, ready: Ready) -> list[Finding]:
    """What tables and splits would show if every image could be used; before any pixel is read."""
    known = [*ready.findings, *identity.same_person(desk, ready, ready.findings)]
    if any(f.severity == "error" for f in known):
        return known
    try:
        splits = draw_splits(desk, ready)
    except SplitError as error:
        what = f"no split can be made: found {error.found}; expected {error.expected}"
        finding = Finding(rule="split-impossible", severity="error", what=what, todo=error.todo, where=error.where)
        return [*ready.findings, finding]
    return static_findings(desk, ready, splits)


def static_findings(desk: Desk, ready: Ready, splits: list[Split]) -> list[Finding]:
    """What the tables and splits alone tell; an error refuses the run."""
    if not desk.tables.target:
        found = check.unlabelled(ready.cohort, ready.labels, splits)
    elif desk.tables.time is not None:
        horizons = desk.study.task.horizons
        found = check_followup.survival(ready.cohort, ready.labels, splits, desk.tables, horizons)
    else:
        by_unit = table.unit_labels(ready.cohort, desk.tables)
        found = check.static(ready.cohort, ready.labels, splits, by_unit)
    return signed([*ready.findings, *found], desk.study.sign_offs)


def refuse(findings: list[Finding]) -> None:
    """Stop when a finding is an error; all of them are named."""
    errors = [f for f in findings if f.severity == "error"]
    if len(errors) == 1:
        who = f" [{', '.join(errors[0].who[:8])}]" if errors[0].who else ""
        raise CohortError(errors[0].what + who, expected="none such", todo=errors[0].todo, where=errors[0].where)
    if errors:
        listed = "\n  ".join(
            f"{f.what} [{', '.join(f.who[:8])}]: {f.todo}" if f.who else f"{f.what}: {f.todo}" for f in errors
        )
        raise CohortError(
            f"{len(errors)} findings that make an honest result impossible:\n  {listed}\n",
            expected="none",
            todo="mend each; phenolens check shows them without running",
        )
