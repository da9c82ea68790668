"""A synthetic cohort on disk: slides or scans, annotations or masks, tables and the truth, as real files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from phenolens.core.compute import run_all
from phenolens.core.errors import StoreError, StudyError, nearest
from phenolens.core.progress import Progress
from phenolens.core.store import key_of, write_json, write_text
from phenolens.synth import design as slide_design
from phenolens.synth import people, slides
from phenolens.synth.annotation import geojson
from phenolens.synth.design import Design
from phenolens.synth.outline import Area
from phenolens.synth.people import Person, SynthSlide
from phenolens.synth.scan_design import ScanDesign, scan_demo_overrides, scan_design_for, scan_designs
from phenolens.synth.scans import VERSION as SCANS_VERSION
from phenolens.synth.scans import make_scans
from phenolens.synth.scene import Scene
from phenolens.synth.tables import csv_text

__all__ = ["Design", "ScanDesign", "demo_overrides", "design_for", "make"]

_VERSION = 1


def design_for(recipe: str, **overrides: Any) -> Design | ScanDesign:
    """The cohort that shows a recipe; any field can be overridden.

    Raises StudyError for a recipe that has no synthetic cohort, ValueError for an impossible design.
    """
    scans = scan_designs()
    if recipe in scans:
        return scan_design_for(recipe, **overrides)
    known = [*slide_design.recipes(), *scans]
    if recipe not in known:
        raise StudyError(
            f"no synthetic cohort for recipe {recipe!r}{nearest(recipe, known)}",
            expected=f"one of {', '.join(known)}",
            todo="choose one of these",
        )
    return slide_design.design_for(recipe, **overrides)


def demo_overrides(recipe: str) -> dict[str, dict[str, Any]]:
    """What to change in the recipe's study.yaml for its synthetic cohort: section -> key -> value."""
    if isinstance(design_for(recipe), ScanDesign):
        return scan_demo_overrides()
    return slide_design.demo_overrides(recipe)


@dataclass(frozen=True, kw_only=True)
class _Job:
    """One slide and where it goes."""

    folder: Path
    patient: str
    site: str
    slide: SynthSlide
    tile: int


def make(
    folder: Path, design: Design | ScanDesign, *, workers: int | None = None, progress: Progress | None = None
) -> Path:
    """Write the cohort into `folder` and return it; a cohort of the same design that is already there is kept.

    Writes the images, what is drawn on them, patients.csv, images.csv (paths relative to the folder), for scans also
    lesions.csv, and, last, truth.json: the design, what each patient's tumour is made of, and the planted faults. The
    same design gives the same bytes whatever the number of workers. Raises StoreError when the folder holds a cohort of
    another design.
    """
    scans = isinstance(design, ScanDesign)
    key = key_of(["scans", SCANS_VERSION, asdict(design)] if scans else [_VERSION, asdict(design)])
    if _is_there(folder, key):
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    told = progress or Progress("quiet")
    if isinstance(design, ScanDesign):
        make_scans(folder, design, key, workers, told)
    else:
        _make_slides(folder, design, key, workers, told)
    return folder


def _make_slides(folder: Path, design: Design, key: str, workers: int | None, progress: Progress) -> None:
    cohort = people.draw(design)
    jobs = [
        _Job(folder=folder, patient=p.patient, site=design.sites[p.site], slide=s, tile=design.tile)
        for p in cohort
        for s in p.slides
    ]
    shares: dict[str, float] = {}
    with progress.step("Drawing synthetic slides", len(jobs), "slides") as step:
        for outcome in run_all(_write_slide, jobs, workers=workers):
            shares[outcome.item.slide.image] = outcome.unwrap()
            step.advance()
    write_text(folder / "patients.csv", csv_text(_patients(design, cohort)))
    write_text(folder / "images.csv", csv_text(_images(design, cohort)))
    write_json(folder / "truth.json", {"key": key, **_truth(design, cohort, shares)})


def _is_there(folder: Path, key: str) -> bool:
    path = folder / "truth.json"
    if not path.exists():
        return False
    if json.loads(path.read_text(encoding="utf-8")).get("key") == key:
        return True
    raise StoreError(
        "a synthetic cohort of another design in this folder",
        expected="an empty folder, or the same design",
        todo="name another folder, or remove this one",
        where=str(folder),
    )


def _write_slide(job: _Job) -> float:
    """Write one slide and its annotation; returns the tumour's share of the tissue. Runs in a worker."""
    plan, image = job.slide.plan, job.slide.image
    scene = Scene(plan)
    layout = slides.Layout(
        width=plan.width,
        height=plan.height,
        mpp=None if job.slide.fault == people.NO_MPP else plan.scanner.mpp,
        tile=job.tile,
        label=f"{image}\n{job.site}",
    )
    path = job.folder / "slides" / f"{image}.svs"
    slides.write(path, scene.paint, layout)
    if job.slide.fault == people.TRUNCATED:
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) * 2 // 5])
    classes: dict[str, Area] = {"Tumor": scene.shape.tumour}
    if plan.island:
        classes["Stroma"] = scene.shape.tissue.difference(scene.shape.tumour)
    write_text(job.folder / "annotations" / f"{image}.geojson", geojson(classes, plan.scanner.mpp))
    return scene.shape.share


def _patients(design: Design, cohort: Iterable[Person]) -> list[dict[str, Any]]:
    return [{"patient": p.patient, "site": design.sites[p.site], design.target: p.label, **p.columns} for p in cohort]


def _images(design: Design, cohort: Iterable[Person]) -> list[dict[str, Any]]:
    return [
        {
            "patient": p.patient,
            "image": s.image,
            "path": f"slides/{s.image}.svs",
            "kind": "slide",
            "stain": "H&E",
            "annotation": f"annotations/{s.image}.geojson",
            "site": design.sites[p.site],
        }
        for p in cohort
        for s in p.slides
    ]


_FATES = {
    people.TRUNCATED: ("quarantined", "the file ends two fifths of the way through and cannot be opened"),
    people.NO_MPP: ("quarantined", "the file states no mpp and images.csv declares none"),
    people.LITTLE_TUMOUR: ("excluded", "less than 60% of the tissue is tumour"),
}


def _truth(design: Design, cohort: Sequence[Person], shares: dict[str, float]) -> dict[str, Any]:
    every = [(p, s) for p in cohort for s in p.slides]
    return {
        "design": asdict(design),
        "patients": {
            p.patient: {
                "label": p.label,
                "site": design.sites[p.site],
                "mixture": dict(p.mixture),
                "body": asdict(p.body),
                "usable": p.slides[0].fault is None,
            }
            for p in cohort
        },
        "images": {
            s.image: {
                "patient": p.patient,
                "width": s.plan.width,
                "height": s.plan.height,
                "mpp": s.plan.scanner.mpp,
                "annotation_share": round(shares[s.image], 4),
                "pen": s.plan.pen is not None,
            }
            for p, s in every
        },
        "faults": [
            {
                "patient": p.patient,
                "image": s.image,
                "fault": s.fault,
                "fate": _FATES[s.fault][0],
                "what": _FATES[s.fault][1],
            }
            for p, s in every
            if s.fault is not None
        ],
    }
