"""From prepared slides to feature files: chunks of tiles are read and encoded in many processes, and one HDF5 a slide
is written when its last chunk is there.

Memory is bounded: a chunk holds at most 64 tiles and 64 MiB, and `core.compute` keeps few chunks under way. One big
slide is spread over all workers. A slide that fails leaves no file; the others go on.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from phenolens.core import compute
from phenolens.core.compute import Outcome
from phenolens.core.errors import FeatureError, PhenolensError
from phenolens.core.progress import Progress, Step
from phenolens.core.registry import Choice
from phenolens.core.store import Store, canonical, key_of
from phenolens.core.types import Bag, BagSource, FloatArray, TileSource
from phenolens.features import bagfile, tilefile
from phenolens.features._chunks import Chunk, Encoded, Maker, ReadAndEncode, close, payload_of, pieces
from phenolens.features._outlines import outlines_of
from phenolens.features.bagfile import BagFile
from phenolens.features.tilefile import Spool, TileFile
from phenolens.slides.disturb import Disturbance
from phenolens.slides.normalise import VERSION as STAIN_VERSION
from phenolens.slides.normalise import Method, normaliser, sample_of
from phenolens.slides.prepare import Prepared, SlideJob, load_prepared

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class ExtractJob:
    """One slide to extract: its file, the key of what was prepared, and which of its tiles to take.

    `disturb` is a fault put on its tiles first, to see how predictions follow; `stain` brings their colours to a
    reference after it. Both make other features.
    """

    slide: SlideJob
    prepared: str
    rows: tuple[int, ...]
    disturb: Disturbance | None = None
    stain: Method | None = None


def encoder_identity(encoder: Choice) -> dict[str, Any]:
    """What of an encoder enters keys: name, version, parameters that change features, and a hash of its weights.

    Raises WeightsMissingError where the weights are not on this machine.
    """
    return encoder.keyed()


def features_key(identity: Mapping[str, Any], job: ExtractJob) -> str:
    """The key of one slide's features."""
    return key_of(_upstream(identity, job))


def _upstream(identity: Mapping[str, Any], job: ExtractJob) -> dict[str, Any]:
    rows = hashlib.sha256(np.asarray(job.rows, dtype="<i8").tobytes()).hexdigest()[:24]
    made = {"artefact": "features", "version": VERSION, "encoder": identity, "prepared": job.prepared, "rows": rows}
    if job.disturb is not None:
        made["disturb"] = dataclasses.asdict(job.disturb)
    if job.stain is not None:
        made["stain"] = {"method": job.stain, "version": STAIN_VERSION}
    return made


def bag_file(store: Store, key: str) -> BagFile:
    """The stored features of a key, as a bag source."""
    return BagFile(store.path("features", key, ".h5"))


def stored_slide(store: Store, key: str, encoder: Choice) -> BagSource | TileSource:
    """The stored features of a key, or its tiles where the encoder makes tiles."""
    made = bag_file(store, key)
    return TileFile(made.path) if encoder.create().makes == "tiles" else made


