"""The images table: one row a file, checked and typed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pandas as pd

from phenolens.cohort.asked import BASELINE, Tables
from phenolens.cohort.columns import check_columns, check_ids, same_but_for_writing
from phenolens.cohort.faults import Log, counted, did_you_mean, listed, place, rows_of
from phenolens.cohort.patients import UNKNOWN
from phenolens.cohort.reading import Sheet
from phenolens.cohort.scans import COLUMNS, UNNAMED, at_timepoint, scan_ids

KINDS = ("slide", "scan")
_COMMON = ("patient", "image", "path", "kind")


def check_images(sheet: Sheet, patients: set[str], patients_table: str, kind: str, log: Log) -> None:
    """Report empty cells, images of unknown patients, repeated image ids, unknown or mixed kinds and faulty columns."""
    check_ids(sheet, "patient", log, what="a patient id")
    check_ids(sheet, "path", log, what="a path")
    check_owners(sheet, patients, patients_table, log, noun="image")
    if "image" in sheet.cells:
        check_ids(sheet, "image", log, what="an image id")
        for image, rows in sheet.cells.groupby("image").groups.items():
            if image and len(rows) > 1:
                log.fault(
                    f"image {image!r} twice",
                    expected="one row an image, ids unique over all patients",
                    todo="rename one of them, or remove the column image: file names are taken then",
                    where=place(sheet.name, rows, "image"),
                )
    _check_kinds(sheet, kind, log)
    check_columns(sheet, log, skip=("mpp", "magnification") if kind == "slide" else ("mask_value",))


def check_owners(sheet: Sheet, patients: set[str], patients_table: str, log: Log, *, noun: str) -> None:
    """Report images (or lesions) of patients who are not in the other table.

    Ids written otherwise there are one fault together.
    """
    alike = {same_but_for_writing(p): p for p in sorted(patients)}
    groups = sheet.cells.groupby("patient").groups.items()
    unknown = {str(patient): rows for patient, rows in groups if patient and patient not in patients}
    near = {patient: alike[key] for patient in unknown if (key := same_but_for_writing(patient)) in alike}
    if len(near) > 1:
        pairs = listed([f"{here!r} is {there!r} there" for here, there in near.items()], 3)
        log.fault(
            f"{len(near)} patient ids written otherwise than in {patients_table}: {pairs}",
            expected="the same id, letter by letter, in both tables",
            todo="write them alike; a spreadsheet drops leading zeros unless the column is formatted as text",
            where=place(sheet.name, sorted(r for p in near for r in unknown[p]), "patient"),
        )
        unknown = {patient: rows for patient, rows in unknown.items() if patient not in near}
    for patient, rows in unknown.items():
        hint = f" (did you mean '{near[patient]}'?)" if patient in near else did_you_mean(patient, patients)
        log.fault(
            f"{_A[noun] if len(rows) == 1 else f'{len(rows)} {noun}s'} of unknown patient {patient!r}",
            expected=f"a patient of {patients_table}",
            todo=f"add the patient there, or correct the id{hint}",
            where=place(sheet.name, rows, "patient"),
        )


_A = {"image": "an image", "lesion": "a lesion"}


def kind_of(sheet: Sheet, asked: str | None) -> str:
    """The kind of all images of a table: as asked, else as most of its rows say, else slides."""
    sizes = Counter(sheet.cells["kind"]) if "kind" in sheet.cells else Counter[str]()
    return asked or max(KINDS, key=lambda kind: (sizes[kind], -KINDS.index(kind)))


def _check_kinds(sheet: Sheet, usual: str, log: Log) -> None:
    if "kind" not in sheet.cells:
        return
    for kind, rows in sheet.cells.groupby("kind").groups.items():
        if not kind or kind == usual:
            continue
        if kind in KINDS:
            log.fault(
                f"kind {kind!r} in a study of {usual}s",
                expected="images of one kind in a study",
                todo="make a study of each kind, or correct the cells",
                where=place(sheet.name, rows, "kind"),
            )
        else:
            log.fault(
                f"kind {kind!r}",
                expected=f"one of {listed(KINDS)}",
                todo=f"correct the cells, or remove these rows{did_you_mean(str(kind), KINDS)}",
                where=place(sheet.name, rows, "kind"),
            )


def image_ids(frame: pd.DataFrame, sheet: Sheet, log: Log) -> pd.Series[str]:
    """The column `image`, or the file names without suffix; where two files share one, PATIENT_NAME.

    Scans are called PATIENT_SEQUENCE where they name one: see `scan_ids`.
    """
    if "sequence" in frame and (made := scan_ids(frame)) is not None:
        return made
    if "image" in frame:
        return frame["image"].astype(str)
    stems = frame["path"].map(lambda p: Path(p.replace("\\", "/")).stem.removesuffix(".nii"))
    shared = stems.duplicated(keep=False)
    ids = stems.where(~shared, frame["patient"] + "_" + stems)
    if shared.any():
        what = f"{counted(int(shared.sum()), 'image')} share a file name with another; their id is PATIENT_NAME"
        log.find("shared-file-name", "note", what, todo="nothing, or give a column image", where=sheet.name)
    for image, rows in ids.groupby(ids).groups.items():
        if len(rows) > 1:
            log.fault(
                f"file name {str(image)!r} twice, and no column image",
                expected="an id an image, unique over all patients",
                todo="add a column image",
                where=place(sheet.name, rows, "path"),
            )
    return ids


def standard(frame: pd.DataFrame, sites: pd.Series[str], kind: str) -> pd.DataFrame:
    """The image rows with the columns every cohort of the kind has, sorted by patient and image.

    Beside patient, image, path, kind and site a slide has stain, annotation and mpp, a scan COLUMNS of `scans`.
    `sites` is patient -> site.
    """
    blank = pd.Series([None] * len(frame), index=frame.index, dtype=object)
    fixed = {
        "kind": pd.Series(kind, index=frame.index, dtype=object),
        "site": frame.get("site", blank).fillna(frame["patient"].map(sites)),
    }
    first = [*_COMMON, *COLUMNS, "site"]
    if kind == "scan":
        fixed["sequence"] = frame["sequence"].fillna(UNNAMED)
    else:
        fixed["stain"] = frame.get("stain", blank).fillna(UNKNOWN)
        fixed["annotation"] = frame.get("annotation", blank)
        first = [*_COMMON, "stain", "annotation", "site", "mpp"]
    made = frame.assign(**fixed)
    made = made[first + [c for c in made.columns if c not in first]]
    return made.sort_values(["patient", "image"]).reset_index(drop=True)


def without_image(patients: pd.DataFrame, images: pd.DataFrame, sheet: Sheet, tables: Tables, log: Log) -> pd.DataFrame:
    """The patients that have an image to predict from; the others are listed."""
    shown = at_timepoint(images, tables)
    have = patients["patient"].isin(set(shown["patient"]))
    out = patients[~have]
    when = "" if len(shown) == len(images) else f" at timepoint {tables.timepoint or BASELINE}"
    if len(out):
        log.find(
            "patient-without-image",
            "note",
            f"{counted(len(out), 'patient')} without image{when}, left out: {listed(out['patient'])}"
            f" ({rows_of(out.index)} of {sheet.name})",
            todo="add their images, or nothing",
            who=sorted(out["patient"]),
            where=place(sheet.name, out.index, "patient"),
        )
    return patients[have]
