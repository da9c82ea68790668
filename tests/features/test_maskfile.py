"""Masks on the grid of the scan."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from phenolens.core.types import Frame
from phenolens.features.maskfile import onto_scan, write_mask
from phenolens.scans.geometry import cropped, to_mm

TILT = (0.0, 0.8, 0.6, 1.0, 0.0, 0.0, 0.0, 0.6, -0.8)
SCAN = Frame(shape=(40, 30, 70), spacing=(1.0, 1.5, 0.5), origin=(-20.0, 5.0, 300.0), unit="mm", direction=TILT)


def test_a_mask_is_read_back_by_others_at_the_same_place(tmp_path: Path) -> None:
    mask = np.random.default_rng(0).random(SCAN.shape[::-1]) > 0.7
    path = tmp_path / "found.part"
    write_mask(path, mask, SCAN)
    named = path.rename(tmp_path / "found.nii.gz")
    image = SimpleITK.ReadImage(str(named))
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(image), mask)
    assert image.GetPixelID() == SimpleITK.sitkUInt8
    np.testing.assert_allclose(image.GetSpacing(), SCAN.spacing, rtol=1e-6)
    np.testing.assert_allclose(image.TransformIndexToPhysicalPoint((7, 3, 50)), to_mm(SCAN, (7, 3, 50)), atol=1e-3)
    assert [p.name for p in tmp_path.iterdir()] == ["found.nii.gz"]


def test_equal_masks_give_equal_bytes(tmp_path: Path) -> None:
    mask = np.random.default_rng(0).random(SCAN.shape[::-1]) > 0.7
    for name in "ab":
        write_mask(tmp_path / f"{name}.nii.gz", mask, SCAN)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


@pytest.mark.parametrize("spacing", [1.0, 2.0])
def test_a_mask_found_on_another_grid_comes_to_lie_where_it_was(spacing: float) -> None:
    window = cropped(SCAN, (5, 4, 10), (24, 20, 50))
    grid = Frame(shape=(80, 80, 80), spacing=(spacing,) * 3, origin=(0.0, 0.0, 0.0), unit="mm")
    middle = to_mm(window, (12, 10, 25))
    grid = Frame(shape=grid.shape, spacing=grid.spacing, origin=tuple(middle - 39.5 * spacing), unit="mm")
    z, y, x = np.indices((80, 80, 80))
    away = np.linalg.norm(to_mm(grid, np.stack([x, y, z], -1)) - middle, axis=-1)
    share = np.clip(8 - away + 0.5, 0, 1)
    made = onto_scan(share, grid, SCAN)
    k, j, i = np.nonzero(made)
    found = to_mm(SCAN, np.stack([i, j, k], -1))
    assert np.linalg.norm(found - middle, axis=1).max() < 8 + spacing
    np.testing.assert_allclose(found.mean(0), middle, atol=0.2)
    assert made.sum() * 0.75 == pytest.approx(4 / 3 * np.pi * 8**3, rel=0.05)


def test_beyond_the_grid_nothing_is_inside() -> None:
    small = cropped(SCAN, (10, 10, 10), (5, 5, 40))
    made = onto_scan(np.ones((40, 5, 5)), small, SCAN)
    assert made.sum() == 5 * 5 * 40
    assert made[10:50, 10:15, 10:15].all()
