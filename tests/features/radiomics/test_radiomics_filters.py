"""Filters answer an impulse with their kernel, and a crop as they answer the whole."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from cropdata import respond
from scipy import ndimage

from phenolens.features.radiomics import wavelets
from phenolens.features.radiomics.filters import parse


def impulse(n: int = 33) -> np.ndarray:
    x = np.zeros((n, n, n))
    x[n // 2, n // 2, n // 2] = 1
    return x


def offsets(n: int = 33) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x, y, z of every voxel from the middle, in voxels."""
    z, y, x = np.indices((n, n, n)) - n // 2
    return x, y, z


def test_the_laplacian_of_gaussian_answers_an_impulse_with_its_formula() -> None:
    (found,) = respond("log_sigma_3_mm", impulse(), (2.0, 2.0, 2.0))
    x, y, z = offsets()
    s, r2 = 1.5, x**2 + y**2 + z**2
    expected = -(1 / s**2) * (1 / (np.sqrt(2 * np.pi) * s)) ** 3 * (3 - r2 / s**2) * np.exp(-r2 / (2 * s**2))
    inside = np.maximum(np.maximum(abs(x), abs(y)), abs(z)) <= 6
    np.testing.assert_allclose(found, np.where(inside, expected, 0), atol=1e-12)


def test_the_laplacian_of_gaussian_measures_in_mm_whatever_the_voxels() -> None:
    z, y, x = np.indices((24, 48, 48))
    for spacing in ((1.0, 1.0, 1.0), (1.0, 1.0, 2.0)):
        wave = np.cos(2 * np.pi * (x - 23) * spacing[0] / 16) + 0 * y + 0 * z
        (found,) = respond("log_sigma_2_mm", wave, spacing)
        unit = np.prod(spacing) ** (2 / 3)
        gain = -unit * (2 * np.pi / 16) ** 2 * np.exp(-0.5 * (2 * 2 * np.pi / 16) ** 2)
        assert found[12, 24, 23] == pytest.approx(gain, rel=0.02)


def test_the_mean_answers_with_a_cube() -> None:
    (found,) = respond("mean_5", impulse(), (1.0, 1.0, 1.0))
    x, y, z = offsets()
    cube = (abs(x) <= 2) & (abs(y) <= 2) & (abs(z) <= 2)
    np.testing.assert_allclose(found, cube / 125, atol=1e-15)


LAWS = {
    "l5": np.array([1, 4, 6, 4, 1]) / np.sqrt(70),
    "e5": np.array([-1, -2, 0, 2, 1]) / np.sqrt(10),
    "s3": np.array([0, -1, 2, -1, 0]) / np.sqrt(6),
}


def test_laws_kernels_run_along_x_y_and_z_in_the_order_of_the_name() -> None:
    (found,) = respond("laws_l5e5s3", impulse(), (1.0, 1.0, 1.0))
    expected = np.einsum("z,y,x->zyx", LAWS["s3"], LAWS["e5"], LAWS["l5"])
    np.testing.assert_allclose(found[14:19, 14:19, 14:19], expected, atol=1e-15)
    assert np.count_nonzero(found) == np.count_nonzero(expected)


def test_pooled_laws_responses_are_the_same_for_a_turned_image() -> None:
    x = np.random.default_rng(0).normal(size=(13, 13, 13))
    for name in ("laws_l5e5s3_rot_max", "laws_l5e5s3_rot_mean", "laws_e5l5s5_rot_max_energy_2"):
        (found,) = respond(name, x, (1.0, 1.0, 1.0))
        for axes in ((0, 1), (1, 2), (0, 2)):
            (turned,) = respond(name, np.rot90(x, axes=axes), (1.0, 1.0, 1.0))
            np.testing.assert_allclose(np.rot90(found, axes=axes), turned, atol=1e-12)


def test_laws_pooling_takes_the_largest_of_24_turns() -> None:
    (found,) = respond("laws_l5e5s3_rot_max", impulse(), (1.0, 1.0, 1.0))
    kernel = np.einsum("z,y,x->zyx", LAWS["s3"], LAWS["e5"], LAWS["l5"])
    turns = set()
    for axes in product(((0, 1), (1, 2), (0, 2)), range(4), ((0, 1), (1, 2), (0, 2)), range(4)):
        turns.add(np.rot90(np.rot90(kernel, axes[1], axes[0]), axes[3], axes[2]).tobytes())
    assert len(turns) == 12, "of the 24 turns two each are alike, as two of the kernels are symmetric"
    pooled = np.max([np.frombuffer(t).reshape(5, 5, 5) for t in turns], axis=0)
    np.testing.assert_allclose(found[14:19, 14:19, 14:19], pooled, atol=1e-15)


