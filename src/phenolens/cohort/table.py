"""From the tables to a checked Cohort."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from phenolens.cohort.asked import BASELINE, Tables
from phenolens.cohort.columns import missing_columns
from phenolens.cohort.difference import content, difference, snapshot
from phenolens.cohort.faults import Log, did_you_mean, listed, place
from phenolens.cohort.files import check_missing, check_twice, resolve
from phenolens.cohort.followup import check_follow_up, followed
from phenolens.cohort.images import check_images, image_ids, kind_of, standard, without_image
from phenolens.cohort.lesions import as_lesions, check_lesions, current, lesion_rows, without_lesion
from phenolens.cohort.lesions import standard as standard_lesions
from phenolens.cohort.patients import check_classes, check_patients, labelled, subset, with_sites
from phenolens.cohort.reading import Sheet, as_text, read_sheet
from phenolens.cohort.scans import as_scans, at_timepoint, check_masks, scan_columns
from phenolens.cohort.spacing import spacings
from phenolens.cohort.units import asked_sequences, labels, lesions, regions, unit_labels, units
from phenolens.core.errors import CohortError
from phenolens.core.store import key_of
from phenolens.core.types import Cohort, Finding

__all__ = [
    "BASELINE",
    "Tables",
    "asked_sequences",
    "at_timepoint",
    "difference",
    "labels",
    "lesions",
    "load",
    "read_table",
    "regions",
    "snapshot",
    "unit_labels",
    "units",
]

_NO_IMAGES = ("patient", "image", "path", "kind", "stain", "annotation", "site", "mpp")


@dataclass(frozen=True, kw_only=True)
class _Sheets:
    """The tables as read; `kind` is that of the images."""

    people: Sheet
    pictures: Sheet | None
    spots: Sheet | None
    kind: str

    @property
    def all(self) -> tuple[Sheet, ...]:
        return tuple(s for s in (self.people, self.pictures, self.spots) if s is not None)

    def of(self, unit: str) -> Sheet | None:
        """The table in which the label of a unit stands."""
        return {"patient": self.people, "image": self.pictures, "lesion": self.spots}[unit]


def read_table(path: Path) -> pd.DataFrame:
    """Read CSV (UTF-8, BOM, UTF-16, Latin-1; comma, semicolon or tab), XLSX (first sheet) or Parquet.

    Ids and paths are stripped text whatever they look like; other columns are numbers where every filled cell is one
    (with a decimal comma where the separator is a semicolon). Raises CohortError naming file and row.
    """
    return read_sheet(path).typed().reset_index(drop=True)


def load(tables: Tables) -> tuple[Cohort, list[Finding]]:
    """Read and check the tables. Raises one CohortError that lists all faults, each with table, row and column.

    Patients outside `where:`, without label, without lesion (where lesions are predicted) and without image are left
    out, each with a finding that names them (rules outside-where, patient-without-label, patient-without-lesion,
    patient-without-image). A missing file is a finding.
    """
    log = Log()
    sheets = _open(tables, log)
    people = sheets.people
    _check_columns(sheets, tables, log)
    log.stop()
    for note in (note for sheet in sheets.all for note in sheet.notes):
        log.find("how-it-was-read", "note", note, todo="look at the names in the report")
    _check_rows(sheets, log)
    if any("an empty patient" in fault.found for fault in log.faults):
        log.stop()
    patients = subset(people.typed(), tables.where, people, log)
    left_out = set(people.cells["patient"]) - set(patients["patient"])
    images = _images(sheets, left_out, tables, log)
    spots = None
    if sheets.spots is not None:
        spots = lesion_rows(sheets.spots, left_out, images, tables, log)
    patients, images, spots = _labelled(patients, images, spots, sheets, tables, log)
    if images is not None:
        patients = without_image(patients, images, people, tables, log)
    if patients.empty and not log.faults:
        column = tables.target if tables.time is None else f"{tables.time} and {tables.event}"
        todo = f"fill the column {column}, and give patients images" if tables.target else "give patients images"
        log.fault("no patient with a label and an image", expected="a cohort", todo=todo, where=people.name)
    log.stop()
    return _cohort(patients, images, spots, sheets, log), log.findings


def _open(tables: Tables, log: Log) -> _Sheets:
    """The tables of the study; those that cannot be read are told together."""
    if tables.unit == "lesion" and tables.lesions is None:
        todo = "name the table in the study as lesions: lesions.csv"
        raise CohortError("task.unit lesion without a lesions table", expected="one row a lesion", todo=todo)
    if tables.unit == "image" and tables.images is None:
        todo = "name the images table, or predict by patient"
        raise CohortError("task.unit image without an images table", expected="one row an image", todo=todo)
    paths = [tables.patients, tables.images, tables.lesions if tables.unit == "lesion" else None]
    sheets: list[Sheet | None] = []
    for path in paths:
        try:
            sheets.append(None if path is None else read_sheet(path))
        except CohortError as fault:
            log.faults.append(fault)
    log.stop()
    people, pictures, spots = sheets
    assert people is not None
    kind: str = tables.kind or "slide"
    if pictures is not None:
        kind = kind_of(pictures, tables.kind)
        pictures = as_scans(pictures) if kind == "scan" else pictures
    return _Sheets(people=people, pictures=pictures, spots=None if spots is None else as_lesions(spots), kind=kind)


def _check_columns(sheets: _Sheets, tables: Tables, log: Log) -> None:
    """Missing columns; a target that stands in another table is said so."""
    missing_columns(sheets.people, ["patient"], log)
    if sheets.pictures is not None:
        missing_columns(sheets.pictures, ["patient", "path"], log)
    if sheets.spots is not None:
        missing_columns(sheets.spots, ["patient", "lesion"], log)
    here = sheets.of(tables.unit)
    assert here is not None
    if tables.time is not None:
        check_follow_up(here, tables, log)
        return
    if not tables.target or tables.target in here.cells:
        return
    others = ((unit, sheets.of(unit)) for unit in ("patient", "image", "lesion"))
    for unit, there in others:
        if there is not None and tables.target in there.cells:
            log.fault(
                f"no column '{tables.target}', which stands in {there.name}",
                expected=f"the label in {here.name}, as task.unit is {tables.unit}",
                todo=f"set task.unit: {unit}, or give {here.name} the column",
                where=place(here.name, [1]),
            )
            return
    columns = [str(c) for c in here.cells.columns]
    log.fault(
        f"no column '{tables.target}', the target of the task",
        expected=f"one of {listed(columns)}",
        todo=f"add it, or correct task.target{did_you_mean(tables.target, columns)}",
        where=place(here.name, [1]),
    )


def _check_rows(sheets: _Sheets, log: Log) -> None:
    """Ids, doubles and columns of each table by itself, and patients that are not in the first."""
    people = sheets.people
    check_patients(people, log)
    known = set(people.cells["patient"])
    if sheets.pictures is not None:
        check_images(sheets.pictures, known, people.name, sheets.kind, log)
    if sheets.spots is not None:
        check_lesions(sheets.spots, known, people.name, log)


def _images(sheets: _Sheets, left_out: set[str], tables: Tables, log: Log) -> pd.DataFrame | None:
    """The image rows of all but the patients left out, with absolute paths, ids and what their kind needs."""
    sheet = sheets.pictures
    if sheet is None or tables.images is None:
        return None
    frame = sheet.typed()
    frame = frame[~frame["patient"].isin(left_out) & frame["path"].notna()].assign(kind=sheets.kind)
    here = replace(sheet, cells=sheet.cells.loc[frame.index])
    if sheets.kind == "scan":
        frame = scan_columns(frame, here, tables, log)
        frame = frame.assign(image=image_ids(frame, sheet, log))
    else:
        frame = frame.assign(image=image_ids(frame, sheet, log), mpp=spacings(here, log))
    folder = tables.images.absolute().parent
    for column in ("path", "mask" if sheets.kind == "scan" else "annotation"):
        if column in frame:
            frame[column] = frame[column].map(lambda p: None if p is None else resolve(p, folder))
            check_missing(frame, sheet.name, column, log)
    check_twice(frame, sheet.name, sheets.kind, log)
    if sheets.kind == "scan":
        check_masks(frame, sheet.name, log)
    return frame


def _labelled(
    patients: pd.DataFrame,
    images: pd.DataFrame | None,
    spots: pd.DataFrame | None,
    sheets: _Sheets,
    tables: Tables,
    log: Log,
) -> tuple[pd.DataFrame, pd.DataFrame | None, pd.DataFrame | None]:
    """The tables without what has no label, and the classes checked."""
    target, unit = tables.target, tables.unit
    if not target:
        return patients, images, spots
    sheet = sheets.of(unit)
    assert sheet is not None
    if tables.time is not None:
        patients = followed(patients, sheet, tables, log)
        kept = set(patients["patient"])
        return patients, None if images is None else images[images["patient"].isin(kept)], None
    if unit == "patient":
        patients = labelled(patients, sheet, target, log, noun="patient")
        check_classes(patients[target].map(as_text), sheet, tables, log)
        kept = set(patients["patient"])
        return patients, None if images is None else images[images["patient"].isin(kept)], None
    if unit == "image":
        assert images is not None
        shown = at_timepoint(images, tables)
        with_label = labelled(shown, sheet, target, log, noun="image")
        check_classes(with_label[target].map(as_text), sheet, tables, log)
        return patients, images.drop(index=shown.index.difference(with_label.index)), None
    assert spots is not None
    named = spots.assign(lesion=spots["patient"] + "/" + spots["lesion"])
    spots = spots.loc[labelled(named, sheet, target, log, noun="lesion").index]
    check_classes(spots[target].map(as_text), sheet, tables, log)
    now = spots if images is None else current(spots, images, tables)
    return without_lesion(patients, now, sheets.people, sheet, log), images, spots


def _cohort(
    patients: pd.DataFrame, images: pd.DataFrame | None, spots: pd.DataFrame | None, sheets: _Sheets, log: Log
) -> Cohort:
    told = pd.DataFrame() if images is None else images
    patients = with_sites(patients, sheets.people, told, log).sort_values("patient").set_index("patient")
    known = pd.DataFrame(columns=list(_NO_IMAGES), dtype=object)
    if images is not None:
        known = standard(images[images["patient"].isin(set(patients.index))], patients["site"], sheets.kind)
    if spots is not None:
        spots = standard_lesions(spots[spots["patient"].isin(set(patients.index))])
    made = Cohort(patients=patients, images=known, lesions=spots, fingerprint="")
    return replace(made, fingerprint=key_of(content(made)))
