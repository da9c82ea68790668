"""Feature files made by TRIDENT, CLAM or STAMP (or by phenolens elsewhere), read in place.

| made by | features | coords | size of a tile |
|---|---|---|---|
| TRIDENT, ours | `features` (n, d) or (1, n, d) | `coords`, px of level 0 | `patch_size_level0` |
| CLAM | `features` (n, d) | `coords`, px of level 0 | not in the file; the study says it |
| STAMP | `feats` (n, d) | `coords`, um | `tile_size_um`, before 2.1 `tile_size` |

Sources: mahmoodlab/TRIDENT `WSI.extract_patch_features`, mahmoodlab/CLAM `extract_features_fp.py`, KatherLab/STAMP
`preprocessing/__init__.py`. Files are matched to the images table by their stem: an image's id or its path's stem.
Where neither table nor file gives the micrometres per px of level 0 of STAMP's slides, the frame has the resolution of
the tiles (coordinates and extent are in um anyway).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pandas as pd

from phenolens.core.errors import FeatureError, nearest
from phenolens.core.store import fingerprint
from phenolens.core.types import Bag, Frame

_TILE_TODO = "give it in the study: features: {folder: …, tile_um: 112} or tile_px_level0: 448"


@dataclass(frozen=True, kw_only=True)
class ForeignBag:
    """One slide's features in a file of another tool, as a bag source. `recipe` is the fingerprint of its content.

    in_um: its coordinates are in um by themselves, so the spacing of its frame need not be that of level 0.
    """

    path: Path
    frame: Frame
    extent: float
    size: tuple[int, int]
    recipe: str
    in_um: bool = False

    def load(self) -> Bag:
        """The bag, coords and extent in um; raises FeatureError when a feature is not finite."""
        with _opened(self.path) as file:
            x = _matrix(file)[...].reshape(self.size).astype(np.float32)
            coords = _coords_um(file, self.frame)
        if not np.isfinite(x).all():
            raise FeatureError(
                "features that are not finite", expected="numbers", todo="extract them again", where=str(self.path)
            )
        return Bag(x=x, coords=coords, extent=self.extent, names=None, frame=self.frame, recipe=self.recipe)


def open_folder(
    folder: Path, images: pd.DataFrame, *, tile_um: float | None = None, tile_px_level0: float | None = None
) -> dict[str, ForeignBag]:
    """The feature files of a folder by image id; images without a file are missing (see `without_features`).

    images has the columns image, path and mpp (um per px of level 0, NaN when not known). tile_um or tile_px_level0
    says the side of a tile where the files do not. Raises FeatureError when nothing matches, when a file could be of
    two images or an image has two files, when a file has no coordinates, counts differ, the size of a tile is unknown
    or contradicts the study, or slides differ in the number of features.
    """
    found = _match(folder, images)
    mpps = dict(zip(images["image"].astype(str), images["mpp"], strict=True)) if "mpp" in images else {}
    sources: dict[str, ForeignBag] = {}
    for image, path in found.items():
        given = float(mpps.get(image, math.nan))
        with _opened(path) as file:
            source = _source(file, path, given, tile_um, tile_px_level0)
        if source is not None:
            sources[image] = source
    _check_dimensions(sources)
    return sources


def without_features(images: pd.DataFrame, sources: Mapping[str, Any]) -> list[str]:
    """The image ids of the table that have no (or an empty) feature file, in the order of the table."""
    return [image for image in images["image"].astype(str) if image not in sources]


def _match(folder: Path, images: pd.DataFrame) -> dict[str, Path]:
    """Image id to file, both ways unambiguous."""
    if not folder.is_dir():
        raise FeatureError(
            f"no folder {folder}", expected="a folder of .h5 files", todo="correct features: {folder: …}"
        )
    files: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*.h5")):
        files.setdefault(path.stem, []).append(path)
    owners: dict[str, list[str]] = {}
    for image, slide in zip(images["image"].astype(str), images["path"].astype(str), strict=True):
        for stem in dict.fromkeys((image, Path(slide).stem)):
            owners.setdefault(stem, []).append(image)
    found: dict[str, list[Path]] = {}
    for stem, paths in files.items():
        mine = owners.get(stem, [])
        if len(mine) > 1:
            raise _ambiguous(f"{paths[0].name}, which could be of the images {', '.join(mine)}", folder)
        for image in mine:
            found.setdefault(image, []).extend(paths)
    for image, paths in found.items():
        if len(paths) > 1:
            names = ", ".join(str(p.relative_to(folder)) for p in paths)
            raise _ambiguous(f"{len(paths)} files for image {image!r}: {names}", folder)
    if not found:
        stems = ", ".join(list(files)[:3]) or "none"
        wanted = ", ".join(list(owners)[:3])
        raise FeatureError(
            f"no feature file of any image (files: {stems})",
            expected=f"files named after the images, such as {wanted}{nearest(next(iter(owners), ''), files)}",
            todo="rename them, or set the column image in images.csv to their stems",
            where=str(folder),
        )
    return {image: paths[0] for image, paths in found.items()}


def _ambiguous(what: str, folder: Path) -> FeatureError:
    return FeatureError(
        what,
        expected="one file an image",
        todo="name one folder of features, of one encoder, and give every image its own id",
        where=str(folder),
    )


def _source(file: Any, path: Path, mpp: float, tile_um: float | None, tile_px: float | None) -> ForeignBag | None:
    """The source of one file, None when it holds no tile."""
    matrix = _matrix(file)
    size = (int(matrix.shape[-2]), int(matrix.shape[-1]))
    if "coords" not in file:
        raise FeatureError(
            "no coordinates",
            expected="a dataset 'coords' of shape (n, 2)",
            todo="extract with the tool's option that stores them; slide-level embeddings cannot be used here",
            where=str(path),
        )
    shape = file["coords"].shape
    if len(shape) != 2 or shape[1] != 2 or shape[0] != size[0]:
        raise FeatureError(
            f"features of shape {matrix.shape} with coords of shape {shape}",
            expected="one pair of coordinates a tile",
            todo="extract the features of this slide again",
            where=str(path),
        )
    if size[0] == 0:
        return None
    frame, extent = _geometry(file, path, mpp, tile_um, tile_px)
    return ForeignBag(path=path, frame=frame, extent=extent, size=size, recipe=fingerprint(path), in_um=_in_um(file))


def _geometry(file: Any, path: Path, mpp: float, tile_um: float | None, tile_px: float | None) -> tuple[Frame, float]:
    """Frame and side of a tile in um. mpp is that of the table, else of the file."""
    told = _attributes(file)
    if _in_um(file):
        extent = _agree(path, told.get("tile_size_um", told.get("tile_size")), tile_um, "um")
        spacing = mpp if not math.isnan(mpp) else _mpp_of(told, path, extent)
    else:
        spacing = mpp if not math.isnan(mpp) else _mpp_of(told, path, None)
        wanted = tile_px if tile_px is not None else tile_um / spacing if tile_um is not None else None
        extent = _agree(path, told.get("patch_size_level0"), wanted, "px of level 0") * spacing
    corner = file["coords"][...].max(0) * (1 / spacing if _in_um(file) else 1) + extent / spacing
    width = told.get("level0_width", told.get("width", math.ceil(corner[0])))
    height = told.get("level0_height", told.get("height", math.ceil(corner[1])))
    frame = Frame(shape=(int(width), int(height)), spacing=(spacing, spacing), origin=(0.0, 0.0), unit="um")
    return frame, extent


def _agree(path: Path, own: Any, given: float | None, unit: str) -> float:
    """The side of a tile in `unit`, from the file or the study; both must say the same within 2%."""
    if own is None and given is None:
        raise FeatureError(
            "no size of a tile", expected=f"the side of a tile in {unit}", todo=_TILE_TODO, where=str(path)
        )
    if own is not None and given is not None and abs(float(own) / given - 1) > 0.02:
        raise FeatureError(
            f"tiles of {float(own):g} {unit}",
            expected=f"{given:g} {unit}, as the study says",
            todo="correct or remove tile_um or tile_px_level0",
            where=str(path),
        )
    return float(own if own is not None else given)  # type: ignore[arg-type]


def _mpp_of(told: Mapping[str, Any], path: Path, tile_um: float | None) -> float:
    """Micrometres per px of level 0; for coordinates in um that of the tiles will do."""
    for name in ("mpp_x", "level0_mpp"):
        if name in told:
            return float(told[name])
    if tile_um is not None and "tile_size_px" in told:
        return tile_um / float(told["tile_size_px"])
    if "level0_magnification" in told:
        return 10 / float(told["level0_magnification"])
    raise FeatureError(
        "no micrometres per pixel of the slide",
        expected="the column mpp in images.csv, because the file does not tell",
        todo="add mpp to images.csv",
        where=str(path),
    )


def _check_dimensions(sources: Mapping[str, ForeignBag]) -> None:
    first: dict[int, str] = {}
    for image, source in sources.items():
        first.setdefault(source.size[1], image)
    if len(first) > 1:
        said = " and ".join(f"{d} of image {image!r}" for d, image in first.items())
        raise FeatureError(
            f"differing numbers of features: {said}",
            expected="one encoder for all slides",
            todo="name a folder that holds the features of one encoder",
        )


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with h5py.File(path, "r") as file:
            yield file
    except OSError as fault:
        raise FeatureError(
            f"a file that is not HDF5 or is cut short ({fault})",
            expected="features of TRIDENT, CLAM or STAMP",
            todo="extract the features of this slide again",
            where=str(path),
        ) from fault


def _matrix(file: Any) -> Any:
    for name in ("features", "feats"):
        if isinstance(file.get(name), h5py.Dataset):
            matrix = file[name]
            if matrix.ndim == 2 or (matrix.ndim == 3 and matrix.shape[0] == 1):
                return matrix
            raise FeatureError(
                f"'{name}' of shape {matrix.shape}",
                expected="(n, d) or (1, n, d)",
                todo="use tile features, not slide embeddings",
                where=file.filename,
            )
    raise FeatureError(
        f"the datasets {', '.join(file) or '(none)'}",
        expected="'features' (TRIDENT, CLAM) or 'feats' (STAMP)",
        todo="name a folder of tile features",
        where=file.filename,
    )


def _attributes(file: Any) -> dict[str, Any]:
    """Attributes of the file, then of `coords`, where TRIDENT puts them."""
    return {**dict(file.attrs), **dict(file["coords"].attrs)}


def _in_um(file: Any) -> bool:
    """STAMP's coordinates are in um; those of all others in px of level 0."""
    unit = _attributes(file).get("unit", "um" if "feats" in file else "px")
    return (unit.decode() if isinstance(unit, bytes) else str(unit)) == "um"


def _coords_um(file: Any, frame: Frame) -> npt.NDArray[np.float64]:
    coords: npt.NDArray[np.float64] = file["coords"][...].astype(np.float64)
    return coords if _in_um(file) else coords * frame.spacing[0]
