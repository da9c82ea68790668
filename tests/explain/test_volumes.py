"""Maps on volumes point at the voxels that carry the evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from phenolens.core.errors import ModelError
from phenolens.core.registry import EXPLAINERS
from phenolens.core.types import Example, Frame, Held, Part, Volume
from phenolens.explain.planes import planes
from phenolens.explain.volumes import blocks_of, surroundings, voxel_fidelity, voxel_scores
from phenolens.report.pictures import Album
from phenolens.report.views import _map
from phenolens.steps.maps import MapJob
from phenolens.steps.volume_maps import _write, maps_of

FRAME = Frame(shape=(16, 12, 8), spacing=(1.0, 1.0, 2.0), origin=(0.0, 0.0, 0.0), unit="mm")
BRIGHT, DARK = (2, 3, 4), (5, 8, 12)
METHODS = [name for name in EXPLAINERS.names() if hasattr(EXPLAINERS.plugin(name)[0], "voxel_scores")]


def template() -> npt.NDArray[np.float64]:
    """For the class are bright voxels about BRIGHT (z, y, x), against it bright voxels about DARK."""
    z, y, x = np.indices((8, 12, 16))
    lump = [np.exp(-(((z - c[0]) * 2) ** 2 + (y - c[1]) ** 2 + (x - c[2]) ** 2) / 4) for c in (BRIGHT, DARK)]
    made: npt.NDArray[np.float64] = lump[0] - lump[1]
    return made


@dataclass(frozen=True)
class Here:
    """As much of a desk as a picture needs."""

    folder: Path

    def relative(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()


class Template:
    """The log-odds of class 1 are a weighted sum of the voxels of T1, so that every voxel's share is known."""

    def predict(self, examples: Sequence[Example]) -> npt.NDArray[np.float64]:
        logits = [float((e.parts[0].volume().x[0] * template()).sum()) / 10 for e in examples]
        p = 1 / (1 + np.exp(-np.array(logits)))
        return np.column_stack([1 - p, p])

    def gradients(self, example: Example, target: int) -> dict[str, npt.NDArray[np.float32]]:
        sign = 1 if target == 1 else -1
        return {"T1": (example.parts[0].volume().x * template() * sign / 10).astype(np.float32)}


def example() -> Example:
    """Evidence for and against the class in T1; T2 is not read."""
    x = (np.abs(template()) * 5)[None].astype(np.float32)
    held = Volume(x=x, mask=template() > 0.5, frame=FRAME, recipe="")
    parts = tuple(Part(name=n, image=n, source=Held(volume=held)) for n in ("T1", "T2"))
    return Example(patient="p", unit_id="p", parts=parts)


def peak(scores: npt.NDArray[np.float64]) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(int(scores.argmax()), scores.shape))


def test_both_methods_for_volumes_are_behind_the_door() -> None:
    assert METHODS == ["gradient", "voxel_occlusion"]


