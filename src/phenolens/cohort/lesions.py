"""The lesions table: one row a lesion (or one for each image it is drawn on), checked and typed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd

from phenolens.cohort.asked import Tables
from phenolens.cohort.columns import check_columns, check_ids
from phenolens.cohort.faults import Log, counted, did_you_mean, listed, place, rows_of
from phenolens.cohort.files import check_missing, resolve
from phenolens.cohort.images import check_owners
from phenolens.cohort.reading import TEXT_COLUMNS, Sheet, as_text, missing
from phenolens.cohort.scans import at_timepoint, mask_values
from phenolens.core.types import Cohort

_TEXT = frozenset({"lesion", "mask", "mask_name"})
_FIRST = ("patient", "lesion", "image", "mask", "mask_value", "mask_name")


def as_lesions(sheet: Sheet) -> Sheet:
    """The same table with the ids of lesions read as text."""
    return replace(sheet, text=TEXT_COLUMNS | _TEXT)


def unit_ids(lesions: pd.DataFrame) -> pd.Series[str]:
    """PATIENT/LESION of every row."""
    ids: pd.Series[str] = lesions["patient"] + "/" + lesions["lesion"]
    return ids


def owners(cohort: Cohort) -> dict[str, str]:
    """Image id or PATIENT/LESION -> patient."""
    owner = dict(zip(cohort.images["image"], cohort.images["patient"], strict=True))
    if cohort.lesions is not None:
        owner |= dict(zip(unit_ids(cohort.lesions), cohort.lesions["patient"], strict=True))
    return owner


def check_lesions(sheet: Sheet, patients: set[str], patients_table: str, log: Log) -> None:
    """Report empty cells, lesions of unknown patients, lesions that stand twice and faulty columns."""
    check_ids(sheet, "patient", log, what="a patient id")
    check_ids(sheet, "lesion", log, what="a lesion id")
    check_owners(sheet, patients, patients_table, log, noun="lesion")
    filled = sheet.cells[(sheet.cells["patient"] != "") & (sheet.cells["lesion"] != "")]
    for _, rows in filled.groupby(["patient", "lesion"]):
        images = rows["image"].map(lambda c: "" if missing(c) else c) if "image" in rows else rows["patient"]
        if len(rows) > 1 and (images.duplicated().any() or (images == "").any()):
            log.fault(
                f"lesion {rows['lesion'].iloc[0]!r} of patient {rows['patient'].iloc[0]} twice",
                expected="one row a lesion, or one for each image it is drawn on, named in the column image",
                todo="give each lesion its own id, or merge the rows",
                where=place(sheet.name, rows.index, "lesion"),
            )
    pairs = filled.drop_duplicates(["patient", "lesion"])
    ids = unit_ids(pairs)
    for unit, rows in pairs.groupby(ids):
        if len(rows) > 1:
            log.fault(
                f"two lesions that would both be called {unit!r}",
                expected="ids of patients and lesions that are told apart by PATIENT/LESION",
                todo="leave '/' out of the ids",
                where=place(sheet.name, rows.index, "lesion"),
            )
    check_columns(sheet, log, skip=("mask_value",))


def lesion_rows(
    sheet: Sheet, left_out: set[str], images: pd.DataFrame | None, tables: Tables, log: Log
) -> pd.DataFrame:
    """The rows of all but the patients left out, with absolute paths and one label a lesion.

    A row's image is one of its patient's; where its mask is empty that of the image is meant. `images` is None where
    the study has none: nothing is said of masks then.
    """
    assert tables.lesions is not None
    frame = sheet.typed()
    frame = frame[frame["patient"].notna() & ~frame["patient"].isin(left_out) & frame["lesion"].notna()]
    blank = pd.Series([None] * len(frame), index=frame.index, dtype=object)
    folder = tables.lesions.absolute().parent
    named = {c: frame[c].map(_filled) if c in frame else blank for c in ("image", "mask", "mask_name")}
    named["mask"] = named["mask"].map(lambda p: None if p is None else resolve(p, folder))
    frame = frame.assign(**named, mask_value=mask_values(sheet, log).reindex(frame.index))
    check_missing(frame, sheet.name, "mask", log)
    if images is not None:
        _check_images(frame, images, sheet, log)
        _check_regions(frame, images, sheet, log)
    return frame.assign(**{tables.target: _label(frame, sheet, tables.target, log)})


def standard(lesions: pd.DataFrame) -> pd.DataFrame:
    """The rows with the columns every lesions table has, sorted by patient, lesion and image."""
    made = lesions[[*_FIRST, *(c for c in lesions.columns if c not in _FIRST)]]
    return made.sort_values(["patient", "lesion", "image"], na_position="first").reset_index(drop=True)


def current(lesions: pd.DataFrame, images: pd.DataFrame, tables: Tables) -> pd.DataFrame:
    """The rows of the timepoint that is predicted from: drawn on one of its images, or on none in particular."""
    if tables.images is None:
        return lesions
    return lesions[lesions["image"].isna() | lesions["image"].isin(set(at_timepoint(images, tables)["image"]))]


def without_lesion(
    patients: pd.DataFrame, lesions: pd.DataFrame, people: Sheet, sheet: Sheet, log: Log
) -> pd.DataFrame:
    """The patients that have a lesion with a label; the others are listed."""
    have = patients["patient"].isin(set(lesions["patient"]))
    out = patients[~have]
    if len(out):
        log.find(
            "patient-without-lesion",
            "note",
            f"{counted(len(out), 'patient')} without a labelled lesion in {sheet.name}, left out:"
            f" {listed(out['patient'])} ({rows_of(out.index)} of {people.name})",
            todo="add their lesions, or nothing",
            who=sorted(out["patient"]),
            where=place(people.name, out.index, "patient"),
        )
    return patients[have]


def _filled(cell: Any) -> str | None:
    return cell if isinstance(cell, str) and not missing(cell) else None


def _check_images(frame: pd.DataFrame, images: pd.DataFrame, sheet: Sheet, log: Log) -> None:
    owner = dict(zip(images["image"], images["patient"], strict=True))
    for (patient, image), rows in frame[frame["image"].notna()].groupby(["patient", "image"]):
        own = sorted(i for i, p in owner.items() if p == patient)
        if owner.get(str(image)) == patient:
            continue
        whose = f", which is of patient {owner[str(image)]}" if image in owner else ""
        log.fault(
            f"image {image!r} in a lesion of patient {patient}{whose}",
            expected=f"an image of that patient: {listed(own)}" if own else "an image of that patient, who has none",
            todo=f"correct the id, or leave the cell empty{did_you_mean(str(image), own)}",
            where=place(sheet.name, rows.index, "image"),
        )


def _check_regions(frame: pd.DataFrame, images: pd.DataFrame, sheet: Sheet, log: Log) -> None:
    """Two lesions that are one region would be one example twice; a lesion without any mask will be quarantined."""
    own = "mask of the image " + frame["image"].fillna("(any)")
    key = [frame["patient"], frame["mask"].fillna(own), frame["mask_value"].astype(str), frame["mask_name"].astype(str)]
    same = [rows for _, rows in frame.groupby(key) if rows["lesion"].nunique() > 1]
    for rows in same:
        log.fault(
            f"lesions {listed(rows['lesion'])} of patient {rows['patient'].iloc[0]} with one mask and no value of"
            " their own",
            expected="a region of its own for each lesion",
            todo="say which value of the mask is which lesion in a column mask_value, or give each its own mask",
            where=place(sheet.name, rows.index, "mask_value"),
        )
    masked = images[images["mask"].notna()] if "mask" in images else images.iloc[:0]
    served = frame["mask"].notna() | frame["image"].isin(set(masked["image"]))
    served |= frame["image"].isna() & frame["patient"].isin(set(masked["patient"]))
    bare = frame[~served]
    if len(bare):
        log.find(
            "lesion-without-mask",
            "warning",
            f"{counted(len(bare), 'lesion')} without a mask, here or in the images table: {listed(unit_ids(bare))}",
            todo="fill the column mask; a run puts these lesions in quarantine",
            who=sorted(set(bare["patient"])),
            where=place(sheet.name, bare.index, "mask"),
        )


def _label(frame: pd.DataFrame, sheet: Sheet, target: str, log: Log) -> pd.Series[Any]:
    """The label of every row, that of its lesion; two in one lesion are a fault."""
    groups = frame.groupby(["patient", "lesion"])[target]
    for _, rows in frame[frame[target].notna()].groupby(["patient", "lesion"]):
        names = sorted({as_text(v) for v in rows[target]})
        if len(names) > 1:
            log.fault(
                f"lesion {rows['lesion'].iloc[0]!r} of patient {rows['patient'].iloc[0]} with {target}"
                f" {' and '.join(names)}",
                expected="one label a lesion",
                todo="correct one of the rows",
                where=place(sheet.name, rows.index, target),
            )
    label: pd.Series[Any] = groups.transform("first") if len(frame) else frame[target]
    return label
