"""A stored model on new slides: outlines as QuPath opens them, their areas, and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image as Pillow

from phenolens.core.errors import PhenolensError
from phenolens.core.progress import Progress
from phenolens.core.store import Store, atomic
from phenolens.models.predict import Stored
from phenolens.predict_scans import refuse_encoder
from phenolens.slides.contour import compared, save_jpeg
from phenolens.slides.prepare import SlideJob, load_prepared
from phenolens.slides.stain import refuse_stain
from phenolens.steps.desk import write_csv
from phenolens.steps.duplicates import Seen, told_of
from phenolens.steps.found_slides import SUFFIX, found_on_new, outline_sizes, write_found
from phenolens.steps.segmentation import file_name
from phenolens.steps.stored_setting import SlideSetting, slide_setting


def predict_outlines(
    stored: Stored, jobs: Sequence[SlideJob], out: Path, *, base: Path, model: Path, progress: Progress | None = None
) -> tuple[list[str], int]:
    """Find the outline on every slide; lines for a person, and how many were refused.

    Writes predictions.csv (area in mm2, number of pieces), masks/IMAGE.geojson and pictures into `out`. A drawn
    annotation is not read. A patient whom the model was trained on is refused.
    """
    setting, target = slide_setting(stored.config, base), str(stored.config["context"]["outline"])
    refuse_encoder(stored, setting.encoder)
    rows: list[dict[str, Any]] = []
    lines: list[str] = []
    with (progress or Progress()).step("finding masks", len(jobs), "slides") as step:
        for job in jobs:
            row = {"image": Path(job.path).name, "refused": ""}
            try:
                row, said = _predict(row, job, stored, setting, target, (out, model))
            except PhenolensError as error:
                row |= {"refused": str(error)}
                said = [f"{row['image']}: REFUSED: found {error.found}; expected {error.expected}; {error.todo}"]
            rows.append(row)
            lines += said
            step.advance()
    write_csv(out / "predictions.csv", pd.DataFrame(rows))
    return [*lines, f"written to {out / 'predictions.csv'}"], sum(bool(row["refused"]) for row in rows)


def _predict(
    row: dict[str, Any], job: SlideJob, stored: Stored, setting: SlideSetting, target: str, places: tuple[Path, Path]
) -> tuple[dict[str, Any], list[str]]:
    out, model = places
    found, key, bounds = found_on_new(job, stored, setting, out / "artefacts")
    store = Store(out / "artefacts")
    made = load_prepared(store, key)
    thumbnail = np.asarray(Pillow.open(store.path("thumbnail", key, ".jpg")).convert("RGB"))
    refuse_stain(thumbnail, made.image)
    mask, picture = (out / folder / file_name(job.image, s) for folder, s in (("masks", SUFFIX), ("pictures", ".jpg")))
    write_found(mask, found, target, bounds)
    with atomic(picture) as part:
        save_jpeg(compared(thumbnail, made.frame, None, found), part)
    seen = Seen(patient=job.patient, image=job.image, kind="", look=made.facts["look"])
    notes = [*told_of(model, stored, seen), *made.notes]
    size = outline_sizes(found, made.frame)
    row |= {**size, "mask": f"masks/{mask.name}", "picture": f"pictures/{picture.name}", "notes": "; ".join(notes)}
    if not size["parts"]:
        return row | {"flag": "nothing found"}, [f"{row['image']}: nothing found"]
    pieces = f"{size['parts']} piece{'s' * (size['parts'] != 1)}"
    shown = f"{row['image']}: {target} of {size['area_mm2']:.3g} mm2 in {pieces}"
    return row | {"flag": ""}, [shown, *(f"  note: {note}" for note in notes)]
