"""A stored model on new scans, listed in a table like images.csv: masks on each scan's grid, and their sizes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image as Pillow

from phenolens.cohort.scans import UNNAMED
from phenolens.core.errors import PhenolensError
from phenolens.core.progress import Progress
from phenolens.core.store import atomic
from phenolens.features.maskfile import write_mask
from phenolens.models.predict import Stored
from phenolens.predict_scans import read_cases, refuse_encoder
from phenolens.scans.geometry import Roi, roi_of
from phenolens.scans.image import open_scan
from phenolens.scans.prepare import ScanJob
from phenolens.scans.quality import picture
from phenolens.steps.desk import write_csv
from phenolens.steps.found import SUFFIX, Found, find_on_new, sizes
from phenolens.steps.segmentation import file_name
from phenolens.steps.stored_setting import ScanSetting, scan_setting


def predict_masks(
    stored: Stored, table: Path, out: Path, *, base: Path, progress: Progress | None = None
) -> tuple[list[str], int]:
    """Find a mask on every scan of `table` (patient, path, sequence …); lines for a person, and how many refused.

    Writes predictions.csv (volume in ml, longest and short axis in mm of the largest part), masks and pictures into
    `out`. A drawn mask is not read. A patient whom the model was trained on is refused.
    """
    setting = scan_setting(stored.config, base)
    refuse_encoder(stored, setting.encoder)
    cases = read_cases(table)
    rows: list[dict[str, Any]] = []
    lines: list[str] = []
    with (progress or Progress()).step("finding masks", len(cases), "scans") as step:
        for case in cases.to_dict("records"):
            row, said = _predict(case, stored, setting, out)
            rows.append(row)
            lines += said
            step.advance()
    write_csv(out / "predictions.csv", pd.DataFrame(rows))
    return [*lines, f"written to {out / 'predictions.csv'}"], sum(bool(row["refused"]) for row in rows)


def _predict(
    case: Mapping[Any, Any], stored: Stored, setting: ScanSetting, out: Path
) -> tuple[dict[str, Any], list[str]]:
    job = _job(case)
    name = Path(job.path).name
    row: dict[str, Any] = {"patient": job.patient, "image": job.image, "sequence": job.sequence, "refused": ""}
    if job.sequence not in setting.sequences:
        known = ", ".join(setting.sequences)
        row["refused"] = f"sequence {job.sequence!r}, which the model does not know ({known})"
        return row, [f"{job.patient}: REFUSED: {name}: {row['refused']}"]
    try:
        found, frame = find_on_new(job, stored, setting)
    except PhenolensError as error:
        return row | {"refused": str(error)}, [
            f"{job.patient}: REFUSED: {name}: found {error.found}; expected {error.expected}; {error.todo}"
        ]
    roi = roi_of(found, frame)
    path = out / "masks" / file_name(job.image, SUFFIX)
    with atomic(path) as part:
        write_mask(part, found, frame)
    row |= {**sizes(roi), "mask": f"masks/{path.name}", "picture": _picture(job, roi, found, out)}
    if roi is None:
        return row | {"flag": "nothing found"}, [f"{job.patient}: {name}: nothing found"]
    shown = f"{row['volume_ml']:.3g} ml, {row['long_mm']:.1f} mm across"
    return row | {"flag": ""}, [f"{job.patient}: {name}: {shown}, in {row['parts']} part{'s' * (row['parts'] != 1)}"]


def _picture(job: ScanJob, roi: Roi | None, found: Found, out: Path) -> str:
    """Three planes with the outline, relative to `out`; empty where nothing was found."""
    if roi is None:
        return ""
    path = out / "pictures" / file_name(job.image, ".jpg")
    with open_scan(job.path, patient=job.patient, image=job.image, series=job.series) as scan:
        drawn = picture(scan, roi, unit=str(scan.header.facts.get("unit", "")), found=found)
    with atomic(path) as part:
        Pillow.fromarray(drawn).save(part, format="JPEG", quality=88)
    return f"pictures/{path.name}"


def _job(case: Mapping[Any, Any]) -> ScanJob:
    def given(column: str) -> Any:
        value = case.get(column)
        return None if value is None or pd.isna(value) or value == "" else value

    return ScanJob(
        patient=str(case["patient"]),
        image=case["image"],
        path=case["path"],
        sequence=given("sequence") or UNNAMED,
        series=given("series"),
    )
