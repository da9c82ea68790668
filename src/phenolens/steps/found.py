"""One mask that a stored model finds on one scan: written on the scan's grid, measured, compared and drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow

from phenolens.core.errors import LeakError
from phenolens.core.registry import Choice
from phenolens.core.store import Store, canonical, fingerprint, key_of
from phenolens.core.types import FloatArray, Frame, Volume
from phenolens.features.maskfile import onto_scan, write_mask
from phenolens.features.scans import read_crop
from phenolens.features.volumefile import VolumeFile
from phenolens.models.predict import Stored, load_fit, load_model
from phenolens.scans.geometry import Index, Roi, roi_of
from phenolens.scans.image import Scan, open_scan
from phenolens.scans.intensity import measure as measure_intensity
from phenolens.scans.mask import components
from phenolens.scans.prepare import PreparedScan, ScanJob, ScanSettings, load_prepared
from phenolens.scans.quality import picture
from phenolens.scans.response import lesion
from phenolens.steps.stored_setting import ScanSetting

if TYPE_CHECKING:
    from phenolens.models.segment import FittedSegmenter

VERSION = 1
SUFFIX = ".nii.gz"
Found = npt.NDArray[np.uint8]
"""A mask (z, y, x) on the grid of a scan, 1 inside."""


@dataclass(frozen=True, kw_only=True)
class FoundJob:
    """A scan with a drawn mask, the keys of its region and volume, and the fit that is to find the mask."""

    scan: ScanJob
    prepared: str
    features: str
    fit: str
    task: Choice
    base: Path | None = None


def find(job: FoundJob, root: Path) -> str:
    """Find, measure and store the mask; returns the key of the artefacts `masks`, `overlays` and `measured`.

    Raises LeakError where the fit saw the patient: its mask of this patient would be no prediction.
    """
    store = Store(root)
    identity = {
        "artefact": "mask",
        "version": VERSION,
        "fit": job.fit,
        "volume": job.features,
        "prepared": job.prepared,
        "task": job.task.identity(),
    }
    key = key_of(identity)
    if all(store.has(kind, key, suffix) for kind, suffix in _KINDS):
        return key
    stored = load_fit(store, job.fit, base=job.base)
    refuse_seen(stored, job.scan.patient)
    prepared = load_prepared(store, job.prepared)
    volume = replace(VolumeFile(store.path("features", job.features, ".h5")).load(), mask=None)
    found = onto_scan(probability(stored, volume), volume.frame, prepared.roi.frame)
    figures = compare(found, prepared.roi, job.task.create())
    with open_scan(job.scan.path, patient=job.scan.patient, image=job.scan.image, series=job.scan.series) as scan:
        unit = str(scan.header.facts.get("unit", ""))
        drawn = picture(scan, prepared.roi, unit=unit, found=found)
    with store.write("overlays", key, ".jpg", identity) as part:
        Pillow.fromarray(drawn).save(part, format="JPEG", quality=88, subsampling=0)
    with store.write("measured", key, ".json", identity) as part:
        part.write_text(canonical(figures) + "\n", encoding="utf-8")
    with store.write("masks", key, SUFFIX, identity) as part:
        write_mask(part, found, prepared.roi.frame)
    return key


_KINDS = (("masks", SUFFIX), ("measured", ".json"), ("overlays", ".jpg"))


def probability(stored: Stored, volume: Volume) -> FloatArray:
    """The probability of each voxel (z, y, x) of a volume, by a stored model that finds masks."""
    return cast("FittedSegmenter", stored.fitted).probability(volume)


def refuse_seen(stored: Stored, patient: str) -> None:
    """Law 1: no patient receives the output of a model that saw that patient."""
    if stored.seen([patient]):
        raise LeakError(
            f"a mask of patient {patient!r} asked of a model that was trained on that patient",
            expected="a model of a fold that tests the patient",
            todo="take the mask of the patient's test fold, in results/masks of the study that fitted the model",
        )


def compare(found: Found, drawn: Roi, task: Any) -> dict[str, float]:
    """dice, surface_dice, volumes (ml), longest axial diameters of the largest parts (mm), and numbers of parts."""
    roi = roi_of(found, drawn.frame)
    lo, shape = _box(drawn, roi)
    x, y, z = lo
    w, h, d = shape
    there = found[z : z + d, y : y + h, x : x + w] != 0
    agreed = task.agreement(there, drawn.within(lo, shape), drawn.frame.spacing)
    return {
        **agreed,
        **{f"{name}_true": value for name, value in sizes(drawn).items()},
        **{f"{name}_pred": value for name, value in sizes(roi).items()},
    }


def sizes(roi: Roi | None) -> dict[str, float]:
    """volume_ml, long_mm and short_mm (of the largest part, in axial planes) and parts; 0 where nothing was found."""
    if roi is None:
        return {"volume_ml": 0.0, "long_mm": 0.0, "short_mm": 0.0, "parts": 0}
    parts = components(roi)
    one = lesion("", parts[0])
    return {
        "volume_ml": round(roi.mm3 / 1000, 4),
        "long_mm": round(one.long_mm, 3),
        "short_mm": round(one.short_mm, 3),
        "parts": len(parts),
    }


def _box(a: Roi, b: Roi | None) -> tuple[Index, Index]:
    """The tight box of both."""
    both = [a] if b is None else [a, b]
    lo = np.min([r.lo for r in both], axis=0)
    hi = np.max([np.add(r.lo, r.size) for r in both], axis=0)
    x, y, z = (int(v) for v in lo)
    w, h, d = (int(v) for v in hi - lo)
    return (x, y, z), (w, h, d)


def new_volume(scan: Scan, job: ScanJob, encoder: Choice, settings: ScanSettings) -> Volume:
    """The whole scan as the encoder gives it, of a scan without a mask; the same as in the training study."""
    blank = Roi(lo=(0, 0, 0), inside=np.ones((1, 1, 1), dtype=np.bool_), frame=scan.frame)
    own = settings.of(job.sequence)
    measured = measure_intensity(scan, blank, own.intensity, unit=str(scan.header.facts.get("unit", "")))
    prepared = PreparedScan(job={}, roi=blank, measured=measured)
    made = encoder.create()
    cut, _, frame = made.load("cpu")(read_crop(job, prepared, settings, made.margin_mm))
    x = cut.astype(np.float16).astype(np.float32)  # as volumes are stored
    return Volume(x=x, mask=None, frame=frame, recipe="")


def find_on_new(job: ScanJob, stored: Stored, setting: ScanSetting) -> tuple[Found, Frame]:
    """The mask a stored model finds on a scan of a patient it never saw, and the grid of the scan."""
    refuse_seen(stored, job.patient)
    with open_scan(job.path, patient=job.patient, image=job.image, series=job.series) as scan:
        volume = new_volume(scan, job, setting.encoder, setting.scan)
        return onto_scan(probability(stored, volume), volume.frame, scan.frame), scan.frame


@dataclass(frozen=True, kw_only=True)
class LentJob:
    """A scan of a patient outside the segmentation study, whose mask its final model is to find."""

    scan: ScanJob
    fit: str
    folder: Path
    setting: ScanSetting


def lent_key(job: LentJob) -> str:
    """The key of the mask: the fit and the content of the scan."""
    return key_of(_identity(job))


def lend(job: LentJob, root: Path) -> str:
    """Find and store the mask in the asking study; returns its key. Nothing found is a mask that is empty."""
    store, key = Store(root), lent_key(job)
    if store.has("masks", key, SUFFIX):
        return key
    found, frame = find_on_new(job.scan, load_model(job.folder, base=job.setting.encoder.base), job.setting)
    with store.write("masks", key, SUFFIX, _identity(job)) as part:
        write_mask(part, found, frame)
    return key


def _identity(job: LentJob) -> Mapping[str, Any]:
    content, sequence = fingerprint(Path(job.scan.path)), job.scan.sequence
    return {
        "artefact": "mask",
        "version": VERSION,
        "fit": job.fit,
        "scan": [content, job.scan.series, sequence],
    }
