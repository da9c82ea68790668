"""Gastrointestinal masses as CT shows them: two kinds whose texture and shape differ, at the same size and mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, fields
from types import MappingProxyType

import numpy as np

from phenolens.core.types import FloatArray
from phenolens.synth.space import Field, Lump, Points, Rng, field, lump, step


@dataclass(frozen=True, kw_only=True)
class MassNature:
    """What a mass is like: hu: mean; grain: strength of its texture in HU; coarse: log of the texture's length in mm;
    necrosis: 0 none to 1, in the centre; lobes: how far the outline wobbles, as a share of the radius; long: log of the
    long axis over the middle radius."""

    hu: float
    grain: float
    coarse: float
    necrosis: float
    lobes: float
    long: float


GIST_TYPES: Mapping[str, MassNature] = MappingProxyType(
    {
        "lobed": MassNature(hu=84, grain=19, coarse=2.1, necrosis=0.45, lobes=0.125, long=0.24),
        "smooth": MassNature(hu=86, grain=12, coarse=1.5, necrosis=0.2, lobes=0.07, long=0.12),
    }
)
"""Middle of each kind; the classes of a cohort name them. No claim about any mutation is made."""
_SPREAD = MassNature(hu=9, grain=4, coarse=0.28, necrosis=0.2, lobes=0.025, long=0.08)
"""Standard deviation within a kind."""
_LEAST = MassNature(hu=50, grain=4, coarse=1.0, necrosis=0, lobes=0.02, long=0)


def mass_nature(kinds: Sequence[str], kind: str, own: float, rng: Rng) -> MassNature:
    """What one mass of a kind is like; `own`, 0 to 1, is how far it goes from the middle of all `kinds` to its own.

    At 0 nothing depends on the kind, and the draws are the same whatever it is.
    """
    middle = np.mean([astuple(GIST_TYPES[k]) for k in sorted(kinds)], axis=0)
    spread = np.array(astuple(_SPREAD)) * np.clip(rng.normal(0, 1, len(fields(MassNature))), -2.5, 2.5)
    drawn = middle + own * (np.array(astuple(GIST_TYPES[kind])) - middle) + spread
    low = astuple(_LEAST)
    return MassNature(**{f.name: float(max(v, m)) for f, v, m in zip(fields(MassNature), drawn, low, strict=True)})


@dataclass(frozen=True, kw_only=True)
class Mass:
    """One mass: its label, what it is like, its outline as it is and as an observer draws it, its texture."""

    label: str
    nature: MassNature
    body: Lump
    drawn: Lump
    texture: Field

    def facts(self) -> dict[str, object]:
        """For truth.json."""
        return {
            "label": self.label,
            "centre_mm": [round(c, 2) for c in self.body.centre],
            "half_axes_mm": [round(a, 2) for a in self.body.axes],
            "nature": {name: round(value, 4) for name, value in asdict(self.nature).items()},
        }

    def fill(self, x: FloatArray, where: Points, contrast: float) -> None:
        """Write the mass into HU (z, y, x) at points (z, y, x, 3); `contrast` times what the agent adds."""
        depth = self.body.depth(where)
        inside = depth < 1
        core = min(self.nature.necrosis, 1.0) * (1 - step(depth[inside], 0.3, 0.7))
        rough = self.nature.grain * self.texture.at(where[inside])
        x[inside] = (38 + contrast * (self.nature.hu - 38)) * (1 - 0.5 * core) + rough


def mass(label: str, what: MassNature, centre: tuple[float, float, float], radius: float, rng: Rng) -> Mass:
    """A mass of a given middle radius in mm at a place; its volume does not depend on its shape."""
    scale = radius / (1 + 3 * what.lobes**2) ** (1 / 3)
    axes = (
        scale * float(np.exp(what.long)),
        scale * float(np.exp(-what.long / 2)),
        scale * float(np.exp(-what.long / 2)),
    )
    body = lump(centre, axes, rng, wobble=what.lobes, detail=0.55, turned=True)
    hand = float(np.exp(np.clip(rng.normal(0, 0.03), -0.06, 0.06)))
    x, y, z = np.array(centre) + np.clip(rng.normal(0, 0.4, 3), -0.8, 0.8)
    drawn = Lump(
        centre=(float(x), float(y), float(z)),
        axes=(axes[0] * hand, axes[1] * hand, axes[2] * hand),
        turn=body.turn,
        shape=body.shape,
        wobble=body.wobble,
    )
    return Mass(
        label=label, nature=what, body=body, drawn=drawn, texture=field(rng, float(np.exp(what.coarse)), waves=48)
    )
