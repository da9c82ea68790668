"""Every value of intensity and texture of the IBSI-1 digital phantom, under every aggregation."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from phenolens.features.radiomics.glcm import glcm
from phenolens.features.radiomics.gldzm import gldzm
from phenolens.features.radiomics.glrlm import glrlm
from phenolens.features.radiomics.glszm import glszm
from phenolens.features.radiomics.histogram import histogram
from phenolens.features.radiomics.ivh import ivh
from phenolens.features.radiomics.names import FEATURES, NAMES
from phenolens.features.radiomics.ngldm import ngldm
from phenolens.features.radiomics.ngtdm import ngtdm
from phenolens.features.radiomics.statistics import statistics

_AGGREGATIONS = {
    "2D_avg": "2d_average",
    "2D_comb": "2d_slice_merged",
    "2_5D_avg": "2.5d_direction_merged",
    "2_5D_comb": "2.5d_merged",
    "3D_avg": "3d_average",
    "3D_comb": "3d_merged",
}
_DIMS = {"2D": "2d", "2_5D": "2.5d", "3D": "3d"}
_OTHERS = ("morph_", "loc_")
"""Families that are no matter of levels or of the distribution; they have their own test."""


def measured(folder: Path) -> dict[str, float]:
    import SimpleITK as sitk  # noqa: N813

    image, mask = (
        sitk.GetArrayFromImage(sitk.ReadImage(str(folder / kind / f"{name}.nii.gz")))
        for kind, name in (("image", "phantom"), ("mask", "mask"))
    )
    levels = np.where(mask != 0, image, 0)
    values = image[mask != 0]
    found = {FEATURES[k].tag: v for k, v in (statistics(values) | histogram(levels) | ivh(values)).items()}
    for tag, aggregation in _AGGREGATIONS.items():
        both = glcm(levels, aggregation=aggregation) | glrlm(levels, aggregation=aggregation)
        found |= {f"{FEATURES[k].tag}_{tag}": v for k, v in both.items()}
    for tag, dims in _DIMS.items():
        for family in (glszm, gldzm, ngtdm, ngldm):
            found |= {f"{FEATURES[k].tag}_{tag}": v for k, v in family(levels, dims).items()}
    return found


def test_every_reference_value_is_met_to_the_digits_given(real_data: Path) -> None:
    ibsi = real_data / "scans" / "ibsi"
    reference = ibsi / "reference-values-mirp" / "ibsi_1_dig_phantom.csv"
    if not reference.is_file():
        pytest.skip(f"no {reference}")
    found = measured(ibsi / "ibsi_1_digital_phantom" / "nifti")
    with reference.open() as lines:
        rows = [row for row in csv.DictReader(lines, delimiter=";") if not row["tag"].startswith(_OTHERS)]
    expected = {row["tag"]: row["reference value"] for row in rows if row["reference value"]}
    assert len(expected) == 455
    wrong = {tag: (found[tag], value) for tag, value in expected.items() if float(f"{found[tag]:.3g}") != float(value)}
    assert not wrong
    assert set(found) - set(expected) == {"ivh_auc"}
    assert found["ivh_auc"] == pytest.approx(0.32, abs=0.005), "given in the manual, not in the table"


def test_names_are_unique_and_end_with_a_code_of_four_signs() -> None:
    names = [name for family in NAMES.values() for name in family]
    assert len(set(names)) == len(names) == len(FEATURES) == 143
    assert all(len(FEATURES[name].code) == 4 and name.endswith(f"_{FEATURES[name].code}") for name in names)
    assert len({FEATURES[name].tag for name in names}) == len(names)