def test_laws_energy_is_the_mean_absolute_response_around() -> None:
    x = np.random.default_rng(0).normal(size=(12, 13, 14))
    (plain,) = respond("laws_e3e3e3", x, (1.0, 1.0, 1.0))
    (energy,) = respond("laws_e3e3e3_energy_2", x, (1.0, 1.0, 1.0))
    inner = (slice(2, -2),) * 3
    np.testing.assert_allclose(energy[inner], ndimage.uniform_filter(np.abs(plain), 5)[inner], atol=1e-12)


@pytest.mark.parametrize("angle", [0, 30])
def test_gabor_answers_an_impulse_with_the_modulus_of_its_kernel(angle: int) -> None:
    image = np.zeros((3, 71, 139))
    image[1, 35, 69] = 1
    (found,) = respond(f"gabor_sigma_4_mm_lambda_3_mm_gamma_0.5_theta_{angle}", image, (1.0, 2.0, 2.0))
    z, y, x = np.indices(image.shape) - np.array([1, 35, 69]).reshape(3, 1, 1, 1)
    t = np.deg2rad(angle)
    along, beside = x * np.cos(t) + 2 * y * np.sin(t), 2 * y * np.cos(t) - x * np.sin(t)
    expected = np.exp(-(along**2 + 0.25 * beside**2) / 32) * (z == 0)
    inside = (abs(x) <= 32) & (abs(y) <= 16)
    np.testing.assert_allclose(found, np.where(inside, expected, 0), atol=1e-12)


def test_gabor_answers_waves_of_its_length_and_direction() -> None:
    wave = np.cos(2 * np.pi * np.indices((3, 64, 64))[2] / 6)
    strengths = [
        float(respond(f"gabor_sigma_6_mm_lambda_6_mm_gamma_1_theta_{a}", wave, (1.0, 1.0, 1.0))[0][1, 32, 32])
        for a in (0, 45, 90)
    ]
    assert strengths[0] > 50 * strengths[1]
    assert strengths[0] == pytest.approx(np.pi * 36, rel=0.01), "half of the wave times the Gaussian's integral"
    (mean,) = respond("gabor_sigma_6_mm_lambda_6_mm_gamma_1_steps_2", wave, (1.0, 1.0, 1.0))
    assert mean[1, 32, 32] == pytest.approx((strengths[0] + strengths[2]) / 2)


def test_gabor_over_three_planes_is_the_same_for_a_turned_image() -> None:
    x = np.random.default_rng(0).normal(size=(11, 11, 11))
    name = "gabor_sigma_1_mm_lambda_2_mm_gamma_1_steps_4_3d"
    (found,) = respond(name, x, (1.0, 1.0, 1.0))
    for axes in ((0, 1), (1, 2), (0, 2)):
        (turned,) = respond(name, np.rot90(x, axes=axes), (1.0, 1.0, 1.0))
        np.testing.assert_allclose(np.rot90(found, axes=axes), turned, atol=1e-10)


