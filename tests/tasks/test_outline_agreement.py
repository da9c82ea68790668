"""Agreement of outlines: Dice within the tissue, and distances of boundaries where there is other tissue beside."""

from __future__ import annotations

import numpy as np
import pytest

from phenolens.tasks._outlines import boundary, outline_agreement
from phenolens.tasks.segmentation import Segmentation

TISSUE = np.ones((40, 50), bool)


def box(top: int, left: int, bottom: int, right: int) -> np.ndarray:
    made = np.zeros(TISSUE.shape, bool)
    made[top:bottom, left:right] = True
    return made


def test_an_outline_agrees_with_itself_wholly() -> None:
    found = outline_agreement(box(5, 5, 20, 30), box(5, 5, 20, 30), TISSUE, 2.0, tolerance_um=0)
    assert found == {"dice": 1, "surface_dice": 1, "boundary_um": 0, "boundary95_um": 0}


def test_a_shift_of_three_pixels_is_that_far_apart() -> None:
    a, b = box(0, 10, 40, 50), box(0, 13, 40, 50)
    made = outline_agreement(a, b, TISSUE, 2.0, tolerance_um=5.9)
    assert made["dice"] == pytest.approx(2 * 37 / (40 + 37))
    assert (made["surface_dice"], made["boundary_um"], made["boundary95_um"]) == (0, 6, 6)
    assert outline_agreement(a, b, TISSUE, 2.0, tolerance_um=6)["surface_dice"] == 1


def test_the_end_of_the_tissue_is_no_boundary() -> None:
    assert len(boundary(box(0, 0, 40, 20), TISSUE)) == 40
    assert (boundary(box(0, 0, 40, 20), TISSUE)[:, 1] == 19).all()
    tissue = box(0, 0, 40, 30)
    assert len(boundary(box(0, 10, 40, 30), tissue)) == 40
    assert not len(boundary(tissue, tissue))


def test_what_lies_on_glass_is_not_looked_at() -> None:
    tissue = box(0, 0, 40, 30)
    loose, tight = box(0, 10, 40, 50), box(0, 10, 40, 30)
    assert outline_agreement(loose, tight, tissue, 1.0, tolerance_um=0)["dice"] == 1


def test_nothing_found_has_no_distance_and_no_agreement() -> None:
    made = outline_agreement(np.zeros_like(TISSUE), box(5, 5, 9, 9), TISSUE, 1.0, tolerance_um=9)
    assert made == {"dice": 0, "surface_dice": 0, "boundary_um": None, "boundary95_um": None}
    both = outline_agreement(TISSUE, TISSUE, TISSUE, 1.0, tolerance_um=9)
    assert (both["dice"], both["surface_dice"], both["boundary_um"]) == (1, 1, None)


def test_the_ninety_fifth_percentile_is_of_the_worse_side() -> None:
    a = box(5, 5, 35, 30) | box(36, 45, 37, 46)
    made = outline_agreement(a, box(5, 5, 35, 30), TISSUE, 1.0, tolerance_um=1)
    away = np.hypot(36 - 34, 45 - 29)
    assert made["boundary95_um"] == 0
    n = len(boundary(a, TISSUE)) + len(boundary(box(5, 5, 35, 30), TISSUE))
    assert made["boundary_um"] == pytest.approx(away / n)
    assert made["surface_dice"] == pytest.approx(1 - 1 / n)


def test_the_task_measures_with_its_own_tolerance() -> None:
    a, b = box(0, 10, 40, 50), box(0, 13, 40, 50)
    near = Segmentation(tolerance_mm=0.006).outline_agreement(a, b, TISSUE, 2.0)
    far = Segmentation(tolerance_mm=0.005).outline_agreement(a, b, TISSUE, 2.0)
    assert (near["surface_dice"], far["surface_dice"]) == (1, 0)
