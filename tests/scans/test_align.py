"""Tests of laying one scan over another: known shifts and turns are found, and failures are flagged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from phenolens.core.errors import ImageError
from phenolens.core.types import Frame
from phenolens.scans.align import Alignment, align
from phenolens.scans.geometry import to_mm
from phenolens.scans.sampling import InMemory
from tests.scans.phantoms import frame_of

Transform = npt.NDArray[np.float64]
FIXED = frame_of((56, 48, 20), (3.5, 3.5, 6.0), origin=(-96.25, -82.25, -57.0))
MOVING = frame_of((60, 44, 22), (3.2, 3.8, 5.5), origin=(-94.4, -81.7, -57.75))
ORGANS = (
    ((0, 0, 0), (85, 65, 300)),
    ((0, 5, 0), (75, 55, 300)),
    ((25, -5, 10), (30, 28, 35)),
    ((-45, 8, -12), (16, 22, 30)),
    ((28, 6, 16), (8, 8, 9)),
    ((-5, 35, 0), (9, 9, 300)),
)
T1, T2 = (900, 300, 450, 350, 200, 600), (400, 200, 700, 150, 900, 100)


def drawn(frame: Frame, values: tuple[float, ...], placed: Transform, seed: int) -> npt.NDArray[np.float32]:
    """A patient of ellipsoids, moved by `placed`, with noise."""
    z, y, x = np.indices(frame.shape[::-1])
    back = np.linalg.inv(placed)
    at = to_mm(frame, np.stack([x, y, z], axis=-1)) @ back[:3, :3].T + back[:3, 3]
    made = np.zeros(frame.shape[::-1])
    for (centre, radii), value in zip(ORGANS, values, strict=True):
        made[(((at - np.array(centre)) / np.array(radii)) ** 2).sum(-1) <= 1] = value
    return (made + np.random.default_rng(seed).normal(0, 25, made.shape)).astype(np.float32)


def rigid(shift: tuple[float, ...], turn: tuple[float, ...]) -> Transform:
    made = np.eye(4)
    made[:3, :3] = Rotation.from_euler("xyz", turn, degrees=True).as_matrix()
    made[:3, 3] = shift
    return made


def pair(shift: tuple[float, ...], turn: tuple[float, ...], **more: object) -> Alignment:
    fixed, moving = drawn(FIXED, T1, np.eye(4), 1), drawn(MOVING, T2, rigid(shift, turn), 2)
    return align((moving, MOVING), (fixed, FIXED), **more)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def found() -> Alignment:
    return pair((14, -8, 9), (2, -3, 6))


def test_a_known_movement_between_two_contrasts_is_found_within_a_mm_and_a_degree(found: Alignment) -> None:
    true, made = rigid((14, -8, 9), (2, -3, 6)), np.array(found.matrix)
    left = np.linalg.inv(true) @ made
    assert np.linalg.norm(left[:3, 3]) < 1
    assert np.degrees(np.arccos((np.trace(left[:3, :3]) - 1) / 2)) < 1
    assert found.ok
    assert found.method == "rigid"
    assert found.after > 2 * found.before
    assert found.shift_mm == pytest.approx(np.linalg.norm((14, -8, 9)), abs=1)
    assert found.turn_deg == pytest.approx(7, abs=1)


def test_the_same_scans_give_the_same_matrix(found: Alignment) -> None:
    assert pair((14, -8, 9), (2, -3, 6)) == found


def test_the_limits_flag_a_movement_that_goes_beyond_them(found: Alignment) -> None:
    limited = pair((14, -8, 9), (2, -3, 6), max_shift_mm=5, max_turn_deg=3)
    assert limited.matrix == found.matrix
    assert not limited.ok
    assert "beyond 5" in limited.why
    assert "beyond 3" in limited.why


def test_scans_with_nothing_in_common_are_flagged_and_fall_back_only_as_declared() -> None:
    rng = np.random.default_rng(3)
    a, b = (
        ndimage.gaussian_filter(rng.normal(size=frame.shape[::-1]), 1).astype(np.float32) for frame in (MOVING, FIXED)
    )
    failed = align((a, MOVING), (b, FIXED), fallback="position")
    assert not failed.ok
    assert failed.method == "position"
    assert failed.matrix == align((a, MOVING), (b, FIXED), method="position").matrix
    assert "registration failed" in failed.why
    assert "below 0.02" in failed.why


def test_position_leaves_everything_where_it_is_and_says_how_much_overlaps() -> None:
    made = pair((0, 0, 0), (0, 0, 0), method="position")
    np.testing.assert_array_equal(np.array(made.matrix), np.eye(4))
    assert made.ok
    assert made.before == made.after > 0.3


def test_a_scan_can_be_handed_over_without_reading_it_whole() -> None:
    scans = [InMemory(x=drawn(f, v, np.eye(4), 1), frame=f) for f, v in ((MOVING, T2), (FIXED, T1))]
    made = align(*scans, method="position")
    assert made == align(*((s.x, s.frame) for s in scans), method="position")


def test_scans_that_hardly_overlap_are_flagged() -> None:
    fixed = drawn(FIXED, T1, np.eye(4), 1)
    far = replace(FIXED, origin=(60.0, 40.0, 0.0))
    for method in ("position", "rigid"):
        made = align((fixed, far), (fixed, FIXED), method=method)  # type: ignore[arg-type]
        assert not made.ok
        assert "of the smaller scan on the other" in made.why


def test_scans_of_few_planes_are_flagged() -> None:
    thin = replace(FIXED, shape=(56, 48, 3))
    x = drawn(thin, T1, np.eye(4), 1)
    made = align((x, thin), (x, thin))
    assert not made.ok
    assert "3 planes" in made.why


def test_a_registration_in_which_the_scans_lose_each_other_is_flagged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("phenolens.scans.align.register", lambda *_: None)
    made = pair((0, 0, 0), (0, 0, 0))
    assert not made.ok
    assert "lost each other" in made.why


def test_the_shared_information_of_a_scan_with_itself_is_nearly_one_and_with_noise_nearly_none() -> None:
    x = drawn(FIXED, T1, np.eye(4), 1)
    assert align((x, FIXED), (x, FIXED), method="position").before > 0.95
    noise = np.random.default_rng(0).normal(size=x.shape).astype(np.float32)
    assert align((noise, FIXED), (x, FIXED), method="position").before < 0.005


def test_a_scan_of_one_value_is_refused() -> None:
    x = drawn(FIXED, T1, np.eye(4), 1)
    with pytest.raises(ImageError, match="all 53760 values 7 in the moving scan"):
        align((np.full_like(x, 7), FIXED), (x, FIXED))


def test_a_real_mr_that_is_pushed_aside_comes_back(real_data: Path) -> None:
    import SimpleITK

    folder = real_data / "scans" / "sts" / "STS_008"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    volumes = []
    for name in ("CT", "MR_T1"):
        image = SimpleITK.ReadImage(str(folder / f"{name}_image.nii.gz"))
        frame = frame_of(image.GetSize(), image.GetSpacing(), origin=image.GetOrigin())
        volumes.append((SimpleITK.GetArrayFromImage(image).astype(np.float32), frame))
    (ct, fixed), (mr, moving) = volumes
    there = align((mr, moving), (ct, fixed))
    pushed = replace(moving, origin=tuple(a + b for a, b in zip(moving.origin, (8.0, -6.0, 5.0), strict=True)))
    again = align((mr, pushed), (ct, fixed))
    middle = np.append(to_mm(fixed, (np.array(fixed.shape) - 1) / 2), 1)
    moved = (np.array(again.matrix) @ middle - np.array(there.matrix) @ middle)[:3]
    np.testing.assert_allclose(moved, (8, -6, 5), atol=0.5)
    assert there.ok
    assert again.ok