def extract(
    jobs: Sequence[ExtractJob],
    encoder: Choice,
    root: Path,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Iterator[Outcome[ExtractJob, str]]:
    """Extract every job and yield its key, or the error that stopped it; what is stored already comes first.

    Features are written to `features/KEY.h5` under `root`. An encoder whose place is "cpu" runs in the reading
    processes; one whose place is "device" runs in one process a device beside them. Raises WeightsMissingError at once,
    before any slide is read.
    """
    identity = encoder_identity(encoder)
    store = Store(root)
    keys = [features_key(identity, job) for job in jobs]
    stored = [store.has("features", key, ".h5") for key in keys]
    work = _Work(
        jobs=[j for j, there in zip(jobs, stored, strict=True) if not there],
        keys=[k for k, there in zip(keys, stored, strict=True) if not there],
        encoder=encoder,
        identity=identity,
        store=store,
    )
    done = [Outcome(j, k, None) for j, k, there in zip(jobs, keys, stored, strict=True) if there]
    return _run(done, work, workers, progress or Progress("quiet"))


def _run(
    done: list[Outcome[ExtractJob, str]], work: _Work, workers: int | None, progress: Progress
) -> Iterator[Outcome[ExtractJob, str]]:
    yield from done
    if not work.jobs:
        return
    total = sum(len(job.rows) for job in work.jobs)
    with progress.step(f"features ({work.encoder.name})", total, "tiles") as step:
        try:
            yield from work.finished(_encoded(work, workers), step)
        finally:
            close()


def _encoded(work: _Work, workers: int | None) -> Iterator[Outcome[Chunk, Encoded]]:
    if work.encoder.create().place == "cpu":
        return compute.run_all(ReadAndEncode(work.encoder), work.chunks(), workers=workers)
    return compute.stream(payload_of, Maker(work.encoder), work.chunks(), workers=workers)


@dataclass(kw_only=True)
class _Work:
    """The jobs of one run and what is known of those under way. Chunks leave and come back in one order."""

    jobs: Sequence[ExtractJob]
    keys: Sequence[str]
    encoder: Choice
    identity: Mapping[str, Any]
    store: Store
    open: dict[int, Prepared] = field(default_factory=dict)
    failed: dict[int, PhenolensError] = field(default_factory=dict)

    def chunks(self) -> Iterator[Chunk]:
        """All chunks of all jobs; a job that failed gives no more. A job that cannot start gives one empty chunk."""
        for turn, job in enumerate(self.jobs):
            try:
                prepared = load_prepared(self.store, job.prepared)
                xy = _rows(prepared, job)
                whole = _whole(turn, job, prepared)
            except PhenolensError as error:
                self.failed[turn] = error
                yield Chunk(turn=turn, slide=job.slide, xy=np.zeros((0, 2), np.int64), side=1, size_px=1, mpp=1)
                continue
            self.open[turn] = prepared
            for piece in pieces(dataclasses.replace(whole, xy=xy)):
                if turn in self.failed:
                    break
                yield piece

    def finished(self, outcomes: Iterator[Outcome[Chunk, Encoded]], step: Step) -> Iterator[Outcome[ExtractJob, str]]:
        """One outcome a job, as soon as its last chunk or its first fault is there."""
        parts = self._gathering()
        told: set[int] = set()
        try:
            for outcome in outcomes:
                turn = outcome.item.turn
                job = self.jobs[turn]
                step.advance(len(outcome.item.xy))
                if isinstance(outcome.result, PhenolensError):
                    raise outcome.result
                if turn in told:
                    continue
                error = outcome.error or self.failed.get(turn)
                if error is None:
                    parts.add(outcome.result)
                    if len(parts) < len(job.rows):
                        continue
                    error = self._write(turn, parts)
                parts.close()
                parts = self._gathering()
                told.add(turn)
                self.open.pop(turn, None)
                if error is not None:
                    self.failed[turn] = error
                yield Outcome(job, None if error else self.keys[turn], error)
        finally:
            parts.close()

    def _gathering(self) -> Any:
        return Spool() if self.encoder.create().makes == "tiles" else _Rows()

    def _write(self, turn: int, parts: Any) -> PhenolensError | None:
        """Store the features of one job; an error of the features themselves is the job's outcome."""
        job, key, prepared = self.jobs[turn], self.keys[turn], self.open[turn]
        made = self.encoder.create()
        size_px = _size_px(prepared)
        mpp = prepared.side * prepared.frame.mpp / size_px
        notes = made.notes(size_px, mpp) if hasattr(made, "notes") else ()
        numerics = made.numerics(_device(made)) if hasattr(made, "numerics") else {}
        told = {
            "encoder": self.encoder.name,
            "size_px": size_px,
            "mpp": mpp,
            "image": job.slide.image,
            "patient": job.slide.patient,
            "identity": canonical(self.identity),
            "prepared": job.prepared,
            **numerics,
        }
        provenance = {**_upstream(self.identity, job), "tiles": len(job.rows), "notes": list(notes), **numerics}
        try:
            with self.store.write("features", key, ".h5", provenance) as part:
                if isinstance(parts, Spool):
                    place = (prepared.frame, prepared.xy[np.asarray(job.rows)], prepared.side)
                    with closing(outlines_of(prepared, job.rows, size_px) if made.outlines else Spool()) as outlines:
                        given = outlines if made.outlines else None
                        tilefile.write(part, parts, given, place, {**told, "recipe": key})
                else:
                    bagfile.write(part, _bag(prepared, job, parts.whole(), made.names, key), told)
        except FeatureError as error:
            return error
        return None


class _Rows:
    """Features of the chunks of one job."""

    def __init__(self) -> None:
        self.parts: list[FloatArray] = []

    def __len__(self) -> int:
        return sum(len(p) for p in self.parts)

    def add(self, part: FloatArray) -> None:
        self.parts.append(part)

    def whole(self) -> FloatArray:
        return np.concatenate(self.parts)

    def close(self) -> None:
        self.parts.clear()


def _bag(prepared: Prepared, job: ExtractJob, x: FloatArray, names: tuple[str, ...] | None, key: str) -> Bag:
    frame = prepared.frame
    coords = prepared.xy[np.asarray(job.rows)].astype(np.float64) * np.asarray(frame.spacing)
    extent = prepared.side * frame.mpp
    return Bag(x=x.astype(np.float32, copy=False), coords=coords, extent=extent, names=names, frame=frame, recipe=key)


def _whole(turn: int, job: ExtractJob, prepared: Prepared) -> Chunk:
    """All tiles of a slide as one chunk, with its normaliser, measured on tiles spread evenly over the slide."""
    size_px = _size_px(prepared)
    mpp = prepared.side * prepared.frame.mpp / size_px
    whole = Chunk(
        turn=turn, slide=job.slide, xy=prepared.xy, side=prepared.side, size_px=size_px, mpp=mpp, disturb=job.disturb
    )
    if job.stain is None:
        return whole
    tiles, _ = payload_of(dataclasses.replace(whole, xy=sample_of(prepared.xy)))
    return dataclasses.replace(whole, normalise=normaliser(job.stain, tiles))


def _rows(prepared: Prepared, job: ExtractJob) -> npt.NDArray[np.int64]:
    if not job.rows:
        raise FeatureError(
            f"no tile of image {job.slide.image!r} to encode",
            expected="at least one",
            todo="look at its contour, and widen the region or lower min_overlap",
        )
    if min(job.rows) < 0 or max(job.rows) >= len(prepared.xy):
        raise FeatureError(
            f"rows up to {max(job.rows)} of image {job.slide.image!r}",
            expected=f"rows below its {len(prepared.xy)} tiles",
            todo="prepare the slide again",
        )
    xy: npt.NDArray[np.int64] = prepared.xy[np.asarray(job.rows)]
    return xy


def _size_px(prepared: Prepared) -> int:
    return int(prepared.settings["tiles"]["size_px"])


def _device(encoder: Any) -> str:
    return "cpu" if encoder.place == "cpu" else compute.devices()[0]
