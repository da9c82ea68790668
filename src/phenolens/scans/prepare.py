"""From one scan and its mask to a region, figures of quality and intensity, and a picture: the first artefact."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow

from phenolens.core.errors import ImageError, StoreError
from phenolens.core.store import Store, canonical, fingerprint, key_of
from phenolens.core.types import Frame
from phenolens.scans.geometry import Index, Mask, Roi
from phenolens.scans.image import Scan, open_scan
from phenolens.scans.intensity import IntensitySettings, Measured, measure
from phenolens.scans.look import VERSION as LOOKS
from phenolens.scans.look import look
from phenolens.scans.mask import largest, read_roi
from phenolens.scans.opening import formats_for
from phenolens.scans.quality import ScanQualitySettings, judge, picture
from phenolens.scans.quality import measure as measure_quality
from phenolens.scans.sampling import sample

VERSION = 2
Matrix = tuple[tuple[float, ...], ...]
"""4 x 4: from mm of the scan to mm of the scan its mask was drawn on."""


@dataclass(frozen=True, kw_only=True)
class ScanJob:
    """One region on one scan: ids, path, sequence, and where the mask is and what in it is meant.

    `image` names image and, where lesions are predicted, lesion. `drawn_on` is the path of the patient's other scan
    that the mask was drawn on, with its series; None where it was drawn on this one. `mask_by` is the key of the fit
    that found the mask, and `mask_of` the fingerprint of the scan it was found on; None where the mask was drawn.
    """

    patient: str
    image: str
    path: str
    sequence: str = ""
    series: str | None = None
    mask: str | None = None
    mask_value: int | None = None
    mask_name: str | None = None
    drawn_on: str | None = None
    drawn_on_series: str | None = None
    mask_by: str | None = None
    mask_of: str | None = None


@dataclass(frozen=True, kw_only=True)
class ScanSettings:
    """How scans are prepared."""

    intensity: IntensitySettings = field(default_factory=IntensitySettings)
    quality: ScanQualitySettings = field(default_factory=ScanQualitySettings)
    component: str = "all"
    align: str = "position"
    intensity_of: Mapping[str, IntensitySettings] = field(default_factory=dict)

    def of(self, sequence: str) -> ScanSettings:
        """The settings of one sequence."""
        return replace(self, intensity=self.intensity_of.get(sequence, self.intensity), intensity_of={})


@dataclass(frozen=True, kw_only=True)
class PreparedScan:
    """What `prepare` found. `facts` holds figures for results/images.csv."""

    job: Mapping[str, Any]
    roi: Roi
    measured: Measured
    facts: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def prepared_key(job: ScanJob, settings: ScanSettings) -> str:
    """The key `prepare` uses: version, ids, settings, and the content of scan and mask; never a path."""
    return key_of(_identity(job, settings))


def prepare(job: ScanJob, settings: ScanSettings, root: Path) -> str:
    """Read the region, judge quality, measure intensities; write `scan` and `contour` under one key, and return it.

    An existing artefact is taken as it is. Raises ImageError where the scan or its region cannot be used.
    """
    identity = _identity(job, settings)
    key, store = key_of(identity), Store(root)
    if store.has("scan", key, ".json") and store.has("contour", key, ".jpg"):
        return key
    try:
        with open_scan(job.path, patient=job.patient, image=job.image, series=job.series) as scan:
            content = _prepare(scan, job, settings, store, key, identity)
    except ImageError as fault:
        fault.where = fault.where or job.path
        if job.mask_by is not None:
            fault.found += " (the mask is a predicted one)"
        raise
    with store.write("scan", key, ".json", identity) as part:
        part.write_text(canonical(content) + "\n", encoding="utf-8")
    return key


def load_prepared(store: Store, key: str) -> PreparedScan:
    """Read what `prepare` wrote. Raises StoreError where there is none."""
    path = store.path("scan", key, ".json")
    if not path.exists():
        raise StoreError(f"no prepared scan {key}", expected="one written by prepare", todo="run the study again")
    made = json.loads(path.read_text("utf-8"))
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in made["frame"].items()}
    frame = Frame(**fields)
    x, y, z = made["roi"]["lo"]
    inside = _unpacked(made["roi"]["inside"], made["roi"]["size"])
    return PreparedScan(
        job=made["job"],
        roi=Roi(lo=(x, y, z), inside=inside, frame=frame, notes=tuple(made["roi"]["notes"])),
        measured=Measured.from_json(made["measured"]),
        facts=made["facts"],
        notes=tuple(made["notes"]),
    )


def _identity(job: ScanJob, settings: ScanSettings) -> dict[str, Any]:
    named = {"patient": job.patient, "image": job.image, "sequence": job.sequence, "series": job.series}
    content: dict[str, Any] = {"scan": fingerprint(Path(job.path)), "formats": formats_for(Path(job.path))}
    if job.mask is not None:
        content["mask"] = fingerprint(Path(job.mask))
    if job.mask_by is not None:
        content["mask_by"] = job.mask_by
        _refuse_other(job, content["scan"])
    if job.drawn_on is not None and settings.align != "position":
        content["drawn_on"] = fingerprint(Path(job.drawn_on))
    return {
        "artefact": "scan",
        "version": [VERSION, LOOKS],
        **named,
        "mask_value": job.mask_value,
        "mask_name": job.mask_name,
        "settings": asdict(settings.of(job.sequence)),
        "content": content,
    }


def _refuse_other(job: ScanJob, scan: str) -> None:
    """Stop where a mask was found on another file than the one it is to be used with."""
    found = scan if job.drawn_on is None else fingerprint(Path(job.drawn_on))
    if job.mask_of not in (None, found):
        raise ImageError(
            "a predicted mask of another scan: the content of the file differs",
            expected="the scan as the segmentation study read it",
            todo="run the segmentation study again, or give the image another id",
            where=job.path,
        )


def _prepare(
    scan: Scan, job: ScanJob, settings: ScanSettings, store: Store, key: str, identity: Mapping[str, Any]
) -> dict[str, Any]:
    roi, said = region(scan, job, settings)
    unit = str(scan.header.facts.get("unit", ""))
    seen = sample(scan)
    figures = measure_quality(scan, roi, seen=seen)
    with store.write("contour", key, ".jpg", identity) as part:
        Pillow.fromarray(picture(scan, roi, unit=unit)).save(part, format="JPEG", quality=88, subsampling=0)
    judge(figures, settings.quality)
    measured = measure(scan, roi, settings.of(job.sequence).intensity, unit=unit, seen=seen)
    facts = {
        "voxels": roi.voxels,
        "volume_ml": round(roi.mm3 / 1000, 4),
        "spacing_mm": " x ".join(f"{s:.4g}" for s in scan.frame.spacing),
        "format": scan.header.format,
        **{f"quality_{name}": round(float(value), 4) for name, value in figures.items()},
        "look": look(seen, roi),
    }
    frame = {k: v for k, v in asdict(scan.frame).items() if v is not None}
    return {
        "job": {"patient": job.patient, "image": job.image, "sequence": job.sequence},
        "frame": frame,
        "roi": {"lo": roi.lo, "size": roi.size, "inside": _packed(roi.inside), "notes": roi.notes},
        "measured": measured.to_json(),
        "facts": facts,
        "notes": [*scan.header.notes, *roi.notes, *said],
    }


def no_mask() -> ImageError:
    """Why a scan without a mask is left out."""
    return ImageError(
        "no mask for this scan",
        expected="a mask in the images table, or scan.mask_from naming the sequence it was drawn on",
        todo="add the mask's path in the column mask",
    )


def region(scan: Scan, job: ScanJob, settings: ScanSettings) -> tuple[Roi, list[str]]:
    """The region on this scan, and what was done to bring it over. Raises ImageError where there is none."""
    if job.mask is None:
        raise no_mask()
    matrix, said = None, []
    if job.drawn_on is not None:
        said.append(f"mask drawn on another scan, brought over by {settings.align}")
        if settings.align == "rigid":
            matrix, how = _registered(scan, job)
            said.append(how)
    roi = read_roi(job.mask, scan.frame, value=job.mask_value, name=job.mask_name, to_mask=matrix)
    if settings.component == "largest":
        kept = largest(roi)
        if kept.voxels < roi.voxels:
            said.append(f"largest part of the mask, {kept.voxels} of {roi.voxels} voxels")
        roi = kept
    return roi, said


def _registered(scan: Scan, job: ScanJob) -> tuple[Any, str]:
    """The rigid matrix from this scan to the one the mask was drawn on; a registration that failed is refused."""
    from phenolens.scans.align import align

    assert job.drawn_on is not None
    with open_scan(job.drawn_on, patient=job.patient, image=job.image, series=job.drawn_on_series) as other:
        if "PT" in (scan.header.modality, other.header.modality):
            raise ImageError(
                "a mask to bring from or to PET by registration",
                expected="scan.align: position, since PET is acquired with its CT and moves when it is registered",
                todo="set scan.align: position, or give the PET a mask of its own",
            )
        found = align(other, scan, method="rigid")
    if not found.ok:
        raise ImageError(
            f"a registration to the scan of the mask that failed ({found.why})",
            expected="two scans of one part of the body that can be laid over each other",
            todo="give this scan a mask of its own, or set scan.align: position",
        )
    return np.array(found.matrix), f"registered: {found.why}"


def _packed(inside: Mask) -> str:
    return base64.b64encode(zlib.compress(np.packbits(inside).tobytes(), 6)).decode()


def _unpacked(text: str, size: Index) -> Mask:
    x, y, z = size
    bits = np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype=np.uint8)
    inside: Mask = np.unpackbits(bits, count=x * y * z).reshape(z, y, x).astype(np.bool_)
    return inside
