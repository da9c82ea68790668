"""The scans of test patients under every disturbance and dose, read again as the study reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from phenolens.core.types import Example
from phenolens.features.examples import examples
from phenolens.features.scans import ScanExtractJob, extract_scans, stored_source
from phenolens.scans.disturb import DOSES, Disturbance, Kind
from phenolens.scans.image import open_scan
from phenolens.scans.prepare import ScanJob
from phenolens.scans.sequences import modality_of
from phenolens.steps import scans
from phenolens.steps.desk import Desk, Ready
from phenolens.steps.models import with_batches

KINDS: tuple[Kind, ...] = ("noise", "bias", "spacing", "contour", "rotation")
Fault = Disturbance | None


def spoiled(desk: Desk, ready: Ready, units: set[str]) -> tuple[dict[Fault, dict[str, Example]], dict[str, Any]]:
    """Disturbance -> unit id -> example, undisturbed first, and what to say of it: how many scans, and of which kind.

    A bias field is put on MR only, where there is any; the other scans of such a unit stay as they are. A unit one of
    whose scans cannot be read under a disturbance is not there under it.
    """
    regions = scans.regions_of(desk, ready)
    regions = regions[regions["unit_id"].isin(units) & regions["region"].isin(_used(desk))]
    prepared = scans.prepare_images(desk, ready)
    jobs = [ScanExtractJob(scan=prepared[r].job, prepared=prepared[r].prepared) for r in regions["region"]]
    shaded = {job.scan.image for job in jobs if _modality(job.scan) == "MR"}
    faults = disturbances(bias=bool(shaded))
    sources = _sources(desk, jobs, faults, shaded)
    of = {str(unit): [str(r) for r in own["region"]] for unit, own in regions.groupby("unit_id")}
    return {f: _examples(desk, ready, of, sources[f]) for f in faults}, {"scans": len(jobs), "mr": len(shaded)}


def disturbances(*, bias: bool) -> list[Fault]:
    """Undisturbed first, then every kind in doses that grow; without bias fields where no scan is MR."""
    kinds = [kind for kind in KINDS if bias or kind != "bias"]
    return [None, *(Disturbance(kind=kind, dose=dose) for kind in kinds for dose in DOSES[kind])]


def _used(desk: Desk) -> set[str]:
    shown = pd.read_csv(desk.results / "images.csv", dtype=str, keep_default_na=False)
    return set(shown.loc[shown["status"] == "used", "image"])


def _modality(job: ScanJob) -> str:
    known = modality_of(job.sequence)
    if known:
        return known
    with open_scan(job.path, patient=job.patient, image=job.image, series=job.series) as scan:
        return scan.header.modality


def _sources(
    desk: Desk, jobs: Sequence[ScanExtractJob], faults: Sequence[Fault], shaded: set[str]
) -> dict[Fault, scans.Sources]:
    """Disturbance -> region -> features or volume; a region that cannot be read under one is not in it."""
    encoder = desk.study.encoder()
    assert encoder is not None, "a study of scans names an encoder"
    pairs = [(fault, job) for job in jobs for fault in faults]
    asked = [
        ScanExtractJob(scan=job.scan, prepared=job.prepared, disturb=_on(fault, job.scan.image, shaded))
        for fault, job in pairs
    ]
    made: dict[Fault, scans.Sources] = {f: {} for f in faults}
    makes = encoder.create().makes
    outcomes = extract_scans(
        asked,
        encoder,
        desk.scan,
        desk.root,
        workers=desk.workers,
        progress=desk.progress,
        what="features of disturbed scans",
    )
    for (fault, job), outcome in zip(pairs, outcomes, strict=True):
        if outcome.error is None:
            made[fault][job.scan.image] = stored_source(desk.store, outcome.unwrap(), makes)
        else:
            desk.progress.say(f"left out: {job.scan.image} under {fault}: {outcome.error}")
    return made


def _on(fault: Fault, region: str, shaded: set[str]) -> Fault:
    return None if fault is not None and fault.kind == "bias" and region not in shaded else fault


def _examples(desk: Desk, ready: Ready, of: Mapping[str, Sequence[str]], sources: scans.Sources) -> dict[str, Example]:
    """unit id -> example, of the units all of whose scans could be read."""
    whole = {unit for unit, regions in of.items() if all(r in sources for r in regions)}
    units = ready.units[ready.units["unit_id"].isin(whole)]
    made, _ = examples(units, scans.parts_of(desk, ready, sources), desk.study.task.target)
    return {e.unit_id: e for e in with_batches(desk, ready, made)}
