"""What is predicted: the units of a cohort, their labels and the regions they are read from."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import pandas as pd

from phenolens.cohort.asked import Tables
from phenolens.cohort.faults import counted, did_you_mean, listed
from phenolens.cohort.followup import strata
from phenolens.cohort.lesions import current, owners, unit_ids
from phenolens.cohort.reading import as_text
from phenolens.cohort.scans import at_timepoint
from phenolens.core.errors import CohortError
from phenolens.core.types import Cohort, Finding

REGIONS = ("unit_id", "patient", "image", "sequence", "path", "series", "mask", "mask_value", "mask_name", "drawn_on")
_Row = Mapping[Hashable, Any]
_LEAST = 3
"""Patients of a site that make a stratum."""


def labels(cohort: Cohort, tables: Tables) -> pd.Series[str]:
    """Patient -> class. Where the label stands by image or lesion: patient -> its classes joined by '+', a stratum.

    With a follow-up: patient -> censored or event. Where nothing in a table is predicted: patient -> site, those of
    sites with fewer than three patients together.
    """
    if not tables.target:
        return _strata(cohort)
    if tables.event is not None:
        return strata(cohort.patients, tables)
    by_unit = unit_labels(cohort, tables)
    if by_unit is None:
        return cohort.patients[tables.target].map(as_text).rename(tables.target)
    owner = owners(cohort)
    joined = by_unit.groupby([owner[str(unit)] for unit in by_unit.index]).agg(
        lambda names: "+".join(sorted(set(names)))
    )
    return joined.rename_axis("patient").rename(tables.target)


def _strata(cohort: Cohort) -> pd.Series[str]:
    sites = cohort.patients["site"].map(str)
    strata: pd.Series[str] = sites.where(sites.map(sites.value_counts()) >= _LEAST, "other").rename("site")
    return strata


def unit_labels(cohort: Cohort, tables: Tables) -> pd.Series[str] | None:
    """Unit id -> class where the label stands by image or lesion, else None."""
    if tables.unit == "patient" or not tables.target:
        return None
    if tables.unit == "image":
        return at_timepoint(cohort.images, tables).set_index("image")[tables.target].map(as_text)
    rows = lesions(cohort, tables)
    return rows.set_index("unit_id")["truth"].rename(tables.target)


def lesions(cohort: Cohort, tables: Tables) -> pd.DataFrame:
    """One row a lesion at the timepoint: unit_id, patient, lesion, truth and the other columns of its first row."""
    if cohort.lesions is None:
        todo = "set task.unit: lesion and name the lesions table"
        raise CohortError("a cohort without lesions", expected="one read with its lesions table", todo=todo)
    rows = current(cohort.lesions, cohort.images, tables)
    rows = rows.drop_duplicates(["patient", "lesion"]).reset_index(drop=True)
    rows.insert(0, "unit_id", unit_ids(rows))
    rows.insert(3, "truth", rows[tables.target].map(as_text))
    return rows


def units(cohort: Cohort, tables: Tables) -> pd.DataFrame:
    """One row a unit of prediction: unit_id, patient, site, truth, images (a tuple of image ids); time and event.

    A unit is a patient with all its images, one image, or a lesion with all images of its patient; unit_id is the id
    of that patient or image, or PATIENT/LESION. Scans of other timepoints than the one asked for belong to no unit.
    """
    shown = at_timepoint(cohort.images, tables)
    if tables.unit == "image":
        made = shown[["image", "patient", "site"]].rename(columns={"image": "unit_id"})
        single = pd.Series([(i,) for i in shown["image"]], index=shown.index, dtype=object)
        truth = shown[tables.target].map(as_text) if tables.target else ""
        return made.assign(truth=truth, images=single).reset_index(drop=True)
    images = shown.groupby("patient")["image"].agg(tuple)
    if tables.unit == "lesion":
        rows = lesions(cohort, tables)[["unit_id", "patient", "truth"]]
        rows = rows[rows["patient"].isin(cohort.patients.index)]
        if tables.images is not None:
            rows = rows[rows["patient"].isin(images.index)]
        rows.insert(2, "site", rows["patient"].map(cohort.patients["site"]))
        return rows.assign(images=_tuples(images, rows["patient"], rows.index)).reset_index(drop=True)
    rows = cohort.patients
    if tables.images is not None:
        rows = rows.loc[rows.index.isin(images.index)]
    truth = labels(cohort, tables).reindex(rows.index)
    frame = pd.DataFrame({"site": rows["site"], "truth": truth, "images": _tuples(images, rows.index, rows.index)})
    frame.insert(0, "patient", rows.index)
    frame.insert(0, "unit_id", rows.index)
    if tables.time is not None and tables.event is not None:
        frame = frame.assign(time=rows[tables.time].to_numpy(), event=rows[tables.event].to_numpy())
    return frame.reset_index(drop=True)


def regions(cohort: Cohort, tables: Tables, *, mask_from: str | None = None) -> pd.DataFrame:
    """One row a unit and image of it, in the order of `units`: which region of which scan is read (columns REGIONS).

    The mask of a row is the image's own, or that of the patient's image of sequence `mask_from`. For a lesion it is
    that of the lesion's row for this image, else of its row without image, else of its row for another image; a row
    without a mask means the value (or name) it gives in the image's mask. `drawn_on` is the other image that a mask was
    drawn on, else None. mask, mask_value (a whole number) and mask_name are None where there is none. Raises
    CohortError where no image is of the sequence `mask_from`.
    """
    shown = at_timepoint(cohort.images, tables)
    _check_mask_from(shown, mask_from)
    by_image = {str(row["image"]): row for row in shown.to_dict("records")}
    drawn: dict[str, list[_Row]] = {}
    if tables.unit == "lesion" and cohort.lesions is not None:
        rows = current(cohort.lesions, cohort.images, tables)
        for unit, row in zip(unit_ids(rows), rows.to_dict("records"), strict=True):
            drawn.setdefault(unit, []).append(row)
    lent: dict[str, list[_Row]] = {}
    for row in by_image.values():
        if row["sequence"] == mask_from and row["mask"] is not None:
            lent.setdefault(row["patient"], []).append(row)
    made = []
    for unit, patient, images in units(cohort, tables)[["unit_id", "patient", "images"]].itertuples(
        index=False, name=None
    ):
        for row in (by_image[image] for image in images):
            region = _region(row, drawn.get(unit), by_image, lent.get(patient, []))
            made.append({"unit_id": unit, **{c: row[c] for c in REGIONS[1:6]}, **region})
    return pd.DataFrame(made, columns=list(REGIONS), dtype=object)


def _region(
    row: _Row, drawn: Sequence[_Row] | None, by_image: Mapping[str, _Row], source: Sequence[_Row]
) -> dict[str, Any]:
    """Mask, value, name and where it was drawn, for one image of one unit; `drawn` are the rows of its lesion."""
    nowhere: Sequence[_Row] = [{"image": None, "mask": None, "mask_value": None, "mask_name": None}]
    own = drawn or nowhere
    here = [r for r in own if r["image"] == row["image"]]
    anywhere = [r for r in own if r["image"] is None]
    for said in (*here, *anywhere):
        if said["mask"] is not None:
            return _mask(said["mask"], said)
        if row["mask"] is not None:
            return _mask(row["mask"], said if drawn else row)
    for said in own:
        on = by_image.get(str(said["image"]))
        if on is not None and on is not row and (said["mask"] or on["mask"]) is not None:
            return _mask(said["mask"] or on["mask"], said, drawn_on=on["image"])
    others = [r for r in source if r["image"] != row["image"]]
    if len(others) == 1:
        return _mask(others[0]["mask"], own[0] if drawn else others[0], drawn_on=others[0]["image"])
    return _mask(None, own[0] if drawn else row)


def _mask(path: Any, said: _Row, *, drawn_on: Any = None) -> dict[str, Any]:
    return {"mask": path, "mask_value": said["mask_value"], "mask_name": said["mask_name"], "drawn_on": drawn_on}


def _check_mask_from(images: pd.DataFrame, mask_from: str | None) -> None:
    have = sorted(set(images.get("sequence", ())))
    if mask_from is not None and mask_from not in have:
        raise CohortError(
            f"no image of the sequence {mask_from!r}, which scan.mask_from names",
            expected=f"one of {listed(have)}",
            todo=f"correct scan.mask_from{did_you_mean(mask_from, have)}",
            where="images table",
        )


def asked_sequences(cohort: Cohort, tables: Tables, asked: Mapping[str, Sequence[str]]) -> list[Finding]:
    """Findings on the sequences that a study names, by the setting that names them.

    An error for each that no scan of the timepoint has: every patient would be taken to lack it. A note on the scans of
    other sequences than those of `scan.sequences`, which nothing reads.
    """
    shown = at_timepoint(cohort.images, tables)
    have = sorted(set(shown["sequence"]))
    made = [
        Finding(
            rule="sequence-nowhere",
            severity="error",
            what=f"{setting} names {name!r}, which no scan is of; the scans are {listed(have)}",
            todo=f"correct {setting}, or the column sequence of the images table{did_you_mean(name, have)}",
            where=setting,
        )
        for setting, names in asked.items()
        for name in names
        if name not in have
    ]
    wanted = asked.get("scan.sequences", ())
    other = shown[~shown["sequence"].isin(wanted)]
    if len(wanted) and len(other) and not made:
        counts = ", ".join(f"{name}: {n}" for name, n in other["sequence"].value_counts().sort_index().items())
        what = f"{counted(len(other), 'scan')} of sequences that scan.sequences does not name ({counts})"
        todo = "nothing, or name them there"
        made.append(Finding(rule="sequence-not-asked", severity="note", what=what, todo=todo, where="scan.sequences"))
    return made


def _tuples(images: pd.Series[Any], patients: Any, index: pd.Index[Any]) -> pd.Series[Any]:
    """The image ids of each of these patients, none where there are none."""
    held = images.to_dict()
    return pd.Series([held.get(p, ()) for p in patients], index=index, dtype=object)
