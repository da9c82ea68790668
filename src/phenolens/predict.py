"""A stored model on new slides: probabilities, a map, and a refusal when the slide does not fit the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image as Pillow

from phenolens.core.errors import ModelError, PhenolensError
from phenolens.core.progress import Progress
from phenolens.core.registry import EXPLAINERS
from phenolens.core.store import Store, atomic, canonical, fingerprint
from phenolens.core.tileset import TileSet
from phenolens.core.types import Bag, BagSource, Example, Part, TileSource
from phenolens.explain.draw import overlay
from phenolens.explain.heatmaps import condensed, heatmaps
from phenolens.features.extract import ExtractJob, encoder_identity, extract, stored_slide
from phenolens.models.predict import Stored, check_fit, load_model
from phenolens.predict_masks import predict_masks
from phenolens.predict_outlines import predict_outlines
from phenolens.predict_scans import predict_scans
from phenolens.sections import SEGMENTATION
from phenolens.slides.prepare import Prepared, SlideJob, load_prepared, prepare
from phenolens.slides.stain import refuse_stain
from phenolens.slides.tiles import draw
from phenolens.steps.desk import write_csv
from phenolens.steps.duplicates import Seen, told_of
from phenolens.steps.guarded import guarded
from phenolens.steps.stored_setting import SlideSetting, slide_setting, study_folder


@dataclass(frozen=True)
class Predicted:
    """Lines for a person, and how many images were refused."""

    lines: tuple[str, ...]
    refused: int


def setting_of(stored: Stored, base: Path) -> SlideSetting:
    """The settings in a model's config; a model fitted on features made elsewhere cannot read slides."""
    context = stored.config["context"]
    chosen = context.get("encoder_choice")
    if chosen is None:
        raise ModelError(
            f"a model fitted on features made elsewhere ({context.get('features_folder') or 'a table'})",
            expected="a model whose features phenolens made",
            todo="fit the study with features: {encoder: ...} to predict slides",
        )
    made = slide_setting(stored.config, base)
    return replace(made, encoder=replace(made.encoder, params=_placed(chosen["params"], base)))


def _placed(params: dict[str, Any], base: Path) -> dict[str, Any]:
    """The encoder's parameters with its weight file found from the study's folder, as study.yaml names it."""
    weights = params.get("weights")
    return {**params, "weights": str((base / weights).resolve())} if isinstance(weights, str) else params


