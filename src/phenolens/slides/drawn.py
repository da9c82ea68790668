"""What was drawn on one slide, or found by a model in place of a drawing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from phenolens.core.errors import AnnotationError
from phenolens.slides.annotation import Annotation, read_annotation
from phenolens.slides.image import Slide
from phenolens.slides.region import RegionSettings

if TYPE_CHECKING:
    from phenolens.slides.prepare import SlideJob


def annotation_of(slide: Slide, job: SlideJob, settings: RegionSettings) -> Annotation | None:
    """The annotation that the settings ask for, None where they ask for none; raises AnnotationError."""
    label = settings.drawn
    if label is None:
        return None
    asked_by = "region.annotation" if settings.annotation is not None else "task.target"
    if job.mask_by is not None and not job.annotation:
        raise AnnotationError(
            "no predicted annotation of this image",
            expected="one that the segmentation study found",
            todo="look at this image in the segmentation study's results/quarantine.csv, or leave it out",
        )
    if not job.annotation:
        instead = "leave out region.annotation" if settings.annotation is not None else "leave the image out"
        raise AnnotationError(
            "no annotation for this image",
            expected=f"a QuPath GeoJSON with the class '{label}'",
            todo=f"name it in the column annotation of the images table, or {instead}",
        )
    offset = slide.bounds if settings.annotation_origin == "qupath" else (0, 0)
    return read_annotation(Path(job.annotation), label, slide.frame, offset=offset, asked_by=asked_by)


def refuse_other(job: SlideJob, slide: str) -> None:
    """Stop where an annotation was found on another file than `slide`, the fingerprint of the one it is used with."""
    if job.mask_of not in (None, slide):
        raise AnnotationError(
            "a predicted annotation of another slide: the content of the file differs",
            expected="the slide as the segmentation study read it",
            todo="run the segmentation study again, or give the image another id",
            where=job.path,
        )
