"""Colour-swapped slides lie outside the training, slides like it inside: synthetic slides and a few real tiles, with
pathomics features."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from bagdata import example
from PIL import Image

from phenolens.core.types import Box, Example, Rgb
from phenolens.features.encoders.pathomics import encode
from phenolens.models.outside import Outside, fit_outside
from phenolens.slides.image import open_slide
from phenolens.synth.cohort import design_for, make

SIDE, TILES, TUNE = 128, 8, 15
AS_IT_IS, RED_WITH_GREEN, TURNED, RED_WITH_BLUE = (0, 1, 2), (1, 0, 2), (1, 2, 0), (2, 1, 0)
ORDERS = (AS_IT_IS, RED_WITH_GREEN, TURNED, RED_WITH_BLUE)
Order = tuple[int, ...]
Features = Mapping[Order, npt.NDArray[np.float32]]
Cohort = tuple[pd.DataFrame, dict[Order, dict[str, npt.NDArray[np.float32]]]]


def tiles(path: Path) -> tuple[npt.NDArray[np.uint8], float]:
    """The first tiles with tissue of a slide at its own resolution."""
    slide = open_slide(path)
    width, height = slide.frame.shape
    found = []
    for y in range(0, height - SIDE + 1, SIDE):
        for x in range(0, width - SIDE + 1, SIDE):
            tile = slide.read(Box(x=x, y=y, width=SIDE, height=SIDE), slide.frame.mpp)
            if tile.mean() < 215 and len(found) < TILES:
                found.append(tile)
    return np.stack(found), slide.frame.mpp


@pytest.fixture(scope="module", params=[0, 14])
def cohort(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """Patients of a synthetic cohort, and the features of one slide each, with colours as they are and exchanged."""
    sites = ("north", "south", "west")
    asked = {"patients_per_class": 20, "slide_px": 700, "faults": False, "sites": sites, "seed": request.param}
    design = design_for("sts-subtypes", **asked)
    folder = make(tmp_path_factory.mktemp("slides") / "cohort", design, workers=1)
    images = pd.read_csv(folder / "images.csv").drop_duplicates("patient")
    found = {row["patient"]: exchanged(*tiles(folder / row["path"])) for row in images.to_dict("records")}
    patients = pd.read_csv(folder / "patients.csv").set_index("patient")
    return patients, by_order(found)


def exchanged(read: Rgb, mpp: float) -> Features:
    """Features of the tiles of a slide, with colours as they are and exchanged."""
    return {order: encode(np.ascontiguousarray(read[..., list(order)]), mpp) for order in ORDERS}


def by_order(found: Mapping[str, Features]) -> dict[Order, dict[str, npt.NDArray[np.float32]]]:
    return {order: {name: of[order] for name, of in found.items()} for order in ORDERS}


def shares(cohort: Cohort, training: int, known_sites: bool) -> dict[Order, float]:
    """The share outside, by order of the colours, over ten draws of the training patients."""
    patients, features = cohort

    def made(name: str, order: Order) -> Example:
        site = str(patients.loc[name, "site"]) if known_sites else "unknown"
        return example(name, str(patients.loc[name, "subtype"]), features[order][name], site=site)

    share: dict[Order, list[bool]] = {order: [] for order in features}
    for seed in range(10):
        drawn = np.random.default_rng(seed).permutation(sorted(features[AS_IT_IS]))
        train = [made(str(p), AS_IT_IS) for p in drawn[:training]]
        found = fit_outside(train, [made(str(p), AS_IT_IS) for p in drawn[training : training + TUNE]])
        assert isinstance(found, Outside)
        assert known_sites or "sites" not in found.record["threshold_from"]
        for order, flagged in share.items():
            flagged += [found.distance(made(str(p), order)) > 1 for p in drawn[training + TUNE :]]
    told = {order: float(np.mean(flagged)) for order, flagged in share.items()}
    print(f"{training} training patients, sites {known_sites}: share outside {told}")  # noqa: T201
    return told


@pytest.mark.slow
@pytest.mark.parametrize("known_sites", [True, False])
def test_colour_swapped_slides_are_outside_and_slides_like_the_training_inside(
    cohort: Cohort, known_sites: bool
) -> None:
    told = shares(cohort, 45, known_sites)
    assert told[AS_IT_IS] <= 0.10
    assert told[RED_WITH_GREEN] >= 0.90
    assert told[TURNED] >= 0.90
    assert told[RED_WITH_BLUE] >= 0.90


@pytest.mark.slow
@pytest.mark.parametrize(("known_sites", "found"), [(True, 0.80), (False, 0.90)])
def test_with_24_training_patients_most_of_it_holds(cohort: Cohort, known_sites: bool, found: float) -> None:
    """Red with blue is as far from few patients as a scanner that was left out: not all of it where that is inside."""
    told = shares(cohort, 24, known_sites)
    assert told[AS_IT_IS] <= 0.12
    assert told[RED_WITH_GREEN] >= 0.90
    assert told[TURNED] >= 0.90
    assert told[RED_WITH_BLUE] >= found


@pytest.mark.slow
def test_real_tiles_with_exchanged_colours_are_outside_but_for_red_with_blue(real_data: Path) -> None:
    """Sixty tiles of four cases, each tile a unit and each case a site: a hint and no cohort. Real stains leave more
    residual than drawn ones, and exchanging red with blue makes it smaller."""
    found, case = {}, {}
    for path in sorted((real_data / "tiles" / "osteosarcoma").glob("*.jpg")):
        pixels = np.asarray(Image.open(path).convert("RGB"))
        parts = pixels.reshape(4, 256, 4, 256, 3).swapaxes(1, 2).reshape(16, 256, 256, 3)[::2]
        found[path.stem] = exchanged(parts, 1.0)
        case[path.stem] = re.split(r"___|-[A-Z]\d", path.stem)[1]
    if not found:
        pytest.skip(f"no osteosarcoma tiles in {real_data}")
    for known_sites in (True, False):
        told = shares((pd.DataFrame({"site": case, "subtype": "any"}), by_order(found)), 36, known_sites)
        assert told[AS_IT_IS] <= 0.10
        assert told[RED_WITH_GREEN] >= 0.90
        assert told[TURNED] >= 0.90
