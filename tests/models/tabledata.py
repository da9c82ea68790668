"""Units with named parts, some of them absent, for the tests of models that read tables."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from bagdata import bag

from phenolens.core.types import Example, Loaded, Part

NAMES = ("size", "shape", "grey", "grain", "rim")


def unit(
    patient: str, label: str | None, site: str = "one", *, unit_id: str = "", **parts: list[float] | np.ndarray | None
) -> Example:
    """One unit; each keyword is a part with its features (one row, or several), None where it is absent."""
    made = tuple(
        Part(name=name, image=f"{patient}-{name}", source=None if x is None else Loaded(bag=named(x)))
        for name, x in parts.items()
    )
    targets = {} if label is None else {"subtype": label}
    return Example(patient=patient, unit_id=unit_id or patient, parts=made, covariates={"site": site}, targets=targets)


def named(x: list[float] | np.ndarray):  # type: ignore[no-untyped-def]
    rows = np.atleast_2d(np.asarray(x, dtype=np.float32))
    return bag(rows, NAMES[: rows.shape[1]])


def cohort(
    n: int,
    *,
    seed: int = 0,
    classes: tuple[str, ...] = ("A", "B"),
    absent: float = 0.0,
    signal: float = 1.5,
    d: int = 5,
) -> list[Example]:
    """Units with the parts T1 and T2: T1 tells the first class from the others, T2 the second; parts go at random."""
    draw = np.random.default_rng(seed)
    made = []
    for i in range(n):
        c = i % len(classes)
        x = draw.normal(size=(2, d))
        x[0, 0] += signal * (c == 0)
        x[1, 1] += signal * (c == 1)
        gone = draw.random(2) < absent
        if gone.all():
            gone[int(draw.integers(2))] = False
        t1, t2 = (None if g else row for g, row in zip(gone, x, strict=True))
        made.append(unit(f"p{i:03d}", classes[c], f"s{i // len(classes) % 3}", T1=t1, T2=t2))
    return made


def without(example: Example, *names: str) -> Example:
    """The same unit with some parts absent."""
    parts = tuple(replace(p, source=None) if p.name in names else p for p in example.parts)
    return replace(example, parts=parts)
