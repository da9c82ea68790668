"""Near duplicates among 1,400 patients: looks of four sequences each, and pooled features of as many slides.

python benchmarks/duplicates.py
"""

from __future__ import annotations

import time

import numpy as np

from phenolens.audit.duplicates import FEATURES, LOOKS, embedded
from phenolens.core.look import close_pairs, look_of
from phenolens.core.types import Bag, Example, Frame, Loaded, Part
from phenolens.steps.duplicates import Seen, alike

PATIENTS, SEQUENCES, DIMENSION, COPIES = 1400, ("T1", "T2", "DWI", "CE-T1"), 1536, 280
FRAME = Frame(shape=(10, 10), spacing=(0.5, 0.5), origin=(0.0, 0.0), unit="um")


def main() -> None:
    draw = np.random.default_rng(0)
    pictures = draw.normal(size=(PATIENTS - COPIES, len(SEQUENCES), 6, 32, 32))
    pictures = np.concatenate([pictures, pictures[:COPIES] + draw.normal(0, 0.05, pictures[:COPIES].shape)])
    start = time.perf_counter()
    seen = [
        Seen(patient=f"P{i:04d}", image=f"P{i:04d}-{name}", kind=name, look=look_of(list(pictures[i, k]), 8))
        for i in range(PATIENTS)
        for k, name in enumerate(SEQUENCES)
    ]
    looked = time.perf_counter() - start
    start = time.perf_counter()
    found = alike(seen, LOOKS)
    print(f"looks: {looked / len(seen) * 1e3:.2f} ms an image; {len(seen)} images compared in "
          f"{time.perf_counter() - start:.2f} s, {len(found)} pairs of {COPIES * len(SEQUENCES)} planted")  # fmt: skip
    rows = draw.normal(size=(PATIENTS, 1, DIMENSION)).astype(np.float32)
    rows[-COPIES:] = rows[:COPIES]
    examples = [_example(f"P{i:04d}", x) for i, x in enumerate(rows)]
    start = time.perf_counter()
    ((held, vectors),) = embedded(examples, recurring=False).values()
    pairs = close_pairs(vectors, [s.patient for s in held], FEATURES)
    print(
        f"features: {PATIENTS} x {DIMENSION} in {time.perf_counter() - start:.2f} s, {len(pairs)} of {COPIES} planted"
    )


def _example(patient: str, x: np.ndarray) -> Example:
    bag = Bag(x=x, coords=np.zeros((len(x), 2)), extent=1.0, names=None, frame=FRAME, recipe="made here")
    part = Part(name="slide", image=patient, source=Loaded(bag=bag))
    return Example(patient=patient, unit_id=patient, parts=(part,))


if __name__ == "__main__":
    main()
