"""The types that travel between rooms: frozen, keyword-only, valid once constructed.

Axis order of `Frame` and coordinates is x, y(, z), as in DICOM; arrays are indexed the other way round ([z,] y, x).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from phenolens.core.errors import CohortError, FeatureError, LeakError, ModelError

if TYPE_CHECKING:
    import pandas as pd

    from phenolens.core.tileset import TileSet

FloatArray = npt.NDArray[np.float32]
"""Shape (n, d), (n,) or as said where it is used."""
Rgb = npt.NDArray[np.uint8]
"""Shape (height, width, 3) or (n, height, width, 3), values 0 to 255."""

Severity = Literal["error", "warning", "note"]


class Box(NamedTuple):
    """A rectangle in a frame's pixels (level 0 of a slide); x, y is its top left corner. Fractions are allowed."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, kw_only=True)
class Frame:
    """Where an image lies: shape in px (x, y[, z]), spacing and origin in `unit`, direction cosines or None."""

    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    origin: tuple[float, ...]
    unit: Literal["um", "mm"]
    direction: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if not len(self.shape) == len(self.spacing) == len(self.origin):
            raise ValueError(f"shape {self.shape}, spacing {self.spacing} and origin {self.origin} differ in length")
        if min(self.shape) < 1 or min(self.spacing) <= 0:
            raise ValueError(f"shape {self.shape} and spacing {self.spacing} must be positive")

    @property
    def mpp(self) -> float:
        """Micrometres per pixel, the mean of x and y; only for frames in um."""
        if self.unit != "um":
            raise ValueError(f"mpp is for frames in um, this one is in {self.unit}")
        return (self.spacing[0] + self.spacing[1]) / 2


class Image(Protocol):
    """One image that can be read by box: `Slide` today, `Scan` beside it."""

    @property
    def patient(self) -> str: ...
    @property
    def image(self) -> str: ...
    @property
    def frame(self) -> Frame: ...
    def read(self, box: Box, spacing: float) -> Rgb: ...
    def thumbnail(self, max_px: int) -> Rgb: ...


@dataclass(frozen=True, kw_only=True)
class Region:
    """Part of one image: a polygon in frame px on slides (shapely), a boolean mask on scans."""

    area: Any
    frame: Frame
    label: str
    source: str


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
class Bag:
    """One image's instances.

    x is (n, d) float32; coords is (n, 2 or 3) in the frame's unit (top left corner of the instance); extent is the side
    of an instance in that unit; names holds d feature names or None; recipe is the key of how it was made.
    """

    x: FloatArray
    coords: npt.NDArray[np.float64]
    extent: float
    names: tuple[str, ...] | None
    frame: Frame
    recipe: str

    def __post_init__(self) -> None:
        if self.x.ndim != 2 or len(self.x) != len(self.coords):
            raise FeatureError(
                f"features of shape {self.x.shape} with coordinates of shape {self.coords.shape}",
                expected="one row of each an instance",
                todo="extract the features of this image again",
            )
        if self.names is not None and len(self.names) != self.x.shape[1]:
            raise FeatureError(
                f"{len(self.names)} names for {self.x.shape[1]} features",
                expected="one name a feature",
                todo="extract the features of this image again",
            )


@dataclass(frozen=True, kw_only=True)
class Volume:
    """One image's crop, as networks in three dimensions read it.

    x is (c, z, y, x) float32; mask is (z, y, x) bool or None; frame (in mm) is that of the crop; recipe is the key of
    how it was made. landmarks are percentiles of the whole image's intensities, for a standard scale that is fitted
    inside a fold, or None; mask_channel says that the last channel is the share of each voxel in the region, and no
    intensity.
    """

    x: FloatArray
    mask: npt.NDArray[np.bool_] | None
    frame: Frame
    recipe: str
    landmarks: tuple[float, ...] | None = None
    mask_channel: bool = False

    def __post_init__(self) -> None:
        grid = self.frame.shape[::-1]
        if self.x.ndim != 4 or self.x.shape[1:] != grid or (self.mask is not None and self.mask.shape != grid):
            raise FeatureError(
                f"a volume of shape {self.x.shape}" + ("" if self.mask is None else f" with mask {self.mask.shape}"),
                expected=f"(c, z, y, x) with z, y, x = {grid}, as its frame says",
                todo="extract the volume of this image again",
            )


class BagSource(Protocol):
    """Where a bag is read from when it is needed, so that a cohort is never whole in memory."""

    def load(self) -> Bag: ...


class VolumeSource(Protocol):
    """Where a volume is read from when it is needed."""

    def load(self) -> Volume: ...


class TileSource(Protocol):
    """Where a set of tiles is read from when it is needed."""

    def load(self) -> TileSet: ...


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A bag that is already in memory, as a source."""

    bag: Bag

    def load(self) -> Bag:
        return self.bag


@dataclass(frozen=True, kw_only=True)
class Held:
    """A volume that is already in memory, as a source."""

    volume: Volume

    def load(self) -> Volume:
        return self.volume


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
        from phenolens.core.tileset import TileSet

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
