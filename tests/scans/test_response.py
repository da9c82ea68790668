"""Tests of diameters against values by hand, and of the categories of RECIST 1.1 against the rules of its paper."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from phenolens.core.errors import ImageError
from phenolens.core.types import Frame
from phenolens.scans.geometry import Roi, roi_of
from phenolens.scans.response import Lesion, lesion, respond, sum_of_diameters, targets
from tests.scans.phantoms import ellipsoid, frame_of


def region(mask: object, frame: Frame | None = None) -> Roi:
    array = np.asarray(mask, dtype=bool)
    roi = roi_of(array, frame or frame_of(array.shape[::-1]))
    assert roi is not None
    return roi


def one(name: str, mm: float, *, short: float | None = None, organ: str = "", node: bool = False) -> Lesion:
    return Lesion(
        name=name,
        long_mm=mm,
        short_mm=mm if short is None else short,
        mm3=mm**3,
        thickness_mm=2,
        organ=organ,
        node=node,
    )


def category(before: list[float], now: list[float | None], **more: float) -> str:
    names = "abcdefgh"
    baseline = [one(n, mm) for n, mm in zip(names, before, strict=False)]
    current = {n: None if mm is None else one(n, mm) for n, mm in zip(names, now, strict=False)}
    return respond(baseline, current, **more).category  # type: ignore[arg-type]


def test_one_voxel_is_as_wide_as_itself() -> None:
    frame = frame_of((5, 5, 5), (2.0, 2.0, 3.0))
    mask = np.zeros((5, 5, 5), dtype=bool)
    mask[2, 3, 1] = True
    found = lesion("a", region(mask, frame))
    assert found.long_mm == pytest.approx(2)
    assert found.short_mm == pytest.approx(2)
    assert (found.plane, found.thickness_mm, found.mm3) == (2, 3.0, 12.0)


def test_a_row_of_voxels_is_its_length_and_width() -> None:
    frame = frame_of((9, 5, 3), (1.5, 2.0, 5.0))
    mask = np.zeros((3, 5, 9), dtype=bool)
    mask[1, 2, 1:7] = True
    found = lesion("a", region(mask, frame))
    assert found.long_mm == pytest.approx(6 * 1.5)
    assert found.short_mm == pytest.approx(2)


def test_a_box_by_hand() -> None:
    mask = np.zeros((1, 8, 10), dtype=bool)
    mask[0, 2:6, 1:7] = True
    found = lesion("a", region(mask))
    assert found.long_mm == pytest.approx(np.hypot(6, 3)), "from the middle of one end's outer edge to the opposite one"
    # The hull is the rectangle of 6 x 4 less its corners. The long axis has the direction (2, 1); the line at right
    # angles to it through the middle meets the upper edge y = 2 at x = -1 and the lower one at x = 1.
    assert found.short_mm == pytest.approx(np.hypot(2, 4))


@pytest.mark.parametrize("radius", [4.0, 7.5, 15.0, 30.0])
def test_a_disc_is_measured_within_a_voxel(radius: float) -> None:
    frame = frame_of((80, 80, 3))
    found = lesion("a", region(ellipsoid(frame, (39.7, 40.2, 1), (radius, radius, 50)), frame))
    assert found.long_mm == pytest.approx(2 * radius, abs=1)
    assert found.short_mm == pytest.approx(2 * radius, abs=1)


def test_an_oblique_ellipse_has_its_own_axes() -> None:
    y, x = np.indices((120, 120)) - 59.5
    u, v = x * np.cos(0.6) + y * np.sin(0.6), -x * np.sin(0.6) + y * np.cos(0.6)
    found = lesion("a", region(((u / 45) ** 2 + (v / 20) ** 2 <= 1)[None]))
    assert found.long_mm == pytest.approx(90, abs=1)
    assert found.short_mm == pytest.approx(40, abs=1)


def test_a_crescent_is_measured_across_its_hull() -> None:
    frame = frame_of((60, 60, 1))
    ring = ellipsoid(frame, (30, 30, 0), (20, 20, 9)) & ~ellipsoid(frame, (30, 30, 0), (15, 15, 9))
    ring[:, 31:] = False
    found = lesion("a", region(ring, frame))
    assert found.long_mm == pytest.approx(41, abs=1)
    assert found.short_mm == pytest.approx(20.5, abs=1)


def test_parts_of_a_plane_that_do_not_touch_are_measured_singly() -> None:
    mask = np.zeros((1, 10, 40), dtype=bool)
    mask[0, 2:5, 2:6] = True
    mask[0, 2:5, 30:39] = True
    assert lesion("a", region(mask)).long_mm == pytest.approx(np.hypot(9, 2))


def test_the_plane_with_the_longest_diameter_counts() -> None:
    frame = frame_of((50, 50, 9), (1.0, 1.0, 5.0))
    found = lesion("a", region(ellipsoid(frame, (25, 25, 25), (14, 9, 20)), frame))
    assert found.plane == 5
    assert found.long_mm == pytest.approx(28, abs=1)
    assert found.short_mm == pytest.approx(18, abs=1)


def test_diameters_lie_in_axial_planes_however_the_scan_is_stored() -> None:
    frame = frame_of((30, 40, 24), (1.0, 1.0, 2.0))
    mask = ellipsoid(frame, (14, 20, 24), (7, 11, 20))
    wanted = lesion("a", region(mask, frame))
    for order in permutations(range(3)):
        other = replace(
            frame,
            shape=tuple(frame.shape[a] for a in order),
            spacing=tuple(frame.spacing[a] for a in order),
            direction=tuple(float(v) for v in np.eye(3)[:, list(order)].ravel()),
        )
        turned = mask.transpose(*(2 - a for a in order[::-1]))
        assert lesion("a", region(turned, other)) == wanted


@given(seed=st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_long_and_short_axis_agree_with_lines_laid_over_the_hull(seed: int) -> None:
    labels, _ = ndimage.label(np.random.default_rng(seed).random((7, 8)) < 0.6, structure=np.ones((3, 3)))
    mask = labels == np.bincount(labels[labels > 0]).argmax()
    ys, xs = np.nonzero(mask)
    points = np.concatenate([np.stack([xs + dx, ys + dy], 1) for dx, dy in ((0.5, 0), (-0.5, 0), (0, 0.5), (0, -0.5))])
    hull = shapely.MultiPoint(points).convex_hull
    apart = np.hypot(*(points[:, None] - points[None]).transpose(2, 0, 1))
    widest = 0.0
    for i, j in np.argwhere(np.triu(apart > apart.max() - 1e-9)):
        u = (points[j] - points[i]) / apart[i, j]
        across = 50 * np.array([-u[1], u[0]])
        lines = shapely.linestrings([[p - across, p + across] for p in np.asarray(hull.exterior.coords)])
        widest = max(widest, float(shapely.length(shapely.intersection(lines, hull)).max()))
    found = lesion("a", region(mask[None]))
    assert found.long_mm == pytest.approx(apart.max())
    assert found.short_mm == pytest.approx(widest, abs=1e-6)


def test_targets_are_the_largest_measurable_lesions_five_in_all_and_two_an_organ() -> None:
    lesions = [one(f"liver{i}", 30 - i, organ="liver") for i in range(4)]
    lesions += [one("lung", 12, organ="lung"), one("small", 9.9, organ="lung"), *(one(f"x{i}", 11) for i in range(4))]
    assert [t.name for t in targets(lesions)] == ["liver0", "liver1", "lung", "x0", "x1"]
    assert targets(lesions[::-1]) == targets(lesions)


def test_nodes_are_measured_across() -> None:
    node = one("n", 30, short=14.9, node=True)
    assert not node.measurable
    assert one("n", 30, short=15, node=True).measurable
    assert sum_of_diameters([one("a", 20), one("n", 30, short=16, node=True)]) == 36


def test_thick_planes_need_larger_lesions() -> None:
    assert one("a", 14).measurable
    assert not replace(one("a", 14), thickness_mm=8).measurable
    assert replace(one("a", 16), thickness_mm=8).measurable


def test_no_measurable_lesion_is_refused_with_numbers() -> None:
    with pytest.raises(ImageError, match=r"2 lesions at baseline, the largest 9\.0 mm"):
        targets([one("a", 9), one("b", 4)])
    with pytest.raises(ImageError, match="two lesions named 'a'"):
        targets([one("a", 19), one("a", 14)])


@pytest.mark.parametrize(
    ("now", "more", "wanted"),
    [
        ([60, 40], {}, "SD"),
        ([42, 28.1], {}, "SD"),
        ([42, 28], {}, "PR"),
        ([None, 40], {}, "PR"),
        ([None, None], {}, "CR"),
        ([71, 48], {}, "SD"),
        ([72, 48], {}, "PD"),
        ([40, 20], {"nadir_mm": 50}, "PD"),
        ([40, 19.9], {"nadir_mm": 50}, "PR"),
        ([70, 49], {"nadir_mm": 400}, "SD"),
        ([None, None], {"new_lesions": 1}, "PD"),
        ([30, 10], {"new_lesions": 2}, "PD"),
        ([3, None], {"nadir_mm": 0}, "PD"),
    ],
)
def test_categories_of_two_lesions_of_60_and_40_mm(
    now: list[float | None], more: dict[str, float], wanted: str
) -> None:
    assert category([60, 40], now, **more) == wanted


def test_twenty_percent_of_little_is_no_progress_below_5_mm() -> None:
    assert category([12], [16.9]) == "SD"
    assert category([12], [17]) == "PD"


def test_nodes_of_normal_size_are_a_complete_response_though_the_sum_is_not_zero() -> None:
    baseline = [one("n", 30, short=20, node=True), one("a", 15)]
    found = respond(baseline, {"n": one("n", 12, short=9.9), "a": None}, nadir_mm=4)
    assert found.category == "CR"
    assert found.current_mm == pytest.approx(9.9)
    assert respond(baseline, {"n": one("n", 12, short=10), "a": None}).category == "PR"


def test_a_target_that_was_not_measured_is_not_evaluable_unless_the_rest_has_grown() -> None:
    baseline = [one("a", 60), one("b", 40)]
    found = respond(baseline, {"a": one("a", 10)})
    assert (found.category, found.current_mm, found.change, found.change_of_volume) == ("NE", None, None, None)
    assert "b" in found.why
    assert respond(baseline, {"a": one("a", 120)}).category == "PD"
    assert respond(baseline, {"a": one("a", 10)}, new_lesions=1).category == "PD"


def test_change_of_volume_is_that_of_the_targets() -> None:
    found = respond([one("a", 20), one("b", 10), one("tiny", 2)], {"a": one("a", 10), "b": None, "tiny": one("t", 9)})
    assert found.change == pytest.approx(-20 / 30)
    assert found.change_of_volume == pytest.approx(1000 / 9000 - 1)
    assert found.targets == ("a", "b")
    assert "-67%" in found.why


def test_a_lesion_that_shrinks_on_its_masks_is_a_partial_response() -> None:
    frame = frame_of((60, 60, 20), (1.0, 1.0, 3.0))
    before, after = (lesion("a", region(ellipsoid(frame, (30, 30, 28), (r, r, r)), frame)) for r in (20.0, 12.0))
    found = respond([before], {"a": after})
    assert found.category == "PR"
    assert found.change == pytest.approx(-0.4, abs=0.03)
    assert found.change_of_volume == pytest.approx((12 / 20) ** 3 - 1, abs=0.03)


@pytest.mark.parametrize(
    ("name", "published", "mm3"), [("brain2", 16.3129789202, 1797.18018), ("breast1", 8.39979371027, 132.425795)]
)
def test_real_lesions_have_the_largest_axial_diameter_of_the_published_baseline(
    real_data: Path, name: str, published: float, mm3: float
) -> None:
    import SimpleITK

    file = real_data / "scans" / "pyradiomics-cases" / "data" / f"{name}_label.nrrd"
    if not file.exists():
        pytest.skip(f"no {file}")
    label = SimpleITK.ReadImage(str(file))
    frame = frame_of(label.GetSize(), label.GetSpacing(), origin=label.GetOrigin(), direction=label.GetDirection())
    found = lesion("a", region(SimpleITK.GetArrayFromImage(label) == 1, frame))
    assert found.long_mm == pytest.approx(published, abs=1e-4)
    assert found.mm3 == pytest.approx(mm3, abs=1e-4)


def test_real_lesions_in_two_parts_are_not_measured_across_the_gap(real_data: Path) -> None:
    import SimpleITK

    file = real_data / "scans" / "pyradiomics-cases" / "data" / "brain1_label.nrrd"
    if not file.exists():
        pytest.skip(f"no {file}")
    label = SimpleITK.ReadImage(str(file))
    frame = frame_of(label.GetSize(), label.GetSpacing(), origin=label.GetOrigin(), direction=label.GetDirection())
    found = lesion("a", region(SimpleITK.GetArrayFromImage(label) == 1, frame))
    assert found.long_mm == pytest.approx(37.7595, abs=1e-3), "47.969 mm across both parts of one plane"
