"""Copies of patients under new ids: slides encoded again and cropped, scans resampled by part of a voxel with noise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import SimpleITK
from PIL import Image
from scipy import ndimage

from phenolens.core.types import Box, FloatArray
from phenolens.scans.image import open_scan
from phenolens.scans.mask import read_roi
from phenolens.slides.image import open_slide


def copy_slides(folder: Path, share: float, *, seed: int = 0) -> dict[str, str]:
    """Add copies (JPEG quality 70, 2 px off all round) of `share` of the patients to the tables; copy -> original."""

    def again(row: dict[str, Any], new: str) -> dict[str, Any]:
        image = f"{new}-{row['image'].rpartition('-')[2]}"
        with open_slide(folder / row["path"], patient=new, image=image) as slide:
            w, h = slide.frame.shape
            whole, mpp = slide.read(Box(0, 0, w, h), slide.frame.mpp), slide.frame.mpp
        path = f"slides/{image}.jpg"
        Image.fromarray(whole[2:-2, 2:-2]).save(folder / path, quality=70)
        return {**row, "image": image, "path": path, "mpp": mpp}

    return _copied(folder, share, seed, again)


def copy_scans(folder: Path, share: float, *, seed: int = 0, moved: float = 0.5, noise: float = 0.1) -> dict[str, str]:
    """Add copies (image and mask up to `moved` voxels aside, noise of `noise` SD of the region); copy -> original."""
    rng = np.random.default_rng(seed)

    def again(row: dict[str, Any], new: str) -> dict[str, Any]:
        image = f"{new}-{row['sequence']}"
        with open_scan(folder / row["path"]) as scan:
            x, frame = scan.whole(), scan.frame
            inside = read_roi(folder / row["mask"], frame, value=None, name=None).within((0, 0, 0), frame.shape)
        x2, inside2 = aside(x, inside, rng, moved=moved, noise=noise)
        made = {"path": x2, "mask": inside2.astype(np.uint8)}
        for column, array in made.items():
            written = SimpleITK.GetImageFromArray(array)
            written.SetSpacing(frame.spacing)
            written.SetOrigin(frame.origin)
            written.SetDirection(frame.direction)
            SimpleITK.WriteImage(written, str(folder / f"copies_{image}_{column}.nii.gz"))
        return {**row, "image": image, **{c: f"copies_{image}_{c}.nii.gz" for c in made}}

    return _copied(folder, share, seed, again)


def aside(
    x: FloatArray, inside: npt.NDArray[np.bool_], rng: np.random.Generator, *, moved: float, noise: float
) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """Image and mask (z, y, x) up to `moved` voxels aside, with noise of `noise` SD of the region."""
    by = rng.uniform(-moved, moved, 3)
    made = ndimage.shift(x, by, order=1, mode="nearest")
    made += rng.normal(0, noise * x[inside].std(), x.shape).astype(np.float32)
    mask = ndimage.shift(inside.astype(np.float32), by, order=1) >= 0.5
    return made, mask if mask.any() else inside


def _copied(folder: Path, share: float, seed: int, again: Any) -> dict[str, str]:
    people, images = (pd.read_csv(folder / f"{name}.csv") for name in ("patients", "images"))
    rng = np.random.default_rng(seed)
    chosen = sorted(rng.choice(people["patient"], size=round(share * len(people)), replace=False))
    names = {f"X{i:03d}": old for i, old in enumerate(chosen)}
    of = {p: rows.to_dict("records") for p, rows in images.groupby("patient")}
    rows = [{**again(row, new), "patient": new} for new, old in names.items() for row in of[old]]
    twins = people.set_index("patient").loc[list(names.values())].assign(patient=list(names)).reset_index(drop=True)
    pd.concat([people, twins]).to_csv(folder / "patients.csv", index=False)
    pd.concat([images, pd.DataFrame(rows)]).to_csv(folder / "images.csv", index=False)
    return names