@pytest.mark.parametrize("method", METHODS)
def test_the_highest_voxels_are_the_evidence_and_the_lowest_the_counter_evidence(method: str) -> None:
    scores = voxel_scores(Template(), example(), "T1", 1, method)
    assert scores.shape == (8, 12, 16)
    for found, planted in ((peak(scores), BRIGHT), (peak(-scores), DARK)):
        assert np.abs((np.array(found) - planted) * [2, 1, 1]).max() <= 3
    np.testing.assert_allclose(voxel_scores(Template(), example(), "T1", 0, method), -scores, atol=1e-6)
    np.testing.assert_allclose(voxel_scores(Template(), example(), "T2", 1, method), 0, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_all_parts_one_after_another_are_the_scores_of_the_contract(method: str) -> None:
    scores = EXPLAINERS.create(method).scores(Template(), example(), 1)
    assert scores.shape == (2 * 8 * 12 * 16,)
    np.testing.assert_array_equal(
        scores[: 8 * 12 * 16].reshape(8, 12, 16), voxel_scores(Template(), example(), "T1", 1, method)
    )


def test_a_gradient_that_is_not_smoothed_is_the_share_of_each_voxel() -> None:
    scores = voxel_scores(Template(), example(), "T1", 1, "gradient", {"smooth_mm": 0})
    p = Template().predict([example()])[0]
    assert scores.sum() == pytest.approx(np.log(p[1] / p[0]), abs=1e-6)


def test_blocks_are_near_cubes_in_mm_and_not_more_than_asked() -> None:
    block = blocks_of(FRAME, 60)
    assert block.shape == (8, 12, 16)
    assert set(block.ravel()) == set(range(block.max() + 1))
    assert block.max() < 60
    first = np.argwhere(block == 0).max(0) + 1
    assert tuple(first * [2, 1, 1]) == (4, 4, 4)
    assert blocks_of(FRAME, 10**6).max() + 1 == 8 * 12 * 16


def test_a_hidden_block_takes_the_mean_of_the_shell_around_it_in_each_channel() -> None:
    x = np.zeros((2, 6, 6, 6), np.float32)
    x[0], x[1] = 3.0, -1.0
    x[:, 2:4, 2:4, 2:4] = 100.0
    x[0, 1, 1, 1] += 56.0
    hidden = x[1] == 100
    made = surroundings(x, hidden)
    assert made[0][hidden] == pytest.approx(np.full(8, 4.0))
    assert made[1][hidden] == pytest.approx(np.full(8, -1.0))
    np.testing.assert_array_equal(made[:, ~hidden], x[:, ~hidden])


def test_fidelity_tells_a_true_map_from_a_random_one() -> None:
    true = voxel_fidelity(Template(), example(), "T1", 1, template(), seed=1)
    assert true["insertion"] > true["insertion_random"] + 0.05
    assert true["deletion"] < true["deletion_random"] - 0.05
    assert true == voxel_fidelity(Template(), example(), "T1", 1, template(), seed=1)
    noise = voxel_fidelity(Template(), example(), "T1", 1, np.random.default_rng(0).normal(size=(8, 12, 16)), seed=1)
    assert abs(noise["insertion"] - noise["insertion_random"]) < 0.15


def test_an_absent_part_and_a_method_for_bags_are_refused() -> None:
    with pytest.raises(ModelError, match="no volume of 'DWI' in unit 'p'; expected one of T1, T2"):
        voxel_scores(Template(), example(), "DWI", 1, "gradient")
    with pytest.raises(ModelError, match="map 'occlusion' on volumes"):
        voxel_scores(Template(), example(), "T1", 1, "occlusion")


def test_the_picture_shows_evidence_where_it_lies_and_in_the_patient_axes() -> None:
    volume = example().parts[0].volume()
    assert volume is not None
    x = np.zeros_like(volume.x)
    x[0, -2:] = 50  # what lies towards the head is bright
    volume = replace(volume, x=x)
    picture = planes(volume, template(), height=96).astype(int)
    assert picture.shape == (2 * (96 + 6), 3 * 96 + 2 * 6, 3)
    coronal = picture[:96, 102:198]
    assert coronal[16:26].mean() > coronal[70:80].mean() + 100
    redness = picture[102:198, :96, 0] - picture[102:198, :96, 2]
    outlined = (picture[102:198, :96] == (255, 214, 10)).all(-1)
    row, column = np.unravel_index(np.where(outlined, -999, redness).argmax(), redness.shape)
    assert column == pytest.approx((BRIGHT[2] + 0.5) * 6, abs=12)
    assert row == pytest.approx(12 + (BRIGHT[1] + 0.5) * 6, abs=12)


def test_a_volume_of_one_slice_gives_one_plane() -> None:
    frame = replace(FRAME, shape=(16, 12, 1))
    volume = Volume(
        x=np.random.default_rng(0).normal(size=(3, 1, 12, 16)).astype(np.float32), mask=None, frame=frame, recipe=""
    )
    assert planes(volume, np.zeros((1, 12, 16)), height=60).shape == (132, 60, 3)


def test_a_saturated_prediction_has_a_flat_map_that_the_report_names(tmp_path: Path) -> None:
    class Sure(Template):
        def predict(self, examples: Sequence[Example]) -> npt.NDArray[np.float64]:
            return np.tile([0.0, 1.0], (len(examples), 1))

    def drawn(fitted: Template) -> list[dict[str, Any]]:
        row = {"patient": "p", "unit_id": "p", "truth": "b", "predicted": "b", "probability": 1.0}
        job = MapJob(
            example=example(),
            model=tmp_path,
            model_name="m",
            method="voxel_occlusion",
            target=1,
            row=row,
            most_tiles=1,
            base=tmp_path,
        )
        return [_write(Here(tmp_path), tmp_path, job, made, ("a", "b")) for made in maps_of(fitted, job)]

    album = Album(tmp_path, [])
    entries = drawn(Sure())
    assert [e["flat"] for e in entries] == [True, True]
    for entry in entries:
        shown = _map(entry, album)
        assert shown["picture"].startswith("data:image/jpeg")
        assert shown["verdict"].startswith("Flat: nothing in this volume moves the prediction (100.0%)")
    read = [_map(e, album)["verdict"] for e in drawn(Template())]
    assert not read[0].startswith("Flat")
    assert read[1].startswith("Flat")
