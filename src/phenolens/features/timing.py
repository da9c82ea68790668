"""How long reading and encoding the tiles of a slide takes in one process."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Sequence

from phenolens.core.registry import Choice
from phenolens.core.store import Store
from phenolens.features._chunks import Maker, close, payload_of, pieces
from phenolens.features.extract import ExtractJob, _rows, _whole
from phenolens.slides.prepare import load_prepared


def seconds_to_encode(jobs: Sequence[ExtractJob], encoder: Choice, store: Store, device: str) -> Iterator[float]:
    """Seconds from the file to the features of each job's tiles, by an encoder that was loaded before; stores nothing.

    The first job also pays for what a library does once. Raises FeatureError where the encoder cannot be loaded or a
    job cannot be read.
    """
    encode = Maker(encoder)(device)
    try:
        for job in jobs:
            begun = time.perf_counter()
            prepared = load_prepared(store, job.prepared)
            xy, whole = _rows(prepared, job), _whole(0, job, prepared)
            for piece in pieces(dataclasses.replace(whole, xy=xy)):
                made = encode(payload_of(piece))
                if isinstance(made, Exception):
                    raise made
            yield time.perf_counter() - begun
    finally:
        close()
