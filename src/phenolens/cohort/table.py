"""From the two tables to a checked Cohort, and what is predicted in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from phenolens.cohort.columns import missing_columns
from phenolens.cohort.difference import difference, records, snapshot
from phenolens.cohort.faults import Log, did_you_mean, listed, place
from phenolens.cohort.files import check_missing, check_twice, resolve
from phenolens.cohort.images import check_images, image_ids, standard, without_image
from phenolens.cohort.patients import check_classes, check_patients, labelled, subset, with_sites
from phenolens.cohort.reading import Sheet, as_text, read_sheet
from phenolens.cohort.spacing import spacings
from phenolens.core.errors import CohortError
from phenolens.core.store import key_of
from phenolens.core.types import Cohort, Finding

__all__ = ["Tables", "difference", "image_labels", "labels", "load", "read_table", "snapshot", "units"]


@dataclass(frozen=True, kw_only=True)
class Tables:
    """What to read: the two tables, the column that is predicted and where it stands, a subset, the classes."""

    patients: Path
    images: Path
    target: str
    unit: Literal["patient", "image"] = "patient"
    where: str | None = None
    classes: tuple[str, ...] = ()


def read_table(path: Path) -> pd.DataFrame:
    """Read CSV (UTF-8, BOM, UTF-16, Latin-1; comma, semicolon or tab), XLSX (first sheet) or Parquet.

    Ids and paths are stripped text whatever they look like; other columns are numbers where every filled cell is one
    (with a decimal comma where the separator is a semicolon). Raises CohortError naming file and row.
    """
    return read_sheet(path).typed().reset_index(drop=True)


def load(tables: Tables) -> tuple[Cohort, list[Finding]]:
    """Read and check both tables. Raises one CohortError that lists all faults, each with table, row and column.

    Patients outside `where:`, without label and without image are left out, each with a finding that names them
    (rules outside-where, patient-without-label, patient-without-image). A missing file is a finding.
    """
    log = Log()
    people, pictures = _open(tables)
    _check_columns(people, pictures, tables, log)
    log.stop()
    for note in (*people.notes, *pictures.notes):
        log.find("how-it-was-read", "note", note, todo="look at the names in the report")
    check_patients(people, log)
    check_images(pictures, set(people.cells["patient"]), people.name, log)
    if any("an empty patient" in fault.found for fault in log.faults):
        log.stop()
    patients = subset(people.typed(), tables.where, people, log)
    left_out = set(people.cells["patient"]) - set(patients["patient"])
    images = _images(pictures, left_out, tables, log)
    patients, images = _labelled(patients, images, people, pictures, tables, log)
    patients = without_image(patients, images, people, log)
    if patients.empty and not log.faults:
        todo = f"fill the column {tables.target}, and give patients images"
        log.fault("no patient with a label and an image", expected="a cohort", todo=todo, where=people.name)
    log.stop()
    return _cohort(patients, images, people, log), log.findings


def labels(cohort: Cohort, tables: Tables) -> pd.Series[str]:
    """Patient -> class. Where the label stands by image: patient -> its classes joined by '+', a stratum."""
    by_image = image_labels(cohort, tables)
    if by_image is None:
        return cohort.patients[tables.target].map(as_text).rename(tables.target)
    patients = cohort.images.set_index("image")["patient"]
    joined = by_image.groupby(patients.reindex(by_image.index)).agg(lambda names: "+".join(sorted(set(names))))
    return joined.rename_axis("patient").rename(tables.target)


def image_labels(cohort: Cohort, tables: Tables) -> pd.Series[str] | None:
    """Image -> class where the label stands by image, else None."""
    if tables.unit == "patient":
        return None
    return cohort.images.set_index("image")[tables.target].map(as_text)


def units(cohort: Cohort, tables: Tables) -> pd.DataFrame:
    """One row a unit of prediction: unit_id, patient, site, truth, images (a tuple of image ids).

    A unit is a patient with all its images, or one image; unit_id is the id of that patient or image.
    """
    if tables.unit == "image":
        rows = cohort.images
        made = rows[["image", "patient", "site"]].rename(columns={"image": "unit_id"})
        return made.assign(
            truth=rows[tables.target].map(as_text), images=pd.Series([(i,) for i in rows["image"]], dtype=object)
        )
    images = cohort.images.groupby("patient")["image"].agg(tuple)
    rows = cohort.patients.loc[cohort.patients.index.isin(images.index)]
    truth = labels(cohort, tables).reindex(rows.index)
    frame = pd.DataFrame({"site": rows["site"], "truth": truth, "images": images.reindex(rows.index)})
    frame.insert(0, "patient", rows.index)
    frame.insert(0, "unit_id", rows.index)
    return frame.reset_index(drop=True)


def _open(tables: Tables) -> tuple[Sheet, Sheet]:
    log, sheets = Log(), []
    for path in (tables.patients, tables.images):
        try:
            sheets.append(read_sheet(path))
        except CohortError as fault:
            log.faults.append(fault)
    log.stop()
    return sheets[0], sheets[1]


def _check_columns(people: Sheet, pictures: Sheet, tables: Tables, log: Log) -> None:
    """Missing columns; a target that stands in the other table is said so."""
    missing_columns(people, ["patient"], log)
    missing_columns(pictures, ["patient", "path"], log)
    here, there = (people, pictures) if tables.unit == "patient" else (pictures, people)
    if tables.target in here.cells:
        return
    if tables.target in there.cells:
        other = "image" if tables.unit == "patient" else "patient"
        todo = f"set task.unit: {other}, or give {here.name} the column"
        log.fault(
            f"no column '{tables.target}', which stands in {there.name}",
            expected=f"the label in {here.name}, as task.unit is {tables.unit}",
            todo=todo,
            where=place(here.name, [1]),
        )
    else:
        columns = [str(c) for c in here.cells.columns]
        log.fault(
            f"no column '{tables.target}', the target of the task",
            expected=f"one of {listed(columns)}",
            todo=f"add it, or correct task.target{did_you_mean(tables.target, columns)}",
            where=place(here.name, [1]),
        )


def _images(sheet: Sheet, left_out: set[str], tables: Tables, log: Log) -> pd.DataFrame:
    """The image rows of all but the patients left out, with absolute paths, ids and mpp."""
    frame = sheet.typed()
    frame = frame[~frame["patient"].isin(left_out) & frame["path"].notna()]
    folder = tables.images.absolute().parent
    frame = frame.assign(
        image=image_ids(frame, sheet, log), mpp=spacings(replace(sheet, cells=sheet.cells.loc[frame.index]), log)
    )
    for column in ("path", "annotation"):
        if column in frame:
            frame[column] = frame[column].map(lambda p: None if p is None else resolve(p, folder))
            check_missing(frame, sheet.name, column, log)
    check_twice(frame, sheet.name, log)
    return frame


def _labelled(
    patients: pd.DataFrame, images: pd.DataFrame, people: Sheet, pictures: Sheet, tables: Tables, log: Log
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both tables without what has no label, and the classes checked."""
    if tables.unit == "patient":
        patients = labelled(patients, people, tables.target, log, noun="patient")
        check_classes(patients[tables.target].map(as_text), people, tables.target, tables.classes, log)
        return patients, images[images["patient"].isin(set(patients["patient"]))]
    images = labelled(images, pictures, tables.target, log, noun="image")
    check_classes(images[tables.target].map(as_text), pictures, tables.target, tables.classes, log)
    return patients, images


def _cohort(patients: pd.DataFrame, images: pd.DataFrame, people: Sheet, log: Log) -> Cohort:
    patients = with_sites(patients, people, images, log).sort_values("patient").set_index("patient")
    images = standard(images[images["patient"].isin(set(patients.index))], patients["site"])
    content: Mapping[str, Any] = {"patients": records(patients.reset_index()), "images": records(images)}
    return Cohort(patients=patients, images=images, fingerprint=key_of(content))
