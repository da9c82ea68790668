"""Agreement of masks, by hand."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from phenolens.core.errors import ModelError, PluginError
from phenolens.core.registry import TASKS
from phenolens.core.types import Example, Frame, Held, Part, Volume
from phenolens.tasks.segmentation import dice, surface_dice


def box(*ends: tuple[int, int], shape: tuple[int, int, int] = (7, 9, 11)) -> npt.NDArray[np.bool_]:
    mask = np.zeros(shape, dtype=np.bool_)
    mask[tuple(slice(a, b) for a, b in ends)] = True
    return mask


def test_the_overlap_of_two_boxes_is_the_one_worked_by_hand() -> None:
    a, b = box((1, 4), (1, 4), (1, 5)), box((1, 4), (1, 4), (3, 7))
    assert dice(a, b) == 2 * 18 / (36 + 36)
    assert dice(a, a) == 1
    assert dice(a, ~a) == 0


def test_two_empty_masks_agree_and_one_empty_mask_does_not() -> None:
    empty, full = box((0, 0), (0, 0), (0, 0)), box((1, 3), (1, 3), (1, 3))
    for measure in (dice, lambda a, b: surface_dice(a, b, (1, 1, 1), tolerance_mm=5)):
        assert measure(empty, empty) == 1
        assert measure(empty, full) == measure(full, empty) == 0


def test_a_plate_moved_along_an_axis_agrees_from_the_tolerance_of_its_move_on() -> None:
    a, b = box((2, 3), (2, 7), (2, 8)), box((4, 5), (2, 7), (2, 8))
    spacing = (1.0, 1.0, 2.5)
    assert surface_dice(a, b, spacing, tolerance_mm=4.99) == 0
    assert surface_dice(a, b, spacing, tolerance_mm=5.0) == 1


def test_the_share_of_a_surface_within_the_tolerance_is_the_one_worked_by_hand() -> None:
    a, b = box((3, 4), (4, 5), (0, 4)), box((3, 4), (4, 5), (2, 8))
    # four voxels in a row, x 0 to 3, and six, x 2 to 7: a has 0 off by 2 and 1 off by 1; b has 4 to 7 off by 1 to 4
    assert surface_dice(a, b, (1, 1, 1), tolerance_mm=0) == 4 / 10
    assert surface_dice(a, b, (1, 1, 1), tolerance_mm=1) == 6 / 10
    assert surface_dice(a, b, (2, 1, 1), tolerance_mm=1) == 4 / 10
    assert surface_dice(a, b, (2, 1, 1), tolerance_mm=4) == 8 / 10


def test_the_inside_of_a_mask_is_no_surface() -> None:
    whole = box((1, 6), (1, 6), (1, 6))
    hollow = whole & ~box((3, 4), (3, 4), (3, 4))
    # 125 - 27 outer voxels; the hole adds its six neighbours, each two voxels below the outer surface
    assert surface_dice(whole, hollow, (1, 1, 1), tolerance_mm=0) == pytest.approx((98 + 98) / (98 + 104))
    assert surface_dice(whole, hollow, (1, 1, 1), tolerance_mm=1) == 1


def example(mask: npt.NDArray[np.bool_] | None, *names: str) -> Example:
    frame = Frame(shape=(11, 9, 7), spacing=(1.0, 1.0, 1.0), origin=(0.0, 0.0, 0.0), unit="mm")
    volume = Volume(x=np.zeros((1, 7, 9, 11), np.float32), mask=mask, frame=frame, recipe="")
    parts = tuple(Part(name=n, image=n, source=Held(volume=volume)) for n in names)
    return Example(patient="p", unit_id="p", parts=parts)


def test_the_task_measures_a_mask_against_the_one_drawn() -> None:
    drawn, found = box((1, 4), (1, 4), (1, 5)), box((1, 4), (1, 4), (1, 4))
    measured = TASKS.create("segmentation", {"tolerance_mm": 1.0}).measure(found, example(drawn, "T1"))
    assert measured == {"dice": 2 * 27 / (36 + 27), "surface_dice": 1}
    assert set(TASKS.create("segmentation").measure(drawn, example(drawn, "T1")).values()) == {1}


def test_a_unit_without_a_mask_or_with_several_images_is_refused() -> None:
    task = TASKS.create("segmentation")
    for mask in (None, box((0, 0), (0, 0), (0, 0))):
        with pytest.raises(ModelError, match="no lesion in the volume of unit 'p'"):
            task.truth(example(mask, "T1"))
    with pytest.raises(ModelError, match="found T1, T2 in unit 'p'; expected one image"):
        task.truth(example(box((1, 2), (1, 2), (1, 2)), "T1", "T2"))
    with pytest.raises(ModelError, match="expected one image of sequence 'DWI'"):
        TASKS.create("segmentation", {"sequence": "DWI"}).volume(example(None, "T1"))
    assert (
        TASKS.create("segmentation", {"sequence": "T2"}).truth(example(box((1, 2), (1, 2), (1, 2)), "T1", "T2")).sum()
        == 1
    )


def test_masks_on_two_grids_and_a_negative_tolerance_are_refused() -> None:
    with pytest.raises(ModelError, match="one grid"):
        dice(np.ones((2, 2, 2), bool), np.ones((2, 2, 3), bool))
    with pytest.raises(PluginError, match="tolerance_mm"):
        TASKS.create("segmentation", {"tolerance_mm": -1})
