"""The types that travel between rooms: frozen, keyword-only, valid once constructed.

Those of place stand in `core/geometry.py`, those of features and crops in `core/measured.py`; all have their name here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from phenolens.core.errors import CohortError, LeakError, ModelError
from phenolens.core.geometry import Box, Frame, Image, Region, Rgb
from phenolens.core.measured import Bag, BagSource, FloatArray, Held, Loaded, Volume, VolumeSource
from phenolens.core.tileset import TileSet, TileSource

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Bag",
    "BagSource",
    "Box",
    "Cohort",
    "Example",
    "Finding",
    "FloatArray",
    "Frame",
    "Heatmap",
    "Held",
    "Image",
    "Interval",
    "Loaded",
    "Part",
    "Region",
    "Rgb",
    "Severity",
    "Split",
    "TileSet",
    "TileSource",
    "Volume",
    "VolumeSource",
]

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True, kw_only=True)
class Cohort:
    """Patients and their images. `patients` is indexed by patient id; `images` has one row an image, sorted.

    `lesions` has one row a lesion (or one for each image it is drawn on), sorted, where lesions are predicted.
    """

    patients: pd.DataFrame
    images: pd.DataFrame
    fingerprint: str
    lesions: pd.DataFrame | None = None

    def __post_init__(self) -> None:
        twice = self.patients.index[self.patients.index.duplicated()]
        if len(twice):
            raise CohortError(f"patient {twice[0]!r} twice", expected="one row a patient", todo="merge the rows")


@dataclass(frozen=True, kw_only=True)
class Part:
    """One named image of an example (a slide by its id, a scan by its sequence); `source` is None when it is absent."""

    name: str
    image: str
    source: BagSource | VolumeSource | TileSource | None

    @property
    def present(self) -> bool:
        return self.source is not None

    def load(self) -> Bag | None:
        """The bag, or None when the image is absent. Raises ModelError where the part holds something else."""
        held = None if self.source is None else self.source.load()
        if held is None or isinstance(held, Bag):
            return held
        raise self._unlike(held, "a bag of features")

    def volume(self) -> Volume | None:
        """The volume, or None when the image is absent. Raises ModelError where the part holds something else."""
        held = None if self.source is None else self.source.load()
        if held is None or isinstance(held, Volume):
            return held
        raise self._unlike(held, "a volume")

    def tiles(self) -> TileSet | None:
        """The tiles, or None when the image is absent. Raises ModelError where the part holds something else."""
        held = None if self.source is None else self.source.load()
        if held is None or isinstance(held, TileSet):
            return held
        raise self._unlike(held, "a set of tiles")

    def _unlike(self, held: object, expected: str) -> ModelError:
        found = {"Bag": "a bag of features", "Volume": "a volume", "TileSet": "a set of tiles"}[type(held).__name__]
        return ModelError(
            f"{found} in part {self.name!r}, image {self.image!r}",
            expected=expected,
            todo="choose an encoder and a model that go together; see phenolens list",
        )


@dataclass(frozen=True, kw_only=True)
class Example:
    """What every model reads: all images of one unit of prediction (a patient, an image or a lesion).

    `readings` are the parts of this unit as they were measured again, one tuple a reading; `readings_elsewhere` those
    of units of people outside the cohort, which all examples share. Both serve to tell features that are stable.
    """

    patient: str
    unit_id: str
    parts: tuple[Part, ...]
    covariates: Mapping[str, Any] = field(default_factory=dict)
    targets: Mapping[str, Any] = field(default_factory=dict)
    readings: tuple[tuple[Part, ...], ...] = ()
    readings_elsewhere: tuple[tuple[tuple[Part, ...], ...], ...] = ()

    def bags(self) -> list[Bag]:
        """The bags that are there, in the order of the parts."""
        return [bag for bag in (part.load() for part in self.parts) if bag is not None]

    def instances(self) -> FloatArray:
        """All instances of all parts that are there, (n, d) float32, in the order of the parts."""
        bags = self.bags()
        if not bags or not sum(len(b.x) for b in bags):
            raise ModelError(
                f"no instance in unit {self.unit_id!r} of patient {self.patient!r}",
                expected="at least one tile with features",
                todo="see quarantine.csv for its images",
            )
        return bags[0].x if len(bags) == 1 else np.concatenate([b.x for b in bags])

    def keep(self, rows: npt.NDArray[np.bool_] | npt.NDArray[np.intp]) -> Example:
        """The same example with only the given rows of `instances()`, as one in-memory part."""
        bags = self.bags()
        x = self.instances()[rows]
        coords = np.concatenate([b.coords for b in bags])[rows]
        bag = replace(bags[0], x=x, coords=coords)
        return replace(self, parts=(Part(name=self.parts[0].name, image=self.parts[0].image, source=Loaded(bag=bag)),))


@dataclass(frozen=True, kw_only=True)
class Split:
    """One partition of the patients. The three sets are disjoint; tune belongs to the training side."""

    scheme: str
    repeat: int
    fold: int
    train: frozenset[str]
    tune: frozenset[str]
    test: frozenset[str]
    seed: int

    def __post_init__(self) -> None:
        for a, b in (("train", "tune"), ("train", "test"), ("tune", "test")):
            both = getattr(self, a) & getattr(self, b)
            if both:
                who = ", ".join(sorted(both)[:5])
                raise LeakError(
                    f"{len(both)} patients in both {a} and {b} of {self.name}: {who}",
                    expected="every patient in one of train, tune and test",
                    todo="give each patient one part in the split file",
                )

    @property
    def name(self) -> str:
        return f"{self.scheme}-{self.repeat}-{self.fold}"

    @property
    def hash(self) -> str:
        """Twelve hex digits of the content, the same on every machine."""
        content = [
            self.scheme,
            self.repeat,
            self.fold,
            self.seed,
            sorted(self.train),
            sorted(self.tune),
            sorted(self.test),
        ]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]


@dataclass(frozen=True, kw_only=True)
class Interval:
    """Two-sided 95% limits and how they were made."""

    low: float
    high: float
    method: str


@dataclass(frozen=True, kw_only=True)
class Heatmap:
    """Scores of one image's instances for one prediction.

    scores (n,), coords (n, 2) in the frame's unit, extent in that unit; `explains` is the class; fidelity holds the
    deletion and insertion figures beside those of a random order.
    """

    image: str
    scores: FloatArray
    coords: npt.NDArray[np.float64]
    extent: float
    frame: Frame
    method: str
    explains: str
    fidelity: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What a check or an audit found: the rule, how bad, who is touched, and what to do.

    `inflates` says how much it could fake, with its source; `signed_off` is the author's reason in the study file for
    going on all the same.
    """

    rule: str
    severity: Severity
    what: str
    todo: str
    who: Sequence[str] = ()
    where: str = ""
    inflates: str = ""
    signed_off: str = ""
