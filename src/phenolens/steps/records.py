"""What a run writes about itself: images, quarantine, findings, flow and manifest."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from phenolens.core.signoff import signed, unused
from phenolens.core.store import fingerprint, key_of, write_json
from phenolens.core.types import Finding, Split
from phenolens.steps.context import devices_of
from phenolens.steps.desk import Desk, Ready, write_csv
from phenolens.steps.lent import lender
from phenolens.steps.states import States

_UNUSED = {
    "slide": {"scan"},
    "scan": {"region", "tiles"},
    "folder": {"region", "tiles", "quality", "scan"},
    "table": {"region", "tiles", "quality", "scan"},
}
"""Sections that a study of each kind does not use."""
_SEALED = (
    *("splits.csv", "predictions.csv", "estimates.csv", "segmentation.csv", "images.csv", "quarantine.csv"),
    *("findings.json", "cohort.json", "subgroups.csv", "readers.csv", "subsets.csv", "coefficients.csv"),
    *("sequences.csv", "tile_estimates.csv"),
)
"""The results whose fingerprints the manifest holds, so that the report can tell an edited one."""
NO_MAPS = "no maps are drawn where survival is predicted: they would explain a class; the coefficients say what weighs"
_VERSIONED = ("phenolens", "numpy", "scipy", "pandas", "scikit-learn", "scikit-image", "torch")
_VERSIONED_OF = {"slide": ("openslide-python",), "scan": ("SimpleITK", "pydicom", "numba", "monai")}


def write_images(desk: Desk, states: States) -> None:
    """results/images.csv and results/quarantine.csv."""
    desk.reopen()
    rows, out = [], []
    for image, state in sorted(states.items()):
        row: dict[str, Any] = {
            "patient": state.job.patient,
            "image": image,
            "site": state.site,
            "status": state.status,
            "reason": state.reason,
            "tiles": state.tiles,
            "tiles_used": state.tiles_used,
            **state.facts,
        }
        for picture in ("contour", "thumbnail"):
            path = desk.store.path(picture, state.prepared, ".jpg") if state.prepared else None
            row[picture] = desk.relative(path) if path is not None and path.exists() else ""
        rows.append(row)
        if state.status != "used":
            file = desk.relative(Path(state.where)) if Path(state.where).is_absolute() else state.where
            out.append({**{k: row[k] for k in ("patient", "image", "site", "status", "reason")}, "file": file})
    write_csv(desk.results / "images.csv", pd.DataFrame(rows))
    columns = ["patient", "image", "site", "status", "reason", "file"]
    write_csv(desk.results / "quarantine.csv", pd.DataFrame(out, columns=columns))


def write_findings(desk: Desk, findings: Sequence[Finding]) -> None:
    """results/findings.json, with the author's reasons for going on and a note of those that meet no finding."""
    told = signed(findings, desk.study.sign_offs)
    told += unused(told, desk.study.sign_offs)
    write_json(desk.results / "findings.json", [asdict(f) for f in told])


_LEFT_OUT = (
    ("outside-where", "patients the study asks for (where)", "outside where"),
    ("patient-without-label", "patients with a label", "no label"),
    ("patient-without-follow-up", "patients with a follow-up", "no time or no event"),
    ("image-without-label", "patients with a labelled image", "no labelled image"),
    ("patient-without-image", "patients with an image", "no image in the images table"),
    ("patient-without-sequence", "patients with every sequence", "lacks a sequence (scan.missing: left_out)"),
)


