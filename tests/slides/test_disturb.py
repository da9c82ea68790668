"""Faults on tiles: the dose tells how much, the place tells which tile, and nothing else matters."""

from __future__ import annotations

import numpy as np
import pytest

from phenolens.slides.disturb import DOSES, UNITS, Disturbance
from phenolens.slides.stain import separate

RNG = np.random.default_rng(0)
XY = np.array([(i * 224, j * 224) for i in range(12) for j in range(12)], dtype=np.int64)


def tiles(n: int = len(XY)) -> np.ndarray:
    """Pink and purple texture, (n, 48, 48, 3)."""
    base = np.array([190.0, 120.0, 170.0])
    return np.clip(base + RNG.normal(0, 25, (n, 48, 48, 1)) + RNG.normal(0, 5, (n, 48, 48, 3)), 0, 255).astype(np.uint8)


X = tiles()


@pytest.mark.parametrize("kind", list(DOSES))
def test_a_higher_dose_changes_more_and_the_same_dose_changes_the_same(kind: str) -> None:
    changes = []
    for dose in DOSES[kind]:
        made = Disturbance(kind=kind, dose=dose).apply(X, XY, 0.5)
        assert made.dtype == np.uint8
        assert made.shape == X.shape
        np.testing.assert_array_equal(made, Disturbance(kind=kind, dose=dose).apply(X, XY, 0.5))
        changes.append(np.abs(made.astype(float) - X).mean())
    assert 0 < changes[0] < changes[1] < changes[2]
    assert UNITS[kind]


def test_a_tile_is_changed_alike_whatever_is_beside_it() -> None:
    for kind, doses in DOSES.items():
        fault = Disturbance(kind=kind, dose=doses[1])
        np.testing.assert_array_equal(fault.apply(X, XY, 0.5)[7:9], fault.apply(X[7:9], XY[7:9], 0.5))


@pytest.mark.parametrize("kind", ["pen", "fold"])
def test_pen_and_fold_hit_the_stated_share_of_tiles_and_more_doses_hit_the_same_ones(kind: str) -> None:
    hit = [(Disturbance(kind=kind, dose=d).apply(X, XY, 0.5) != X).any((1, 2, 3)) for d in DOSES[kind]]
    assert abs(hit[2].mean() - 0.3) < 0.1
    assert (hit[1] >= hit[0]).all()
    assert (hit[2] >= hit[1]).all()


def test_the_stain_fault_scales_haematoxylin_up_and_eosin_down() -> None:
    before = separate(X).mean((0, 1, 2))
    after = separate(Disturbance(kind="stain", dose=0.25).apply(X, XY, 0.5)).mean((0, 1, 2))
    assert after[0] / before[0] == pytest.approx(1.25, abs=0.03)
    assert after[1] / before[1] == pytest.approx(0.75, abs=0.03)


def test_an_unknown_fault_is_refused() -> None:
    with pytest.raises(ValueError, match="kinds are stain, blur"):
        Disturbance(kind="snow", dose=1.0)  # type: ignore[arg-type]