def predict_images(
    model: Path,
    images: Sequence[Path],
    out: Path,
    *,
    mpp: float | None = None,
    annotation: Path | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Predicted:
    """Predict each image as one case; writes predictions.csv and maps into `out`; what does not fit is refused."""
    progress = progress or Progress()
    base = study_folder(model)
    stored = load_model(model, base=base)
    if "scan" in stored.config["context"]:
        return Predicted(*_scans(stored, images, out, base, model, progress))
    jobs = [
        SlideJob(
            patient=name,
            image=name,
            path=str(path.resolve()),
            annotation=None if annotation is None else str(annotation.resolve()),
            mpp=mpp,
        )
        for path, name in zip(images, _names(images), strict=True)
    ]
    if stored.config["task"]["name"] == SEGMENTATION:
        said, refused = predict_outlines(stored, jobs, out, base=base, model=model, progress=progress)
        return Predicted(tuple(said), refused)
    setting = setting_of(stored, base)
    _refuse_encoder(stored, setting, model)
    rows: list[dict[str, Any]] = []
    lines: list[str] = []
    for path, job in zip(images, jobs, strict=True):
        try:
            row, said = _predict_one(job, stored, setting, out, model, workers, progress)
        except PhenolensError as error:
            row = {"image": path.name, "refused": str(error)}
            said = [f"{path.name}: REFUSED: found {error.found}; expected {error.expected}; {error.todo}"]
        rows.append(row)
        lines += said
    write_csv(out / "predictions.csv", pd.DataFrame(rows))
    refused = sum("refused" in row for row in rows)
    return Predicted((*lines, f"written to {out / 'predictions.csv'}"), refused)


def _scans(
    stored: Stored, tables: Sequence[Path], out: Path, base: Path, model: Path, progress: Progress
) -> tuple[tuple[str, ...], int]:
    """A model of scans reads one table of images: which sequence a file is, and where its mask lies, stand there."""
    if len(tables) != 1 or tables[0].suffix.lower() not in (".csv", ".xlsx", ".parquet"):
        raise ModelError(
            f"{', '.join(t.name for t in tables[:5])} for a model of scans",
            expected="one table with the columns patient, path, sequence and mask",
            todo="list the scans as in the study's images.csv, and give that table",
        )
    if stored.config["task"]["name"] == SEGMENTATION:
        lines, refused = predict_masks(stored, tables[0], out, base=base, progress=progress)
        return tuple(lines), refused
    lines, refused = predict_scans(stored, tables[0], out, base=base, model=model, progress=progress)
    return tuple(lines), refused


def _names(images: Sequence[Path]) -> list[str]:
    """A name for each image, its file's without suffix; where that has come before, with a number."""
    stems = [path.stem for path in images]
    counts = [stems[: i + 1].count(stem) for i, stem in enumerate(stems)]
    return [stem if n == 1 else f"{stem}-{n}" for stem, n in zip(stems, counts, strict=True)]


def _refuse_encoder(stored: Stored, setting: SlideSetting, model: Path) -> None:
    """Stop before any slide is read when this machine's encoder is not the one of the training."""
    found, wanted = canonical(encoder_identity(setting.encoder)), canonical(stored.config["context"]["encoder"])
    if found != wanted:
        raise ModelError(
            f"the encoder {found}",
            expected=f"the encoder of the training, {wanted}",
            todo="install the phenolens and the weights the study was run with, or run the study again",
            where=str(model),
        )


def _predict_one(
    job: SlideJob,
    stored: Stored,
    setting: SlideSetting,
    out: Path,
    model: Path,
    workers: int | None,
    progress: Progress,
) -> tuple[dict[str, Any], list[str]]:
    region = setting.region
    notes = []
    if region.annotation is not None and job.annotation is None:
        region = replace(region, annotation=None, min_annotation_share=None)
        inside = f"the model was fitted inside '{setting.region.annotation}' annotations"
        notes.append(f"{inside}; none was given, so all tissue is read")
    root = out / "artefacts"
    store = Store(root)
    key = prepare(job, region, setting.tiles, setting.quality, root)
    thumbnail = np.asarray(Pillow.open(store.path("thumbnail", key, ".jpg")).convert("RGB"))
    made = load_prepared(store, key)
    refuse_stain(thumbnail, made.image)
    notes += told_of(model, stored, Seen(patient=job.patient, image=job.image, kind="", look=made.facts["look"]))
    source = _features(job, key, made, setting, root, workers, progress)
    held = source.load()
    check_fit(stored.config, encoder_identity(setting.encoder), held, tiles=asdict(setting.tiles))
    example = Example(
        patient=job.patient,
        unit_id=job.image,
        parts=(Part(name="slide", image=job.image, source=source),),
        covariates={"site": "unknown"},
    )
    p = stored.predict([example])[0]
    pictures = [] if stored.survives else _maps(job, stored, example, thumbnail, int(p.argmax()), out)
    told, said, shown = guarded(stored, example, p)
    row: dict[str, Any] = {"image": Path(job.path).name, **told}
    row |= {"tiles": (count := _count(held)), "maps": " ".join(pictures), "notes": "; ".join([*notes, *made.notes])}
    first = f"{row['image']}: {shown} from {count} tiles"
    return row, [first, *said, *(f"  note: {n}" for n in notes)]


def _features(
    job: SlideJob, key: str, made: Prepared, setting: SlideSetting, root: Path, workers: int | None, progress: Progress
) -> BagSource | TileSource:
    content = fingerprint(Path(job.path))
    rows = draw({job.image: len(made.xy)}, setting.tiles.max_per_patient, seed=setting.tiles.seed, patient=content)
    ask = ExtractJob(slide=job, prepared=key, rows=tuple(int(r) for r in rows[job.image]), stain=setting.stain)
    outcome = next(iter(extract([ask], setting.encoder, root, workers=workers, progress=progress)))
    return stored_slide(Store(root), outcome.unwrap(), setting.encoder)


def _count(held: Bag | TileSet) -> int:
    return len(held) if isinstance(held, TileSet) else len(held.x)


def _maps(
    job: SlideJob,
    stored: Stored,
    example: Example,
    thumbnail: np.ndarray[Any, Any],
    target: int,
    out: Path,
) -> list[str]:
    classes = stored.classes
    fitted, asked = condensed(stored.fitted, example)
    written = []
    for method in EXPLAINERS.names():
        explainer = EXPLAINERS.create(method)
        on_bags = getattr(explainer, "reads", "bag") == "bag"
        if not on_bags or (explainer.needs is not None and not hasattr(fitted, explainer.needs)):
            continue
        (heatmap,) = heatmaps(fitted, asked, method, target, classes[target])
        path = out / "maps" / f"{job.image}-{method}.jpg"
        with atomic(path) as part:
            picture = overlay(thumbnail, heatmap, signed=explainer.signed)
            Pillow.fromarray(picture).save(part, format="JPEG", quality=88)
        written.append(f"maps/{path.name}")
    return written
