"""One outline that a stored model finds on one slide: written as QuPath writes them, measured, compared and drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
import shapely
from PIL import Image as Pillow

from phenolens.core.registry import Choice
from phenolens.core.store import Store, canonical, fingerprint, key_of
from phenolens.core.types import Frame, Rgb
from phenolens.models.predict import Stored, load_fit, load_model
from phenolens.models.windows import called, stitch
from phenolens.slides.annotation import write_annotation
from phenolens.slides.contour import compared, save_jpeg
from phenolens.slides.image import Slide, open_slide
from phenolens.slides.normalise import Method, normaliser, sample_of
from phenolens.slides.prepare import Prepared, SlideJob, load_prepared, prepare
from phenolens.slides.raster import inside, outline_of, without_small
from phenolens.slides.region import mm2, polygons, slide_box
from phenolens.slides.tiles import check_mpp
from phenolens.steps.found import refuse_seen
from phenolens.steps.stored_setting import SlideSetting

if TYPE_CHECKING:
    from phenolens.models.tile_segment import FittedTileSegmenter

VERSION = 1
SUFFIX = ".geojson"
_KINDS = (("masks", SUFFIX), ("measured", ".json"), ("overlays", ".jpg"))
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """A slide as a grid of pixels of `mpp` um: `step` level-0 px a pixel, and the shape (h, w)."""

    frame: Frame
    mpp: float

    @property
    def step(self) -> float:
        return self.mpp / self.frame.mpp

    @property
    def shape(self) -> tuple[int, int]:
        width, height = (int(np.ceil(size / self.step)) for size in self.frame.shape)
        return height, width

    def inside(self, area: Any) -> Mask:
        """Which pixels lie in an area in level-0 px."""
        return inside(area, (0.0, 0.0), self.step, self.shape)


@dataclass(frozen=True, kw_only=True)
class SlideFoundJob:
    """A slide with a drawn outline, the key of what was prepared, the fit that is to find the outline, and the name of
    the class."""

    slide: SlideJob
    prepared: str
    fit: str
    task: Choice
    target: str
    base: Path | None = None


def find_on_slide(job: SlideFoundJob, root: Path) -> str:
    """Find, measure and store the outline; returns the key of the artefacts `masks`, `overlays` and `measured`.

    Raises LeakError where the fit saw the patient: its outline of this patient would be no prediction.
    """
    store = Store(root)
    identity = {
        "artefact": "outline",
        "version": VERSION,
        "fit": job.fit,
        "prepared": job.prepared,
        "task": job.task.identity(),
        "target": job.target,
    }
    key = key_of(identity)
    if all(store.has(kind, key, suffix) for kind, suffix in _KINDS):
        return key
    stored = load_fit(store, job.fit, base=job.base)
    refuse_seen(stored, job.slide.patient)
    prepared = load_prepared(store, job.prepared)
    with _opened(job.slide) as slide:
        found, bounds = found_on(slide, prepared, stored), slide.bounds
    thumbnail = np.asarray(Pillow.open(store.path("thumbnail", job.prepared, ".jpg")).convert("RGB"))
    with store.write("overlays", key, ".jpg", identity) as part:
        save_jpeg(compared(thumbnail, prepared.frame, prepared.outline, found), part)
    with store.write("measured", key, ".json", identity) as part:
        part.write_text(canonical(compare(found, prepared, stored, job.task.create())) + "\n", encoding="utf-8")
    with store.write("masks", key, SUFFIX, identity) as part:
        write_found(part, found, job.target, bounds)
    return key


def found_on(slide: Slide, prepared: Prepared, stored: Stored) -> Any:
    """What a stored model finds within the tissue of a slide, as a MultiPolygon in level-0 px; empty where nothing.

    Windows of the size and spacing of the training's tiles, overlapping by half, only where tissue is; the slide is
    read window by window, and only one plane of probabilities at the tiles' spacing is held.
    """
    fitted = cast("FittedTileSegmenter", stored.fitted)
    size = fitted.seen.size_px
    sheet = Sheet(frame=slide.frame, mpp=fitted.seen.extent / size)
    check_mpp(slide.frame, sheet.mpp)
    wanted = sheet.inside(prepared.tissue)
    method: Method | None = stored.config["context"].get("normalised")
    sample = None if method is None else slide.read_tiles(sample_of(prepared.xy), prepared.side, size)
    colours = None if method is None or sample is None else normaliser(method, sample)

    def read(corners: npt.NDArray[np.int64]) -> Rgb:
        tiles = slide.read_tiles(corners * sheet.step, size * sheet.step, size)
        return tiles if colours is None else colours.apply(tiles)

    with fitted.at_work() as tell:
        plane = stitch(tell, read, wanted, size)
    found = called(plane, wanted, fitted.settings.smooth_um / sheet.mpp)
    area = without_small(outline_of(found, sheet.step), fitted.settings.smallest_mm2 / mm2(_UNIT, slide.frame))
    return polygons(shapely.intersection(area, slide_box(slide.frame)))


_UNIT = shapely.box(0, 0, 1, 1)


def compare(found: Any, prepared: Prepared, stored: Stored, task: Any) -> dict[str, float | None]:
    """Agreement within the tissue at the spacing of the tiles, areas (mm2) and numbers of parts.

    Keys dice, surface_dice, boundary_um, boundary95_um (None where there is no boundary), area_mm2 and parts of the
    drawn (_true) and the found outline (_pred).
    """
    fitted = cast("FittedTileSegmenter", stored.fitted)
    sheet = Sheet(frame=prepared.frame, mpp=fitted.seen.extent / fitted.seen.size_px)
    drawn = polygons(shapely.intersection(prepared.outline, prepared.tissue))
    masks = (sheet.inside(area) for area in (found, drawn, prepared.tissue))
    return {
        **task.outline_agreement(*masks, sheet.mpp),
        **{f"{name}_true": value for name, value in outline_sizes(drawn, prepared.frame).items()},
        **{f"{name}_pred": value for name, value in outline_sizes(found, prepared.frame).items()},
    }


def outline_sizes(area: Any, frame: Frame) -> dict[str, float]:
    """area_mm2 and parts."""
    return {"area_mm2": round(mm2(area, frame), 5), "parts": len(shapely.get_parts(area))}


def write_found(path: Path, found: Any, target: str, bounds: tuple[int, int]) -> None:
    """One annotation of the class `target` a piece, counted from the scanned area, as QuPath counts; to 0.01 px."""
    pieces = shapely.get_parts(shapely.transform(found, lambda points: np.round(points, 2)))
    write_annotation(path, [(piece, target) for piece in pieces], offset=bounds)


def found_on_new(job: SlideJob, stored: Stored, setting: SlideSetting, root: Path) -> tuple[Any, str, tuple[int, int]]:
    """The outline on a slide of a patient whom the model never saw, the key of what was prepared, and the bounds."""
    refuse_seen(stored, job.patient)
    key = prepare(replace(job, annotation=None), setting.region, setting.tiles, setting.quality, root)
    with _opened(job) as slide:
        return found_on(slide, load_prepared(Store(root), key), stored), key, slide.bounds


def _opened(job: SlideJob) -> Slide:
    return open_slide(job.path, patient=job.patient, image=job.image, mpp=job.mpp)


@dataclass(frozen=True, kw_only=True)
class LentSlideJob:
    """A slide of a patient outside the segmentation study, whose outline its final model is to find."""

    slide: SlideJob
    fit: str
    folder: Path
    target: str
    setting: SlideSetting


def lend_outline(job: LentSlideJob, root: Path) -> str:
    """Find and store the outline in the asking study; returns its key. Nothing found is a file without objects."""
    store, identity = Store(root), _identity(job)
    key = key_of(identity)
    if store.has("masks", key, SUFFIX):
        return key
    stored = load_model(job.folder, base=job.setting.encoder.base)
    found, _, bounds = found_on_new(job.slide, stored, job.setting, root)
    with store.write("masks", key, SUFFIX, identity) as part:
        write_found(part, found, job.target, bounds)
    return key


def _identity(job: LentSlideJob) -> Mapping[str, Any]:
    slide = [fingerprint(Path(job.slide.path)), job.slide.mpp]
    return {"artefact": "outline", "version": VERSION, "fit": job.fit, "slide": slide, "target": job.target}
