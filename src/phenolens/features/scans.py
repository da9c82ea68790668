"""From prepared scans to stored features or volumes: one region at a time, in many processes.

Only the region and the margin its encoder asks for are read. A scan that fails leaves no file; the others go on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from phenolens.core.compute import Outcome, run_all
from phenolens.core.errors import FeatureError
from phenolens.core.progress import Progress
from phenolens.core.registry import Choice
from phenolens.core.store import Store, canonical, key_of
from phenolens.core.types import Bag, BagSource, Frame, Volume, VolumeSource
from phenolens.features import bagfile, volumefile
from phenolens.features.bagfile import BagFile
from phenolens.features.extract import encoder_identity
from phenolens.features.volumefile import VolumeFile
from phenolens.scans.disturb import VERSION as DISTURBED
from phenolens.scans.disturb import Disturbance, disturb, measured_again, refuse_kind
from phenolens.scans.geometry import Crop, cropped, to_index, to_mm
from phenolens.scans.image import Scan, open_scan
from phenolens.scans.intensity import apply
from phenolens.scans.prepare import PreparedScan, ScanJob, ScanSettings, load_prepared
from phenolens.scans.sampling import Readable
from phenolens.scans.sequences import modality_of

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class ScanExtractJob:
    """One region to extract: its scan and the key of what was prepared.

    `disturb` is put on scan and region first, to see what features and predictions make of it; it makes other features.
    """

    scan: ScanJob
    prepared: str
    disturb: Disturbance | None = None


def features_key(identity: dict[str, Any], job: ScanExtractJob) -> str:
    """The key of one region's features."""
    return key_of(_upstream(identity, job))


def stored_source(store: Store, key: str, makes: str) -> BagSource | VolumeSource:
    """The stored features or volume of a key, read when needed."""
    if makes == "volume":
        return VolumeFile(store.path("features", key, ".h5"))
    return BagFile(store.path("features", key, ".h5"))


def extract_scans(
    jobs: Sequence[ScanExtractJob],
    encoder: Choice,
    settings: ScanSettings,
    root: Path,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
    what: str = "features",
) -> Iterator[Outcome[ScanExtractJob, str]]:
    """Extract every job and yield its key, or the error that stopped it, in the order of the jobs.

    `what` names the work to whoever waits for it.
    """
    identity = encoder_identity(encoder)
    work = partial(extract_one, encoder=encoder, identity=identity, settings=settings, root=root)
    with (progress or Progress("quiet")).step(f"{what} ({encoder.name})", len(jobs), "scans") as step:
        for outcome in run_all(work, jobs, workers=workers):
            step.advance()
            yield outcome


def extract_one(
    job: ScanExtractJob, *, encoder: Choice, identity: dict[str, Any], settings: ScanSettings, root: Path
) -> str:
    """Read the crop, scale it, encode it, store it; returns the key. What is stored already is not done again."""
    store, key = Store(root), features_key(identity, job)
    if store.has("features", key, ".h5"):
        return key
    made = encoder.create()
    prepared = load_prepared(store, job.prepared)
    with _opened(job.scan) as scan:
        seen, prepared = _disturbed(scan, prepared, job, settings)
        crop = _crop(seen, job.scan, prepared, settings, made.margin_mm)
    encoded = made.load("cpu")(crop)
    told = {
        "encoder": encoder.name,
        "image": job.scan.image,
        "patient": job.scan.patient,
        "sequence": job.scan.sequence,
        "identity": canonical(identity),
        "prepared": job.prepared,
    }
    with store.write("features", key, ".h5", _upstream(identity, job)) as part:
        if made.makes == "volume":
            volume = _volume(encoded, prepared, key, mask_channel=getattr(made, "mask_channel", False))
            kept = {"share_kept": share_kept(crop, volume.frame)}
            volumefile.write(part, volume, told | kept, precision="float16" if volume.landmarks is None else "float32")
        else:
            bagfile.write(part, _bag(encoded, made.names, prepared, key), told)
    return key


