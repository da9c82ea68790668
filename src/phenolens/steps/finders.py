"""How masks are found on the images of a study: on scans a volume of voxels, on slides an outline."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from phenolens.steps.desk import Desk, Ready
from phenolens.steps.found import SUFFIX, FoundJob, find
from phenolens.steps.found_slides import SUFFIX as OUTLINE_SUFFIX
from phenolens.steps.found_slides import SlideFoundJob, find_on_slide
from phenolens.steps.states import ImageState


class Find(Protocol):
    """Stores the mask of one image and returns its key; it can go to a worker."""

    def __call__(self, job: Any, root: Path) -> str: ...


@dataclass(frozen=True, kw_only=True)
class Finder:
    """`find` stores a mask as a file with `suffix`; `job_of` makes the job of one image and fit.

    `prepared` is the kind of artefact that knows the image's fingerprint, under `content`; `image` and `piece` are the
    words for an image and for what a mask is made of.
    """

    suffix: str
    find: Find
    job_of: Callable[[Desk, Ready, str, ImageState], Any]
    prepared: str
    content: tuple[str, ...]
    image: str
    piece: str

    def fingerprint(self, desk: Desk, state: ImageState) -> str:
        """The fingerprint of the image's file, as it was when it was prepared."""
        path = desk.store.path(self.prepared, state.prepared, ".json").with_suffix(".made.json")
        found: Any = json.loads(path.read_text("utf-8"))
        for name in self.content:
            found = found[name]
        return str(found)


def finder_of(desk: Desk) -> Finder:
    """The finder for what the study reads."""
    if desk.study.reads == "slide":
        return Finder(
            suffix=OUTLINE_SUFFIX,
            find=find_on_slide,
            job_of=_on_slide,
            prepared="prepared",
            content=("slide",),
            image="slide",
            piece="pixel",
        )
    return Finder(
        suffix=SUFFIX,
        find=find,
        job_of=_on_scan,
        prepared="scan",
        content=("content", "scan"),
        image="scan",
        piece="voxel",
    )


def _on_scan(desk: Desk, ready: Ready, fit: str, state: ImageState) -> FoundJob:
    return FoundJob(
        scan=state.job,
        prepared=state.prepared,
        features=state.features,
        fit=fit,
        task=ready.task(desk.study),
        base=desk.study.base,
    )


def _on_slide(desk: Desk, ready: Ready, fit: str, state: ImageState) -> SlideFoundJob:
    return SlideFoundJob(
        slide=state.job,
        prepared=state.prepared,
        fit=fit,
        task=ready.task(desk.study),
        target=desk.study.task.target,
        base=desk.study.base,
    )
