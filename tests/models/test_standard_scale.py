"""The standard scale of Nyúl in models of volumes: fitted on the training volumes of each sequence, stored, applied."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load
from volumedata import CLASSES, rimmed

from phenolens.core.errors import ModelError
from phenolens.core.registry import MODELS
from phenolens.core.store import canonical
from phenolens.core.types import Example, Held, Volume
from phenolens.models.intensity import StandardScale
from phenolens.models.record import weights_bytes
from phenolens.models.volumes import Grid, fit_scales, scaled
from phenolens.tasks.classification import Classification

TASK = Classification(target="subtype", classes=CLASSES)
PERCENTILES = (1, 10, 20, 30, 40, 50, 60, 70, 80, 90, 99)


def changed(one: Example, change: Any) -> Example:
    """The same unit with every volume changed."""
    parts = tuple(p if p.source is None else replace(p, source=Held(volume=change(p.volume()))) for p in one.parts)
    return replace(one, parts=parts)


def measured(held: Volume) -> Volume:
    """With the landmarks of its intensities, as if the volume were the whole image."""
    return replace(held, landmarks=tuple(float(v) for v in np.percentile(held.x, PERCENTILES)))


def louder(held: Volume, gain: float = 3.0, offset: float = 40.0) -> Volume:
    """As another scanner would give it: intensities times `gain`, and `offset` more."""
    return replace(held, x=held.x * np.float32(gain) + np.float32(offset))


def unmarked(held: Volume) -> Volume:
    """Without landmarks."""
    return replace(held, landmarks=None)


def fit(train: list[Example], tune: list[Example], **params: Any) -> Any:
    settings = {"network": "small", "width": 4, "epochs": 2, **params}
    return MODELS.create("cnn3d", settings).fit(train, tune, TASK, seed=3)


EXAMPLES = [changed(e, measured) for e in rimmed(20)]
TRAIN, TUNE, TEST = EXAMPLES[:10], EXAMPLES[10:14], EXAMPLES[14:]
LOUD = [changed(e, lambda v: measured(louder(v))) for e in TEST]


@pytest.fixture(scope="module")
def fitted() -> Any:
    return fit(TRAIN, TUNE)


def test_a_scanner_that_multiplies_intensities_no_longer_shifts_predictions(fitted: Any) -> None:
    np.testing.assert_allclose(fitted.predict(LOUD), fitted.predict(TEST), atol=1e-4)
    plain = fit(*([changed(e, unmarked) for e in part] for part in (TRAIN, TUNE)))
    away = [plain.predict([changed(e, unmarked) for e in part]) for part in (LOUD, TEST)]
    assert np.abs(away[0] - away[1]).max() > 0.01


def test_training_on_two_scanners_gives_what_training_on_one_gives() -> None:
    mixed = [changed(e, lambda v: measured(louder(v))) if i % 2 else e for i, e in enumerate(TRAIN)]
    np.testing.assert_allclose(fit(mixed, TUNE).predict(TEST), fit(TRAIN, TUNE).predict(TEST), atol=1e-2)


def test_only_training_volumes_make_the_scale(fitted: Any) -> None:
    odd = [changed(e, lambda v: replace(v, landmarks=tuple(np.geomspace(1, 1e6, 11)))) for e in TUNE]
    other = fit(TRAIN, odd)
    before = weights_bytes(fitted, "")
    fitted.predict([changed(e, lambda v: replace(v, landmarks=tuple(np.geomspace(1, 1e6, 11)))) for e in TEST])
    assert weights_bytes(fitted, "") == before
    for i, name in enumerate(("T1", "T2")):
        known = [next(p for p in e.parts if p.name == name).volume().landmarks for e in TRAIN]
        expected = StandardScale.fit(known).landmarks
        np.testing.assert_array_equal(fitted.weights()[f"standard.{i}.landmarks"], expected)
        np.testing.assert_array_equal(other.weights()[f"standard.{i}.landmarks"], expected)


def test_the_scale_is_stored_with_the_weights(fitted: Any) -> None:
    model = MODELS.create("cnn3d", {"network": "small", "width": 4, "epochs": 2})
    restored = model.restore(load(weights_bytes(fitted, "")), json.loads(canonical(fitted.config())))
    np.testing.assert_array_equal(restored.predict(LOUD), fitted.predict(LOUD))
    assert weights_bytes(restored, "") == weights_bytes(fitted, "")


def test_the_mask_channel_is_no_intensity_and_stays_as_it_is() -> None:
    held = EXAMPLES[0].parts[0].volume()
    two = replace(held, x=np.concatenate([held.x, held.mask[None].astype(np.float32)]), mask_channel=True)
    one = replace(EXAMPLES[0], parts=(replace(EXAMPLES[0].parts[0], source=Held(volume=two)),))
    grid = Grid.of([one])
    x = scaled(one, one.parts[0], grid, fit_scales([one], ["T1"], grid))
    np.testing.assert_array_equal(x[1], two.x[1])
    assert np.percentile(x[0], [1, 99]) == pytest.approx([0, 100], abs=0.01)
    assert x.dtype == np.float32


def test_a_sequence_with_landmarks_may_stand_beside_one_without(fitted: Any) -> None:
    def half(one: Example) -> Example:
        return replace(one, parts=(one.parts[0], *changed(one, unmarked).parts[1:]))

    made = fit([half(e) for e in TRAIN], [half(e) for e in TUNE])
    assert [n for n in made.weights() if n.startswith("standard.")] == ["standard.0.landmarks"]
    assert made.predict([half(e) for e in TEST]).shape == (6, 2)


def test_volumes_with_and_without_landmarks_do_not_mix(fitted: Any) -> None:
    bare = changed(TEST[0], unmarked)
    with pytest.raises(ModelError, match="without landmarks in image 'p014-T1' of unit 'p014'"):
        fitted.predict([bare])
    with pytest.raises(ModelError, match="without landmarks .* landmarks, as in 9 others of 'T1'"):
        fit([*TRAIN[:9], bare], TUNE)
    plain = fit(*([changed(e, unmarked) for e in part] for part in (TRAIN, TUNE)), epochs=1)
    with pytest.raises(ModelError, match="with landmarks in image 'p014-T1'"):
        plain.predict(TEST[:1])