def read_crop(job: ScanJob, prepared: PreparedScan, settings: ScanSettings, margin_mm: float) -> Crop:
    """The region with its margin, in the intensities of the study."""
    with _opened(job) as scan:
        return _crop(scan, job, prepared, settings, margin_mm)


def _opened(job: ScanJob) -> Scan:
    return open_scan(job.path, patient=job.patient, image=job.image, series=job.series)


def _disturbed(
    scan: Scan, prepared: PreparedScan, job: ScanExtractJob, settings: ScanSettings
) -> tuple[Readable, PreparedScan]:
    """The scan and what was prepared of it, as the job's disturbance leaves them."""
    how = job.disturb
    if how is None:
        return scan, prepared
    refuse_kind(how, scan.header.modality or modality_of(job.scan.sequence))
    seen, roi = disturb(scan, prepared.roi, how, job.scan.image)
    own, unit = settings.of(job.scan.sequence).intensity, str(scan.header.facts.get("unit", ""))
    measured = measured_again(seen, roi, how, prepared.measured, own, unit=unit)
    return seen, replace(prepared, roi=roi, measured=measured)


def _crop(scan: Readable, job: ScanJob, prepared: PreparedScan, settings: ScanSettings, margin_mm: float) -> Crop:
    lo, shape = prepared.roi.box(margin_mm)
    frame = cropped(prepared.roi.frame, lo, shape)
    x = apply(scan.read(lo, shape), frame, prepared.measured, settings.of(job.sequence).intensity)
    return Crop(x=x, inside=prepared.roi.within(lo, shape), frame=frame, sequence=job.sequence)


def share_kept(crop: Crop, window: Frame) -> float:
    """The share of the region's voxels whose centres lie in a window; 1 for a crop without a region.

    Across a window one slice thick nothing counts as cut off: it was asked for as slices.
    """
    if not crop.inside.any():
        return 1.0
    at = to_index(window, to_mm(crop.frame, np.argwhere(crop.inside)[:, ::-1]))
    thin = np.array(window.shape) == 1
    kept = ((at >= -0.5) & (at <= np.array(window.shape) - 0.5)) | thin
    return float(kept.all(axis=1).mean())


def _volume(cut: Any, prepared: PreparedScan, key: str, *, mask_channel: bool) -> Volume:
    """What an encoder cut, with the landmarks of its image where the study asks for them.

    With landmarks the intensities are those of the scanner, of any range, so that their file holds float32.
    """
    x, mask, frame = cut
    known = prepared.measured.landmarks
    landmarks = None if known is None else tuple(float(v) for v in known)
    return Volume(x=x, mask=mask, frame=frame, recipe=key, landmarks=landmarks, mask_channel=mask_channel)


def _bag(x: Any, names: tuple[str, ...] | None, prepared: PreparedScan, key: str) -> Bag:
    """One row a region; its place is the middle of its box, its extent the longest side."""
    roi = prepared.roi
    rows = np.asarray(x, dtype=np.float32)
    if rows.ndim != 2:
        raise FeatureError(
            f"features of shape {rows.shape} from an encoder for scans",
            expected="(n, d)",
            todo="correct the encoder",
        )
    middle = to_mm(roi.frame, np.array(roi.lo) + (np.array(roi.size) - 1) / 2)
    extent = float(max(n * s for n, s in zip(roi.size, roi.frame.spacing, strict=True)))
    return Bag(
        x=rows,
        coords=np.repeat(middle[None], len(rows), axis=0),
        extent=extent,
        names=names,
        frame=roi.frame,
        recipe=key,
    )


def _upstream(identity: dict[str, Any], job: ScanExtractJob) -> dict[str, Any]:
    made = {"artefact": "features", "version": VERSION, "encoder": identity, "prepared": job.prepared}
    return made if job.disturb is None else {**made, "disturb": {**asdict(job.disturb), "version": DISTURBED}}
