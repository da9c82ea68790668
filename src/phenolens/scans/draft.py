"""A draft of images.csv from a folder of scans, for the user to correct; nothing of it is used before that."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from phenolens.core.errors import CohortError, ImageError
from phenolens.scans._draft_masks import IMAGE, beside, is_mask, masks_by_series
from phenolens.scans.opening import decoding
from phenolens.scans.sequences import Guess, identify, order_phases, tags_of

COLUMNS = (
    *("patient", "image", "path", "kind", "series", "sequence", "b_value", "mask", "mask_value", "confidence", "why"),
)
"""Columns of a drafted row; the last two are for the user's eye."""
_VOLUMES = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")
_SCANS = ("CT", "MR", "PT")
Row = dict[str, Any]


def draft_images(folder: Path) -> list[Row]:
    """One row a scan under the folder, sorted by patient and path, with the keys of COLUMNS.

    DICOM: a row a series, or a row a stack where a series holds several (b-values, phases); patient is PatientID.
    NIfTI, NRRD, MetaImage: a row a file; patient is the first folder below `folder`, or what of the file's name is
    neither sequence nor mask. `path` begins with `folder`. Masks are offered where a file's name or a DICOM reference
    says so. Empty values are "". Raises CohortError where there is no scan, ImageError where a file is damaged.
    """
    folder = Path(folder)
    rows = [*_dicom_rows(folder), *_volume_rows(folder)]
    if not rows:
        raise CohortError(
            f"no scan under {folder}",
            expected=f"DICOM series of {', '.join(_SCANS)}, or files ({', '.join(_VOLUMES)})",
            todo="name the folder that holds the scans",
        )
    rows.sort(key=lambda row: (row["patient"], row["path"], row["series"]))
    used: Counter[str] = Counter()
    for row in rows:
        name = re.sub(r"[^\w.+-]+", "-", f"{row['patient']}-{row['sequence']}")
        used[name] += 1
        row["image"] = name if used[name] == 1 else f"{name}-{used[name]}"
    return [{column: row[column] for column in COLUMNS} for row in rows]


def _dicom_rows(folder: Path) -> list[Row]:
    from phenolens.scans._dicom_files import quiet

    with decoding(folder), quiet():
        return _series_rows(folder)


def _series_rows(folder: Path) -> list[Row]:
    from phenolens.scans._dicom_files import series_under

    found, _ = series_under(folder)
    masks = masks_by_series(folder)
    by_patient: dict[str, list[tuple[Row, Mapping[str, Any], Guess]]] = {}
    for series in found:
        if series.modality not in _SCANS:
            continue
        patient = str(series.files[0][1].get("PatientID") or "") or _first_folder(series.files[0][0], folder)
        paths = sorted({file.parent for file, _ in series.files})
        where = series.files[0][0] if len(series.files) == 1 else paths[0] if len(paths) == 1 else _common(paths)
        for stack, tags in _stacks(series):
            row = _row(patient, where, f"{series.uid}[{stack}]" if stack else series.uid)
            row["mask"] = masks.get(series.uid, "")
            by_patient.setdefault(patient, []).append((row, tags, identify(tags)))
    rows = []
    for items in by_patient.values():
        for (row, _, _), guess in zip(items, order_phases([(t, g) for _, t, g in items]), strict=True):
            rows.append({**row, **_guessed(guess)})
    return rows


def _stacks(series: Any) -> list[tuple[str, dict[str, Any]]]:
    """The stacks of a series as they are declared, with their tags; one without declaration where it is no volume."""
    from phenolens.scans._dicom_planes import planes_of
    from phenolens.scans._dicom_stacks import stacks

    headers = dict(series.files)
    try:
        planes, _ = planes_of(series, "")
    except ImageError:
        return [("", tags_of(series.files[0][1]))]
    made = []
    for stack, members in stacks(planes):
        tags = tags_of(headers[members[0].file])
        tags |= {k: v for k, v in members[0].traits.items() if k == "b_value"}
        known = {"echo_time": "EchoTime", "time": "AcquisitionTime"}
        tags |= {tag: members[0].traits[k] for k, tag in known.items() if k in members[0].traits}
        made.append((stack, tags))
    return made


def _volume_rows(folder: Path) -> list[Row]:
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name.lower().endswith(_VOLUMES))
    files = [p for p in files if not p.name.startswith(".")]
    masks = [p for p in files if is_mask(p)]
    images = [p for p in files if not is_mask(p)]
    rows = []
    for file in images:
        patient, rest = _patient(file, folder)
        guess = identify({"SeriesDescription": rest})
        row = _row(patient, file, "")
        row["mask"] = beside(file, masks, images)
        rows.append({**row, **_guessed(guess)})
    return rows


def _patient(file: Path, folder: Path) -> tuple[str, str]:
    """The patient and the rest of the name, by the folder or, in a flat folder, by the parts that name no sequence."""
    stem = file.name.split(".")[0]
    parts = file.relative_to(folder).parts
    if len(parts) > 1 and parts[0].lower() not in IMAGE:
        return parts[0], stem.removeprefix(parts[0])
    words = re.split(r"[_\s]+", stem)
    known = [i for i, word in enumerate(words) if i and _says(word)]
    cut = known[0] if known else len(words)
    return "_".join(words[:cut]), " ".join(words[cut:])


def _says(word: str) -> bool:
    return identify({"SeriesDescription": word}).confidence > 0 or word.lower() in (*IMAGE, "mr", "ct", "pet")


def _row(patient: str, path: Path, series: str) -> Row:
    made: Row = dict.fromkeys(COLUMNS, "")
    return made | {"patient": patient, "path": str(path), "kind": "scan", "series": series}


def _guessed(guess: Guess) -> Row:
    b = "" if guess.b_value is None else guess.b_value
    return {"sequence": guess.sequence, "b_value": b, "confidence": guess.confidence, "why": guess.why}


def _first_folder(file: Path, folder: Path) -> str:
    parts = file.relative_to(folder).parts
    return parts[0] if len(parts) > 1 else folder.name


def _common(paths: Sequence[Path]) -> Path:
    """The deepest folder that holds all of several."""
    first = paths[0].parts
    same = 0
    while same < len(first) and all(p.parts[: same + 1] == first[: same + 1] for p in paths):
        same += 1
    return Path(*first[:same])
