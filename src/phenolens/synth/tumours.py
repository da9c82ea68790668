"""Lesions of the liver as an MR scanner sees them: four types by what their tissue is like, and one lesion drawn.

No sequence shows a property alone: T2 and diffusion both make a lesion bright on DWI, T1 and contrast agent both on
CE-T1, and within each type T1 and T2 vary widely. So some pairs of types part only where two sequences are read
together: haemangioma and metastasis on T2 and DWI, where long T2 makes up for fast diffusion on either alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, fields
from types import MappingProxyType

import numpy as np

from phenolens.synth.mri import Tissues
from phenolens.synth.space import Field, Lump, Points, Rng, field, lump, step


@dataclass(frozen=True, kw_only=True)
class Nature:
    """What a lesion's tissue is like, against normal liver.

    t1, t2: log ratio; diffusion: log of 1e-3 mm²/s; agent: mM; rim: further mM in the outer fifth; patchy: share of the
    rim that is interrupted; scar: 0 none to 1, in the centre; necrosis: likewise; grain: strength of its texture;
    coarse: log of the texture's length in mm.
    """

    t1: float
    t2: float
    diffusion: float
    agent: float
    rim: float
    patchy: float
    scar: float
    necrosis: float
    grain: float
    coarse: float


LIVER_TYPES: Mapping[str, Nature] = MappingProxyType(
    {
        "hcc": Nature(
            t1=0.30, t2=0.52, diffusion=0.02, agent=0.46, rim=0.14, patchy=0.2,
            scar=0.1, necrosis=0.2, grain=0.30, coarse=2.0,
        ),
        "fnh": Nature(
            t1=0.20, t2=0.40, diffusion=0.28, agent=0.50, rim=0.02, patchy=0.2,
            scar=0.7, necrosis=0.0, grain=0.14, coarse=1.6,
        ),
        "haemangioma": Nature(
            t1=0.50, t2=0.95, diffusion=0.56, agent=0.28, rim=0.34, patchy=0.8,
            scar=0.2, necrosis=0.1, grain=0.16, coarse=2.0,
        ),
        "metastasis": Nature(
            t1=0.42, t2=0.72, diffusion=0.18, agent=0.24, rim=0.26, patchy=0.2,
            scar=0.1, necrosis=0.6, grain=0.28, coarse=1.6,
        ),
    }
)  # fmt: skip
"""Middle of each type: hepatocellular carcinoma-, focal nodular hyperplasia-, haemangioma- and metastasis-like."""
_SPREAD = Nature(
    t1=0.26, t2=0.26, diffusion=0.17, agent=0.13, rim=0.13, patchy=0.25,
    scar=0.25, necrosis=0.25, grain=0.08, coarse=0.3,
)  # fmt: skip
"""Standard deviation within a type, the same for all."""


def nature(kinds: Sequence[str], kind: str, own: float, rng: Rng) -> Nature:
    """What one lesion of a type is like; `own`, 0 to 1, is how far it goes from the middle of all `kinds` to its own.

    At 0 nothing depends on the type, and the draws are the same whatever it is.
    """
    middle = np.mean([astuple(LIVER_TYPES[k]) for k in sorted(kinds)], axis=0)
    spread = np.array(astuple(_SPREAD)) * np.clip(rng.normal(0, 1, len(fields(Nature))), -2.5, 2.5)
    drawn = middle + own * (np.array(astuple(LIVER_TYPES[kind])) - middle) + spread
    values = {f.name: float(v) for f, v in zip(fields(Nature), drawn, strict=True)}
    for name in ("agent", "rim", "scar", "necrosis", "patchy"):
        values[name] = float(np.clip(values[name], 0, 1))
    values["grain"] = max(values["grain"], 0.03)
    return Nature(**values)


@dataclass(frozen=True, kw_only=True)
class Tumour:
    """One lesion: its label, what it is like, its outline as it is and as an observer draws it, its texture and the
    gaps of its rim."""

    label: str
    nature: Nature
    body: Lump
    drawn: Lump
    texture: Field
    gaps: Field

    def facts(self) -> dict[str, object]:
        """For truth.json."""
        return {
            "label": self.label,
            "centre_mm": [round(c, 2) for c in self.body.centre],
            "half_axes_mm": [round(a, 2) for a in self.body.axes],
            "nature": {name: round(value, 4) for name, value in asdict(self.nature).items()},
        }

    def fill(self, tissue: Tissues, where: Points, normal: Tissues) -> None:
        """Write the lesion into the properties of a crop, at its points (z, y, x, 3); `normal` is liver, one voxel."""
        depth = self.body.depth(where)
        inside = depth < 1
        if not inside.any():
            return
        deep, at, n = depth[inside], where[inside], self.nature
        rough = n.grain * self.texture.at(at)
        core = n.necrosis * (1 - step(deep, 0.35, 0.62))
        scar = n.scar * (1 - step(deep * (1 + 0.35 * self.gaps.at(at)), 0.22, 0.42))
        gap = 1 - n.patchy * (self.gaps.at(at) > 0)
        rim = n.rim * step(deep, 0.68, 0.82) * gap
        agent = n.agent * (1 - 0.85 * core) * (1 - 0.75 * scar) * np.exp(0.7 * rough) + rim
        tissue.density[inside] = normal.density + 0.03
        tissue.t1[inside] = normal.t1 + n.t1 + 0.35 * rough + 0.35 * core + 0.15 * scar
        tissue.t2[inside] = normal.t2 + n.t2 + 0.55 * rough + 0.45 * core + 0.35 * scar
        tissue.diffusion[inside] = n.diffusion - 0.45 * rough + 0.45 * core + 0.15 * scar
        tissue.agent[inside] = np.clip(agent, 0, 1.6)


def tumour(label: str, what: Nature, centre: tuple[float, float, float], radius: float, rng: Rng) -> Tumour:
    """A lesion of a given middle radius in mm at a place; its shape does not depend on what it is."""
    a, b, c = radius * np.exp(np.clip(rng.normal(0, 0.12, 3), -0.25, 0.25))
    body = lump(centre, (float(a), float(b), float(c)), rng, wobble=0.07, detail=0.8, turned=True)
    hand = float(np.exp(np.clip(rng.normal(0, 0.04), -0.08, 0.08)))
    x, y, z = np.array(centre) + np.clip(rng.normal(0, 0.4, 3), -0.8, 0.8)
    drawn = Lump(
        centre=(float(x), float(y), float(z)),
        axes=(body.axes[0] * hand, body.axes[1] * hand, body.axes[2] * hand),
        turn=body.turn,
        shape=body.shape,
        wobble=body.wobble,
    )
    return Tumour(
        label=label,
        nature=what,
        body=body,
        drawn=drawn,
        texture=field(rng, float(np.exp(what.coarse)), waves=40),
        gaps=field(rng, 9.0, waves=16),
    )