def flow(ready: Ready, states: States, empty: Sequence[str], predicted: int) -> list[dict[str, Any]]:
    """From the patients of the table to the units that were predicted: how many are left and who fell out why."""
    left_out = {rule: _who(ready.findings, rule) - set(ready.cohort.patients.index) for rule, _, _ in _LEFT_OUT}
    left = len(ready.cohort.patients) + sum(len(who) for who in left_out.values())
    steps: list[dict[str, Any]] = [{"step": "patients in the table", "n": left, "dropped": []}]
    for rule, name, why in _LEFT_OUT:
        if left_out[rule]:
            left -= len(left_out[rule])
            dropped = [{"who": p, "why": why} for p in sorted(left_out[rule])]
            steps.append({"step": name, "n": left, "dropped": dropped})
    lost = [
        {"who": f"{s.job.patient} / {i}", "why": s.reason, "status": s.status}
        for i, s in sorted(states.items())
        if s.status != "used"
    ]
    used = {s.job.patient for s in states.values() if s.status == "used"}
    images = sum(s.status == "used" for s in states.values())
    steps.append({"step": "images that can be used", "n": images, "of": len(states), "dropped": lost})
    gone = [
        {"who": p, "why": "none of its images can be used"} for p in sorted(set(ready.cohort.patients.index) - used)
    ]
    steps.append({"step": "patients that can be used", "n": len(used), "dropped": gone})
    units = [{"who": u, "why": "no features"} for u in sorted(empty)]
    steps.append({"step": "units predicted", "n": predicted, "dropped": units})
    return steps


def _who(findings: Sequence[Finding], rule: str) -> set[str]:
    return {who for f in findings if f.rule == rule for who in f.who}


def study_id(desk: Desk, ready: Ready) -> str:
    """Changes with one byte of a label, a table or a setting."""
    asked = desk.study.model_dump(mode="json")
    return key_of([asked, ready.cohort.fingerprint, [str(x) for x in ready.units["truth"]]])[:12]


def procedure(desk: Desk, ready: Ready) -> str:
    """Changes with a table, or a setting other than how predictions are explained, audited and spoken of."""
    asked = desk.study.model_dump(mode="json", exclude={"audit", "explain", "sign_offs", "statements"})
    source = lender(desk)
    return key_of([asked, ready.cohort.fingerprint] + ([] if source is None else [source.fit]))


def labelled(ready: Ready) -> dict[str, int]:
    """Class -> how many units of the tables have it, usable or not."""
    counts = ready.units["truth"].value_counts()
    return {c: int(counts.get(c, 0)) for c in ready.classes}


def write_manifest(
    desk: Desk,
    ready: Ready,
    splits: Sequence[Split],
    steps: list[dict[str, Any]],
    context: Mapping[str, Any],
    more: Mapping[str, Any] | None = None,
) -> None:
    """results/manifest.json: what was run, on what, with what, and `more` that a task has to say."""
    study = desk.study
    write_json(
        desk.results / "manifest.json",
        {
            "study_id": study_id(desk, ready),
            "procedure": procedure(desk, ready),
            "study": study.model_dump(mode="json", exclude=_UNUSED[study.reads]),
            "images": study.reads,
            "cohort_fingerprint": ready.cohort.fingerprint,
            "target": study.task.target,
            "unit": study.task.unit,
            "classes": list(ready.classes),
            "class_counts": labelled(ready),
            "sites": sorted(map(str, set(ready.cohort.patients["site"]))),
            "flow": steps,
            "encoder": context.get("encoder"),
            "models": [c.identity() for c in study.model_choices()],
            "notes": notes(desk),
            "splits": [
                {
                    "scheme": s.scheme,
                    "repeat": s.repeat,
                    "fold": s.fold,
                    "hash": s.hash,
                    "n_train": len(s.train),
                    "n_tune": len(s.tune),
                    "n_test": len(s.test),
                }
                for s in splits
            ],
            "seed": study.seed,
            "versions": {name: version(name) for name in (*_VERSIONED, *_VERSIONED_OF.get(study.reads, ()))}
            | {"python": platform.python_version()},
            "machine": {"system": platform.system(), "threads_per_worker": 1, "devices": devices_of(desk)},
            "fingerprints": {
                name: fingerprint(desk.results / name) for name in _SEALED if (desk.results / name).exists()
            },
            **(more or {}),
        },
    )


def notes(desk: Desk) -> list[str]:
    """Choices a reader should know of."""
    said = []
    if (source := lender(desk)) is not None:
        said.append(
            f"no drawn mask was read: masks are those of the study {source.name} ({source.study_id}), each found by a "
            "model that never saw the patient"
        )
    if desk.study.survives and desk.study.reads != "table":
        said.append(NO_MAPS)
    tiles = desk.study.tiles
    if tiles.magnification is not None:
        said.append(
            f"magnification {tiles.magnification:g} was taken as {tiles.spacing:g} micrometres per px "
            "(10 / magnification); scanners differ, so state mpp where it is known"
        )
    return said
