"""`tile_cnn` that begins with another fit, or is taught by one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bagdata import split_of
from tiledata import CLASSES, QUICK, example, stripes, textured, tileset

from phenolens.core.errors import LeakError, ModelError
from phenolens.core.registry import Choice
from phenolens.core.store import Store
from phenolens.core.types import Example, Split
from phenolens.models.fit import FitJob, fit
from phenolens.models.predict import load_fit, publish

EXAMPLES = textured(14, tiles=4)
SPLIT = split_of(EXAMPLES, tune=0.3, test=0.3)
SHORT = {**QUICK, "epochs": 1, "tiles_per_epoch": 32}


def job(examples: list[Example] = EXAMPLES, split: Split = SPLIT, model: str = "tile_cnn", **params: Any) -> FitJob:
    return FitJob(
        model=Choice("model", model, {**SHORT, **params} if model == "tile_cnn" else params),
        task=Choice("task", "classification", {"target": "subtype", "classes": CLASSES}),
        split=split,
        examples=tuple(examples),
        upstream={e.unit_id: e.unit_id for e in examples},
    )


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The store of a fit on other patients, and its key."""
    root = tmp_path_factory.mktemp("begun")
    others = [replace(e, patient=f"other {e.patient}", unit_id=f"other {e.unit_id}") for e in textured(14, seed=5)]
    split = split_of(others, tune=0.3, test=0.3)
    return root, fit(job(others, split, epochs=4, tiles_per_epoch=192), root)


def begin(begun: tuple[Path, str], **params: Any) -> FitJob:
    root, key = begun
    start = str(Store(root).path("fits", key, ".safetensors"))
    return job(weights=None, start=start, **params)


def test_a_fit_begins_with_the_weights_of_another_and_records_whom_they_saw(
    begun: tuple[Path, str], tmp_path: Path
) -> None:
    low = {"learning_rate": 1e-9, "backbone_rate": 1e-9}
    key = fit(begin(begun, **low), tmp_path)
    made, before = load_fit(Store(tmp_path), key), load_fit(Store(begun[0]), begun[1])
    test = [replace(e, targets={}) for e in EXAMPLES if e.patient in SPLIT.test]
    np.testing.assert_allclose(made.predict(test), before.predict(test), atol=1e-4)
    seen = set(before.config["training_patients"])
    assert set(made.config["training_patients"]) == seen | SPLIT.train | SPLIT.tune
    assert made.config["training"]["count"] == len(SPLIT.train | SPLIT.tune)
    assert made.config["fitted"]["start"]["weights_sha256"] == before.config["weights_sha256"]


def test_the_key_holds_the_content_of_the_start_and_not_its_place(begun: tuple[Path, str], tmp_path: Path) -> None:
    publish(Store(begun[0]), begun[1], tmp_path / "copy")
    copied = job(weights=None, start=str(tmp_path / "copy"))
    assert copied.model.keyed() == begin(begun).model.keyed()
    assert copied.model.keyed() != job().model.keyed()
    assert str(tmp_path) not in str(copied.model.keyed())


def test_a_start_that_saw_a_test_patient_is_refused_by_name(tmp_path: Path) -> None:
    seen = fit(job(), tmp_path)
    other = replace(SPLIT, test=SPLIT.train, train=SPLIT.test)
    who = min(SPLIT.train)
    start = str(Store(tmp_path).path("fits", seen, ".safetensors"))
    with pytest.raises(LeakError, match=f"test patient '{who}' of patient_kfold-0-0 among the training patients"):
        fit(job(split=other, weights=None, start=start), tmp_path)
    fit(job(weights=None, start=start), tmp_path)  # the same fold may go on


def test_a_teacher_that_saw_a_test_patient_is_refused_by_name(tmp_path: Path) -> None:
    who = min(SPLIT.test)
    taught = [replace(e, targets={**e.targets, "soft_seen": (who,)}) for e in EXAMPLES]
    with pytest.raises(LeakError, match=f"test patient '{who}'"):
        fit(job(taught), tmp_path)


def test_a_start_of_another_network_or_model_is_refused(begun: tuple[Path, str], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="a start with the backbone 'test_resnet'"):
        fit(begin(begun, backbone="test_convnext"), tmp_path)
    folder = tmp_path / "other"
    publish(Store(begun[0]), begun[1], folder)
    config = folder / "config.json"
    config.write_text(config.read_text("utf-8").replace('"name": "tile_cnn"', '"name": "abmil"'), "utf-8")
    with pytest.raises(ModelError, match="a start from model 'abmil'"):
        fit(job(weights=None, start=str(folder)), tmp_path)


def test_a_start_of_other_classes_gives_its_backbone_alone(begun: tuple[Path, str], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    three = [example(f"t{i:02d}", "ABC"[i % 3], tileset(stripes(rng, 3, coarse=i % 3 == 0))) for i in range(18)]
    asked = replace(
        begin(begun, frozen=True),
        task=Choice("task", "classification", {"target": "subtype", "classes": ("A", "B", "C")}),
        examples=tuple(three),
        split=split_of(three, tune=0.34, test=0.17),
        upstream={e.unit_id: e.unit_id for e in three},
    )
    made: Any = load_fit(Store(tmp_path), fit(asked, tmp_path)).fitted
    before: Any = load_fit(Store(begun[0]), begun[1]).fitted
    own, old = made.weights(), before.weights()
    backbone = [n for n in old if n.startswith("network.backbone.") and "num_batches" not in n]
    assert all(np.array_equal(own[n], old[n]) for n in backbone)
    assert own["network.classify.bias"].shape == (3,)


def test_a_student_follows_its_teacher_against_the_labels(tmp_path: Path) -> None:
    """The teacher says the opposite of every label: with λ 1 the student learns that, with λ 0 the labels."""
    turned = []
    for e in EXAMPLES:
        p = np.tile([0.02, 0.98] if e.targets["subtype"] == "A" else [0.98, 0.02], (4, 1))
        turned.append(replace(e, targets={**e.targets, "soft": {e.parts[0].image: (np.arange(4), p)}}))
    test = [replace(e, targets={}) for e in EXAMPLES if e.patient in SPLIT.test]
    truth = [CLASSES.index(e.targets["subtype"]) for e in EXAMPLES if e.patient in SPLIT.test]
    asked = {"epochs": 1, "tiles_per_epoch": 384}
    keys, shares = {}, {}
    for distill in (0.0, 1.0):
        keys[distill] = fit(job(turned, distill=distill, **asked), tmp_path)
        p = load_fit(Store(tmp_path), keys[distill]).predict(test)
        shares[distill] = p[np.arange(len(p)), truth].mean()
    assert shares[0.0] > 0.7
    assert shares[1.0] < 0.3
    assert fit(job(EXAMPLES, distill=1.0, **asked), tmp_path) not in keys.values()
