"""From one slide file to its region and tiles: the first artefact of every slide, with its pictures and its quality."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from phenolens.core.errors import AnnotationError, ImageError, StoreError
from phenolens.core.store import Store, canonical, fingerprint, key_of
from phenolens.core.types import Frame, Region, Rgb
from phenolens.slides.contour import contour, save_jpeg, small
from phenolens.slides.drawn import annotation_of, refuse_other
from phenolens.slides.image import Slide, open_slide
from phenolens.slides.look import VERSION as LOOKS
from phenolens.slides.look import look
from phenolens.slides.opening import decoding, formats_for
from phenolens.slides.quality import QualitySettings, judge, measure
from phenolens.slides.region import RegionSettings, find_tissue, mm2, polygons, thumbnail_px, whole
from phenolens.slides.tiles import Grid, TileSettings, cut

VERSION = 2


class ExcludedError(ImageError):
    """A sound slide that the study's own rule leaves out (min_annotation_share); `share` is what was measured."""

    by_rule = True

    def __init__(self, found: str, *, expected: str, todo: str, where: str = "", share: float) -> None:
        super().__init__(found, expected=expected, todo=todo, where=where)
        self.share = share

    def __reduce__(self) -> tuple[Any, ...]:
        make = partial(ExcludedError, expected=self.expected, todo=self.todo, where=self.where, share=self.share)
        return make, (self.found,)