@pytest.mark.parametrize("family", wavelets.FAMILIES)
def test_wavelets_are_orthonormal_with_their_vanishing_moments(family: str) -> None:
    low, high = wavelets.low_pass(family), wavelets.high_pass(family)
    n = len(low)
    for shift in range(0, n, 2):
        assert low[: n - shift] @ low[shift:] == pytest.approx(float(shift == 0), abs=1e-12)
        assert abs(np.convolve(low, high[::-1])[n - 1 - shift]) < 1e-12
    assert low.sum() == pytest.approx(np.sqrt(2), abs=1e-12)
    at = (np.arange(n) - n / 2) / n
    for k in range(n // 2 if not family.startswith("coif") else n // 3):
        assert abs((at**k) @ high) < 1e-10


def test_wavelet_coefficients_are_the_published_ones() -> None:
    r = np.sqrt(3)
    np.testing.assert_allclose(
        wavelets.low_pass("db2"), np.array([1 - r, 3 - r, 3 + r, 1 + r]) / (4 * np.sqrt(2)), atol=1e-14
    )
    s = np.sqrt(7)
    coif = np.array([1 - s, 5 + s, 14 + 2 * s, 14 - 2 * s, 1 - s, -3 + s])[::-1]
    np.testing.assert_allclose(np.sort(wavelets.low_pass("coif1")), np.sort(coif / (16 * np.sqrt(2))), atol=1e-13)


def test_wavelets_answer_an_impulse_with_the_products_of_their_kernels() -> None:
    found = dict(zip(parse("wavelet_db2").responses, respond("wavelet_db2", impulse(), (1.0, 1.0, 1.0)), strict=True))
    assert list(found)[:3] == ["wavelet_db2_LLL", "wavelet_db2_LLH", "wavelet_db2_LHL"]
    kernel = {"L": wavelets.low_pass("db2"), "H": wavelets.high_pass("db2")}
    for name, response in found.items():
        x, y, z = (kernel[letter] for letter in name[-3:])
        np.testing.assert_allclose(response[14:18, 14:18, 14:18], np.einsum("z,y,x->zyx", z, y, x), atol=1e-15)
        assert np.count_nonzero(response) == 64


def test_undecimated_subbands_keep_the_energy_of_a_periodic_image() -> None:
    x = np.tile(np.random.default_rng(0).normal(size=(8, 8, 8)), (5, 5, 5))
    found = respond("wavelet_coif1", x, (1.0, 1.0, 1.0))
    middle = (slice(16, 24),) * 3
    assert sum(float((r[middle] ** 2).sum()) for r in found) == pytest.approx(8 * float((x[middle] ** 2).sum()))


def test_the_second_level_smooths_first_and_spreads_its_kernel() -> None:
    found = respond("wavelet_haar_level_2", impulse(), (1.0, 1.0, 1.0))
    low = np.convolve([1, 1], [1, 0, 1]) / 2
    high = np.convolve([1, 1], [-1, 0, 1]) / 2
    for response, (x, y, z) in zip(found, product((low, high), repeat=3), strict=True):
        at = np.argwhere(response)[0]
        cut = tuple(slice(a, a + 4) for a in at)
        np.testing.assert_allclose(response[cut], np.einsum("z,y,x->zyx", z, y, x), atol=1e-14)


def test_the_image_is_mirrored_at_its_edge() -> None:
    x = np.random.default_rng(0).normal(size=(4, 5, 6))
    (found,) = respond("mean_7", x, (1.0, 1.0, 1.0))
    np.testing.assert_allclose(found, ndimage.uniform_filter(x, 7, mode="reflect"), atol=1e-13)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("log_sigma_2mm", "did you mean 'log_sigma_2_mm'"),
        ("log_sigma_0_mm", "above 0"),
        ("mean_4", "odd"),
        ("laws_l5e5x5", "no Laws kernel 'x5'"),
        ("wavelet_sym4", "no wavelet 'sym4'"),
        ("wavelet_db2_level_9", "1 to 4"),
        ("gabor_sigma_0_mm_lambda_2_mm_gamma_1", "above 0"),
    ],
)
def test_a_wrong_name_says_what_is_wrong(name: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse(name)


def test_the_impulse_phantom_is_answered_with_the_kernel(real_data: Path) -> None:
    path = real_data / "scans" / "ibsi" / "ibsi_2_digital_phantom" / "nifti" / "impulse" / "image" / "impulse.nii.gz"
    if not path.is_file():
        pytest.skip(f"no {path}")
    import SimpleITK as sitk  # noqa: N813

    image = sitk.ReadImage(str(path))
    x = sitk.GetArrayFromImage(image).astype(float)
    at, value = np.argwhere(x)[0], x.max()
    spacing = image.GetSpacing()
    assert np.count_nonzero(x) == 1
    (found,) = respond("log_sigma_5_mm", x, spacing)
    offset = (np.argwhere(np.ones(x.shape)) - at).reshape(*x.shape, 3)
    s, r2 = 5 / spacing[0], (offset**2).sum(-1)
    expected = -(1 / s**2) * (1 / (np.sqrt(2 * np.pi) * s)) ** 3 * (3 - r2 / s**2) * np.exp(-r2 / (2 * s**2))
    inside = np.abs(offset).max(-1) <= int(np.floor(4 * s + 0.5))
    np.testing.assert_allclose(found, value * np.where(inside, expected, 0), atol=value * 1e-12)
    laws = respond("laws_e5l5s5", x, spacing)[0]
    around = tuple(slice(a - 2, a + 3) for a in at)
    s5 = np.array([-1, 0, 2, 0, -1]) / np.sqrt(6)
    np.testing.assert_allclose(laws[around], value * np.einsum("z,y,x->zyx", s5, LAWS["l5"], LAWS["e5"]), atol=1e-12)
