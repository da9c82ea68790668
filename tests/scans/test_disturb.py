"""Scans disturbed on purpose: the dose says how much, the image's identity which way, the box makes no difference."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from phenolens.core.errors import ImageError
from phenolens.core.store import key_of
from phenolens.core.types import Frame
from phenolens.scans import _disturb_field as fields
from phenolens.scans.disturb import DOSES, READING, UNITS, Disturbance, Kind, disturb, measured_again, refuse_kind
from phenolens.scans.geometry import Roi, roi_of
from phenolens.scans.intensity import IntensitySettings, Measured, measure
from phenolens.scans.sampling import InMemory

FRAME = Frame(shape=(60, 56, 24), spacing=(1.0, 1.25, 2.5), origin=(-20.0, 4.0, 7.0), unit="mm")
KINDS = get_args(Kind)
SIGMA = 6.0


def ball(radius_mm: float = 14.0) -> Roi:
    z, y, x = np.indices(FRAME.shape[::-1])
    away = np.sqrt(((x - 30) * 1.0) ** 2 + ((y - 27) * 1.25) ** 2 + ((z - 12) * 2.5) ** 2)
    made = roi_of(away < radius_mm, FRAME)
    assert made is not None
    return made


def scan(sigma: float = SIGMA, level: float = 100.0) -> InMemory:
    rng = np.random.default_rng(0)
    x = level + rng.normal(0, sigma, FRAME.shape[::-1]) if sigma else np.full(FRAME.shape[::-1], level)
    return InMemory(x=x.astype(np.float32), frame=FRAME)


def whole(seen: object) -> np.ndarray:  # type: ignore[type-arg]
    return seen.read((0, 0, 0), FRAME.shape)  # type: ignore[attr-defined, no-any-return]


def full(roi: Roi) -> np.ndarray:  # type: ignore[type-arg]
    return roi.within((0, 0, 0), FRAME.shape)


def dice(a: Roi, b: Roi) -> float:
    return 2 * float((full(a) & full(b)).sum()) / (a.voxels + b.voxels)


@pytest.mark.parametrize("kind", KINDS)
def test_dose_0_changes_nothing_byte_for_byte(kind: Kind) -> None:
    seen, roi = disturb(scan(), ball(), Disturbance(kind=kind, dose=0.0), "a")
    assert whole(seen).tobytes() == scan().x.tobytes()
    assert roi.lo == ball().lo
    assert roi.inside.tobytes() == ball().inside.tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_a_higher_dose_changes_more_the_same_dose_the_same_and_another_image_otherwise(kind: Kind) -> None:
    changes = []
    for dose in DOSES[kind]:
        how = Disturbance(kind=kind, dose=dose)
        (seen, roi), (again, same) = (disturb(scan(), ball(), how, "a") for _ in range(2))
        assert whole(seen).dtype == np.float32
        assert whole(seen).tobytes() == whole(again).tobytes()
        np.testing.assert_array_equal(full(roi), full(same))
        others = [disturb(scan(), ball(), how, f"image {i}") for i in range(6)]
        unlike = [
            not np.array_equal(whole(seen), whole(s)) or not np.array_equal(full(roi), full(r)) for s, r in others
        ]
        assert any(unlike) == (kind != "spacing")
        changes.append(1 - dice(roi, ball()) if kind == "contour" else float(np.abs(whole(seen) - scan().x).mean()))
    assert 0 < changes[0] < changes[1] < changes[2] or kind in ("rotation", "translation")
    assert min(changes) > 0
    assert UNITS[kind]
    assert DOSES[kind][0] <= READING[kind] <= DOSES[kind][-1]


@pytest.mark.parametrize("kind", KINDS)
def test_a_box_is_disturbed_as_the_whole_scan_is(kind: Kind) -> None:
    seen, _ = disturb(scan(), ball(), Disturbance(kind=kind, dose=DOSES[kind][1]), "a")
    for lo, shape in (((17, 9, 5), (20, 31, 9)), ((0, 0, 0), (7, 5, 3)), ((50, 48, 20), (10, 8, 4))):
        x, y, z = lo
        w, h, d = shape
        np.testing.assert_allclose(
            seen.read(lo, shape), whole(seen)[z : z + d, y : y + h, x : x + w], rtol=0, atol=2e-3
        )


def test_noise_raises_the_variance_by_the_stated_amount() -> None:
    for dose in DOSES["noise"]:
        seen, _ = disturb(scan(), ball(), Disturbance(kind="noise", dose=dose), "a")
        found = whole(seen).var() - scan().x.var()
        assert found == pytest.approx((dose * SIGMA) ** 2, rel=0.08)


def test_an_images_own_noise_is_found_in_spite_of_what_it_shows() -> None:
    x = scan(sigma=SIGMA).x.copy()
    x[full(ball())] += 80
    x += np.linspace(0, 200, x.shape[2], dtype=np.float32)
    assert fields.own_noise(x) == pytest.approx(SIGMA, rel=0.05)


def test_noise_of_an_even_image_is_refused() -> None:
    with pytest.raises(ImageError, match="noise of 0"):
        disturb(scan(sigma=0), ball(), Disturbance(kind="noise", dose=1.0), "a")


@pytest.mark.parametrize("dose", DOSES["rotation"])
def test_a_turned_ball_keeps_its_volume_and_its_middle(dose: float) -> None:
    _, roi = disturb(scan(), ball(), Disturbance(kind="rotation", dose=dose), "a")
    assert roi.voxels == pytest.approx(ball().voxels, rel=0.01)
    assert dice(roi, ball()) > 0.97
    np.testing.assert_allclose(
        [c.mean() for c in np.nonzero(full(roi))], [c.mean() for c in np.nonzero(full(ball()))], atol=0.05
    )


def test_image_and_region_turn_together() -> None:
    """What is inside the region stays inside: a bar drawn in the image is the bar drawn in the mask."""
    bar = np.zeros(FRAME.shape[::-1], dtype=bool)
    bar[8:16, 24:31, 12:50] = True
    roi = roi_of(bar, FRAME)
    assert roi is not None
    drawn = InMemory(x=bar.astype(np.float32), frame=FRAME)
    for how in (Disturbance(kind="rotation", dose=10.0), Disturbance(kind="translation", dose=0.5)):
        seen, turned = disturb(drawn, roi, how, "a")
        x = whole(seen)
        assert x[full(turned)].min() > 0.4
        assert x[~full(turned)].max() < 0.6
        assert turned.voxels == pytest.approx(roi.voxels, rel=0.03)
    _, y, x_ = np.nonzero(full(disturb(drawn, roi, Disturbance(kind="rotation", dose=10.0), "a")[1]))
    slope = np.polyfit(x_ * 1.0, y * 1.25, 1)[0]
    assert abs(np.rad2deg(np.arctan(slope))) == pytest.approx(10, abs=1.0)


@pytest.mark.parametrize(("dose", "least", "most"), [(1.0, 0.90, 0.97), (2.0, 0.82, 0.93), (3.0, 0.74, 0.90)])
def test_a_moved_outline_keeps_its_overlap_in_the_stated_range(dose: float, least: float, most: float) -> None:
    """A ball of 14 mm: a shift of mean size s takes about 3 s / (2 · 14) of the Dice."""
    how = Disturbance(kind="contour", dose=dose)
    found = [dice(disturb(scan(), ball(), how, f"image {i}")[1], ball()) for i in range(8)]
    assert least < np.mean(found) < most
    assert min(found) > least - 0.07


def test_an_outline_moves_both_ways_and_by_no_more_than_twice_its_dose() -> None:
    away = fields.distance(full(ball()), FRAME.spacing)
    sizes = []
    for i in range(12):
        _, roi = disturb(scan(), ball(), Disturbance(kind="contour", dose=1.5), f"image {i}")
        changed = full(roi) ^ full(ball())
        assert np.abs(away[changed]).max() <= 3.0
        sizes.append(roi.voxels / ball().voxels)
    assert min(sizes) < 1 < max(sizes)
    assert np.mean(sizes) == pytest.approx(1 + 3 * (1.5 / 14) ** 2, abs=0.05), "the cube of a radius that varies"


def test_distance_is_that_to_the_faces_of_the_region() -> None:
    box = np.zeros((7, 9, 11), dtype=bool)
    box[2:5, 3:6, 4:7] = True
    away = fields.distance(box, (2.0, 1.0, 4.0))
    assert away[3, 4, 7] == pytest.approx(1.0)
    assert away[3, 4, 9] == pytest.approx(5.0)
    assert away[3, 7, 5] == pytest.approx(1.5)
    assert away[0, 4, 5] == pytest.approx(6.0)
    assert away[3, 4, 5] == pytest.approx(-1.5)


def test_a_bias_field_is_smooth_and_as_strong_as_stated() -> None:
    spreads = []
    for i in range(40):
        seen, _ = disturb(scan(sigma=0), ball(), Disturbance(kind="bias", dose=0.2), f"image {i}")
        log = np.log(whole(seen) / 100)
        spreads.append(log[12, 28, 30])
        assert np.abs(np.diff(log, axis=2)).max() < 0.02
    assert np.std(spreads) == pytest.approx(0.2, rel=0.3)


def test_coarser_voxels_take_noise_away_and_leave_an_even_image_alone() -> None:
    seen, _ = disturb(scan(), ball(), Disturbance(kind="spacing", dose=1.0), "a")
    assert whole(seen).std() < 0.5 * SIGMA
    assert whole(seen).shape == scan().x.shape
    even, _ = disturb(scan(sigma=0), ball(), Disturbance(kind="spacing", dose=0.25), "a")
    np.testing.assert_allclose(whole(even), 100, rtol=1e-6)


def test_a_region_of_which_nothing_is_left_is_named() -> None:
    speck = roi_of(np.pad(np.ones((1, 1, 1), dtype=bool), ((12, 11), (27, 28), (30, 29))), FRAME)
    assert speck is not None
    how = Disturbance(kind="contour", dose=3.0)
    shrinks = next(i for i in range(20) if shift(speck, how, f"image {i}") < -1)
    with pytest.raises(ImageError, match="1 voxels of which contour"):
        disturb(scan(), speck, how, f"image {shrinks}")


def shift(roi: Roi, how: Disturbance, image: str) -> float:
    """How far the outline moves at the first voxel of a region, in mm."""
    at = np.array([roi.lo])
    return how.dose * float(fields.waves(FRAME, at, 5.0, int(key_of(["disturb", how.kind, image]), 16) % 2**63)[0])


def test_what_a_disturbance_can_change_is_measured_again_and_nothing_else() -> None:
    over_body = IntensitySettings(scale="zscore")
    over_lesion = IntensitySettings(scale="zscore", over="lesion")
    known = measure(scan(), ball(), over_body)
    turned, roi = disturb(scan(), ball(), Disturbance(kind="contour", dose=2.0), "a")
    assert measured_again(turned, roi, Disturbance(kind="contour", dose=2.0), known, over_body) is known
    lesion = measure(scan(), ball(), over_lesion)
    assert measured_again(turned, roi, Disturbance(kind="contour", dose=2.0), lesion, over_lesion) != lesion
    how = Disturbance(kind="noise", dose=2.0)
    noisy, _ = disturb(scan(), ball(), how, "a")
    assert measured_again(noisy, ball(), how, known, over_body).numbers["sd"] > 2 * known.numbers["sd"]
    assert measured_again(noisy, ball(), how, Measured(), IntensitySettings()) == Measured()


def test_a_bias_field_of_a_ct_and_an_unknown_kind_are_refused() -> None:
    how = Disturbance(kind="bias", dose=0.1)
    with pytest.raises(ImageError, match="bias field asked of CT"):
        refuse_kind(how, "CT")
    refuse_kind(how, "MR")
    refuse_kind(Disturbance(kind="noise", dose=1.0), "CT")
    with pytest.raises(ValueError, match="kinds are"):
        Disturbance(kind="blur", dose=1.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="doses 0 and more"):
        Disturbance(kind="noise", dose=-1.0)