@dataclass(frozen=True, kw_only=True)
class SlideJob:
    """One slide to prepare: ids, path, QuPath GeoJSON or None, declared um per px or None. Can go to a worker.

    `mask_by` is the key of the fit that found the annotation, and `mask_of` the fingerprint of the slide it was found
    on; None where it was drawn.
    """

    patient: str
    image: str
    path: str
    annotation: str | None = None
    mpp: float | None = None
    mask_by: str | None = None
    mask_of: str | None = None


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What `prepare` found: region and tissue are MultiPolygons in level-0 px of frame; xy (n, 2) int64 are the corners
    of the kept tiles and side their side, both in level-0 px; facts holds tissue_mm2, annotation_share, quality and
    look (`core.look`, of the thumbnail's optical density). outline is the class that was drawn: as it was drawn that of
    region.outline, else the region itself where it is annotated, else None.
    """

    patient: str
    image: str
    frame: Frame
    format: str
    region: Region
    tissue: Any
    xy: npt.NDArray[np.int64]
    side: float
    outline: Any | None
    settings: Mapping[str, Any]
    facts: Mapping[str, Any]
    notes: tuple[str, ...]

    @property
    def tissue_mm2(self) -> float:
        return float(self.facts["tissue_mm2"])

    @property
    def annotation_share(self) -> float | None:
        """Share of the tissue inside the annotation; None where the study uses no annotation."""
        share = self.facts["annotation_share"]
        return None if share is None else float(share)

    @property
    def quality(self) -> dict[str, float]:
        return dict(self.facts["quality"])


@dataclass(frozen=True, kw_only=True)
class _Settings:
    region: RegionSettings
    tiles: TileSettings
    quality: QualitySettings

    def identity(self) -> dict[str, Any]:
        """What changes the artefact: all but how many tiles a patient is allowed, which is drawn later."""
        tiles = {k: v for k, v in asdict(self.tiles).items() if k not in ("max_per_patient", "seed")}
        return {"region": self.region.identity(), "tiles": tiles, "quality": asdict(self.quality)}


def prepared_key(job: SlideJob, region: RegionSettings, tiles: TileSettings, quality: QualitySettings) -> str:
    """The key `prepare` uses; its contour and thumbnail lie under it even where the slide was refused.

    Made of the version, ids, settings, declared mpp and the content of slide and annotation; never of a path.
    """
    settings = _Settings(region=region, tiles=tiles, quality=quality)
    return key_of(_identity(job, settings))


def prepare(job: SlideJob, region: RegionSettings, tiles: TileSettings, quality: QualitySettings, root: Path) -> str:
    """Find tissue, read the annotation, cut tiles, judge quality; write prepared, contour and thumbnail under one key.

    Returns the key; an existing artefact is taken as it is. Raises ExcludedError where the study's rule leaves the
    slide out, AnnotationError or ImageError where it cannot be used. Pictures are written as far as it came.
    """
    settings = _Settings(region=region, tiles=tiles, quality=quality)
    identity = _identity(job, settings)
    key, store = key_of(identity), Store(root)
    if store.has("prepared", key, ".json"):
        return key
    try:
        refuse_other(job, identity["slide"])
        with open_slide(job.path, patient=job.patient, image=job.image, mpp=job.mpp) as slide:
            content = _prepare(slide, job, settings, _Pictures(store, key, identity))
    except ImageError as fault:
        fault.where = fault.where or job.path
        if job.mask_by:
            fault.found += " (the annotation is a predicted one)"
        raise
    with store.write("prepared", key, ".json", identity) as part:
        part.write_text(canonical(content) + "\n", encoding="utf-8")
    return key


def load_prepared(store: Store, key: str) -> Prepared:
    """Read what `prepare` wrote. Raises StoreError where there is none."""
    path = store.path("prepared", key, ".json")
    if not path.exists():
        raise StoreError(f"no prepared slide {key}", expected="one written by prepare", todo="run the study again")
    made = json.loads(path.read_text("utf-8"))
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in made["frame"].items()}
    frame = Frame(**fields)
    area = shapely.from_geojson(json.dumps(made["region"]["area"]))
    told = made.get("outline")
    annotated = area if made["settings"]["region"]["annotation"] is not None else None
    return Prepared(
        patient=made["patient"],
        image=made["image"],
        frame=frame,
        format=made["format"],
        region=Region(area=area, frame=frame, label=made["region"]["label"], source=made["region"]["source"]),
        tissue=shapely.from_geojson(json.dumps(made["tissue"])),
        xy=np.asarray(made["xy"], dtype=np.int64).reshape(-1, 2),
        side=made["side"],
        outline=annotated if told is None else shapely.from_geojson(json.dumps(told)),
        settings=made["settings"],
        facts=made["facts"],
        notes=tuple(made["notes"]),
    )


@dataclass(frozen=True)
class _Pictures:
    """Writes the two pictures of one key."""

    store: Store
    key: str
    identity: Mapping[str, Any]

    def thumbnail(self, thumbnail: Rgb) -> None:
        with self.store.write("thumbnail", self.key, ".jpg", self.identity) as part:
            save_jpeg(small(thumbnail), part)

    def contour(self, *drawn: Any) -> None:
        with self.store.write("contour", self.key, ".jpg", self.identity) as part:
            save_jpeg(contour(*drawn), part)


def _identity(job: SlideJob, settings: _Settings) -> dict[str, Any]:
    used = job.annotation if settings.region.drawn is not None else None
    with decoding(job.path):
        slide, drawn = fingerprint(Path(job.path)), fingerprint(Path(used)) if used else None
    return {
        "plugin": "prepare",
        "version": [VERSION, LOOKS],
        "patient": job.patient,
        "image": job.image,
        "mpp": job.mpp,
        "slide": slide,
        "formats": formats_for(Path(job.path)),
        "annotation": drawn,
        **({} if job.mask_by is None else {"mask_by": job.mask_by}),
        **settings.identity(),
    }


def _prepare(slide: Slide, job: SlideJob, settings: _Settings, pictures: _Pictures) -> dict[str, Any]:
    frame = slide.frame
    thumbnail = slide.thumbnail(thumbnail_px(frame))
    pictures.thumbnail(thumbnail)
    tissue = (find_tissue if settings.region.tissue == "otsu" else whole)(thumbnail, frame)
    annotation = annotation_of(slide, job, settings.region)
    inside = tissue.area if annotation is None else polygons(shapely.intersection(tissue.area, annotation.area))
    share = None if annotation is None else round(inside.area / tissue.area.area, 6)
    area = tissue.area if settings.region.annotation is None else inside
    drawn = (thumbnail, frame, tissue.area, None if annotation is None else annotation.area)
    words = f"{mm2(tissue.area, frame):.3g} mm2 tissue" + ("" if share is None else f", {share:.0%} of it annotated")
    try:
        _check_share(share, settings.region)
        grid = cut(area, frame, settings.tiles, settings.region.min_overlap)
    except ImageError as fault:
        pictures.contour(*drawn, np.empty((0, 2), np.int64), 1.0, f"{words}; {_why(fault)}")
        raise
    pictures.contour(*drawn, grid.xy, grid.side, f"{words}; {len(grid.xy)} tiles of {grid.side * frame.mpp:.4g} um")
    figures = measure(slide, thumbnail, tissue, grid.xy, grid.side)
    judge(figures, settings.quality, job.path)
    region = {"area": area, "label": settings.region.annotation or "tissue", "source": _source(settings.region)}
    facts: dict[str, Any] = {"tissue_mm2": figures["tissue_mm2"], "annotation_share": share, "quality": figures}
    facts["look"] = look(thumbnail)
    notes = (*slide.notes, *(annotation.notes if annotation else ()), *grid.notes)
    rest: dict[str, Any] = {"settings": settings.identity(), "facts": facts, "notes": notes}
    if annotation is not None and settings.region.outline is not None:
        rest["outline"] = json.loads(shapely.to_geojson(annotation.area))
    return _content(slide, region, tissue.area, grid, rest)


def _content(
    slide: Slide, region: Mapping[str, Any], tissue: Any, grid: Grid, rest: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "patient": slide.patient,
        "image": slide.image,
        "frame": asdict(slide.frame),
        "format": slide.format,
        "region": {**region, "area": json.loads(shapely.to_geojson(region["area"]))},
        "tissue": json.loads(shapely.to_geojson(tissue)),
        "xy": grid.xy.tolist(),
        "side": grid.side,
        **rest,
    }


def _check_share(share: float | None, settings: RegionSettings) -> None:
    if share is None:
        return
    if share == 0:
        raise AnnotationError(
            f"annotation '{settings.drawn}' that holds no tissue",
            expected="an annotation over the tissue",
            todo="look at the contour; check that it was drawn on this slide, and region.annotation_origin",
        )
    if settings.min_annotation_share is not None and share < settings.min_annotation_share:
        raise ExcludedError(
            f"{share:.1%} of the tissue annotated as '{settings.annotation}'",
            expected=f"at least {settings.min_annotation_share:.1%} (region.min_annotation_share)",
            todo="nothing: the study's rule leaves this slide out",
            share=share,
        )


def _why(fault: ImageError) -> str:
    return "left out by the study's rule" if isinstance(fault, ExcludedError) else "no tiles"


def _source(settings: RegionSettings) -> str:
    return settings.tissue if settings.annotation is None else f"{settings.tissue} and annotation"
