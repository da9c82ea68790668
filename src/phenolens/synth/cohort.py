"""A synthetic cohort on disk: slides, QuPath annotations, tables and the truth, as real files."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from phenolens.core.compute import run_all
from phenolens.core.errors import StoreError
from phenolens.core.progress import Progress
from phenolens.core.store import key_of, write_json, write_text
from phenolens.synth import people, slides
from phenolens.synth.annotation import geojson
from phenolens.synth.design import Design, demo_overrides, design_for
from phenolens.synth.outline import Area
from phenolens.synth.people import Person, SynthSlide
from phenolens.synth.scene import Scene

__all__ = ["Design", "demo_overrides", "design_for", "make"]

_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class _Job:
    """One slide and where it goes."""

    folder: Path
    patient: str
    site: str
    slide: SynthSlide
    tile: int


def make(folder: Path, design: Design, *, workers: int | None = None, progress: Progress | None = None) -> Path:
    """Write the cohort into `folder` and return it; a cohort of the same design that is already there is kept.

    Writes slides/*.svs, annotations/*.geojson, patients.csv, images.csv (paths relative to the folder) and, last,
    truth.json: the design, what each patient's tumour is made of, and the planted faults. The same design gives the
    same bytes whatever the number of workers. Raises StoreError when the folder holds a cohort of another design.
    """
    key = key_of([_VERSION, asdict(design)])
    if _is_there(folder, key):
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    cohort = people.draw(design)
    jobs = [
        _Job(folder=folder, patient=p.patient, site=design.sites[p.site], slide=s, tile=design.tile)
        for p in cohort
        for s in p.slides
    ]
    shares: dict[str, float] = {}
    with (progress or Progress("quiet")).step("Drawing synthetic slides", len(jobs), "slides") as step:
        for outcome in run_all(_write_slide, jobs, workers=workers):
            shares[outcome.item.slide.image] = outcome.unwrap()
            step.advance()
    write_text(folder / "patients.csv", _csv(_patients(design, cohort)))
    write_text(folder / "images.csv", _csv(_images(design, cohort)))
    write_json(folder / "truth.json", {"key": key, **_truth(design, cohort, shares)})
    return folder


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


def _csv(rows: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


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
