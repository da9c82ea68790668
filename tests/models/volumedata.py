"""Volumes made on the spot, for the tests of models and maps on volumes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from phenolens.core.types import Example, Frame, Held, Part, Volume

CLASSES = ("A", "B")


def volume(x: npt.ArrayLike, *, spacing: tuple[float, float, float] = (2.0, 2.0, 2.0)) -> Volume:
    """A volume (c, z, y, x), or (z, y, x) of one channel, with a ball in its middle as region."""
    made = np.asarray(x, dtype=np.float32)
    made = made[None] if made.ndim == 3 else made
    frame = Frame(shape=made.shape[:0:-1], spacing=spacing, origin=(0.0, 0.0, 0.0), unit="mm")
    return Volume(x=made, mask=ball(made.shape[1:]), frame=frame, recipe="made in a test")


def ball(
    shape: tuple[int, ...], *, centre: tuple[float, ...] | None = None, radius: float = 4.0
) -> npt.NDArray[np.bool_]:
    """A ball (z, y, x) of `radius` voxels, in the middle when no centre is given."""
    middle = centre or tuple((n - 1) / 2 for n in shape)
    away = sum((axis - c) ** 2 for axis, c in zip(np.indices(shape), middle, strict=True))
    return np.asarray(away <= radius**2)


def example(patient: str, label: str | None, parts: Mapping[str, Volume | None], unit: str = "") -> Example:
    """One unit with a part a sequence; None is an absent one."""
    made = tuple(
        Part(name=name, image=f"{unit or patient}-{name}", source=None if v is None else Held(volume=v))
        for name, v in parts.items()
    )
    targets = {} if label is None else {"subtype": label}
    return Example(patient=patient, unit_id=unit or patient, parts=made, covariates={"site": "one"}, targets=targets)


def rimmed(n: int, *, seed: int = 0, names: tuple[str, ...] = ("T1", "T2"), side: int = 20) -> list[Example]:
    """Balls of equal mean: in class B the rim is bright and the centre dark. Only the first sequence shows it."""
    draw = np.random.default_rng(seed)
    made = []
    for i in range(n):
        parts = {}
        for name in names:
            shift = tuple((side - 1) / 2 + draw.uniform(-1.5, 1.5, 3))
            whole, core = ball((side,) * 3, centre=shift, radius=6), ball((side,) * 3, centre=shift, radius=4.2)
            x = draw.normal(size=(side,) * 3) + 2 * whole
            if i % 2 and name == names[0]:
                x = x + 2.0 * (whole & ~core) * (core.sum() / (whole & ~core).sum()) - 2.0 * core
            parts[name] = volume(x)
        made.append(example(f"p{i:03d}", CLASSES[i % 2], parts))
    return made
