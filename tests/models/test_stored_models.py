"""Stored models: published, loaded, asked, and refused where something does not fit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bagdata import CLASSES, NETWORKS, OF_BAGS, bag, example, shifted, split_of

from phenolens.core.errors import ModelError
from phenolens.core.registry import Choice
from phenolens.core.store import Store
from phenolens.models.fit import FitJob, fit, fits_predictions
from phenolens.models.predict import CONFIG, WEIGHTS, Stored, check_fit, load_fit, load_model, publish

EXAMPLES = shifted(30)
SPLIT = split_of(EXAMPLES)
ENCODER = {"door": "encoder", "name": "pathomics", "version": 1, "parameters": {"stain": "he"}}
CONTEXT = {"encoder": ENCODER, "tiles": {"size_px": 224, "mpp": 0.5}, "stains": ["HE"]}


def fitted(root: Path, name: str = "mean_pool") -> str:
    return fit(
        FitJob(
            model=Choice("model", name, {"epochs": 4} if name in NETWORKS else {}),
            task=Choice("task", "classification", {"target": "subtype", "classes": CLASSES}),
            split=SPLIT,
            examples=tuple(EXAMPLES),
            upstream={e.unit_id: "key" for e in EXAMPLES},
            context=CONTEXT,
        ),
        root,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("study")
    publish(Store(root), fitted(root), root / "final")
    return root / "final"


@pytest.fixture(scope="module")
def stored(folder: Path) -> Stored:
    return load_model(folder)


@pytest.mark.parametrize("name", OF_BAGS)
def test_a_published_model_predicts_exactly_what_the_fold_predicted(tmp_path: Path, name: str) -> None:
    store, key = Store(tmp_path), fitted(tmp_path, name)
    publish(store, key, tmp_path / "models")
    table = fits_predictions(store, key).set_index("unit_id")
    table = table[table["model"] == name]  # votes of tiles have rows of their own
    by_id = {e.unit_id: e for e in EXAMPLES}
    for model in (load_model(tmp_path / "models"), load_fit(store, key)):
        p = model.predict([by_id[u] for u in table.index])
        np.testing.assert_array_equal(p, table[["p_A", "p_B"]].to_numpy())
        assert model.classes == CLASSES
    assert sorted(p.name for p in (tmp_path / "models").iterdir()) == [CONFIG, WEIGHTS]


def test_attention_comes_from_a_model_that_offers_it_only(tmp_path: Path, stored: Stored) -> None:
    key = fitted(tmp_path, "abmil")
    assert load_fit(Store(tmp_path), key).attention(EXAMPLES[0]).sum() == pytest.approx(1)
    with pytest.raises(ModelError, match="'mean_pool' without attention"):
        stored.attention(EXAMPLES[0])


def test_the_patients_a_model_saw_are_known(stored: Stored) -> None:
    test, tune = sorted(SPLIT.test)[0], sorted(SPLIT.tune)[0]
    assert stored.seen([test, tune, "stranger"]) == [tune]


def test_a_lab_s_own_model_is_restored_from_its_file_and_refused_when_the_file_has_changed(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "src/phenolens/models/zoo/mean_pool.py").read_text()
    (tmp_path / "own.py").write_text(text)
    own = Choice("model", "own.py:MeanPool", {}, tmp_path)
    task = Choice("task", "classification", {"target": "subtype", "classes": CLASSES})
    upstream = {e.unit_id: "key" for e in EXAMPLES}
    key = fit(FitJob(model=own, task=task, split=SPLIT, examples=tuple(EXAMPLES), upstream=upstream), tmp_path / "a")
    store = Store(tmp_path / "a")
    assert load_fit(store, key, base=tmp_path).predict(EXAMPLES[:2]).shape == (2, 2)
    (tmp_path / "own.py").write_text(text + "\n# changed\n")
    with pytest.raises(ModelError, match="of content"):
        load_fit(store, key, base=tmp_path)


def test_features_that_do_not_fit_are_refused_on_predicting(stored: Stored) -> None:
    with pytest.raises(ModelError, match="9 features .* of unit 'new' and 8 in the training of this model"):
        stored.predict([example("new", None, np.ones((2, 9)))])
    with pytest.raises(ModelError, match="inf in feature 0 .* of unit 'new'"):
        stored.predict([example("new", None, np.full((2, 8), np.inf))])


def test_features_of_the_same_kind_pass(stored: Stored) -> None:
    check_fit(stored.config, ENCODER, bag(np.ones((2, 8))), tiles={"size_px": 224, "mpp": 0.5}, stain="HE")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"encoder_identity": {**ENCODER, "name": "uni"}}, "encoder name 'uni'; expected encoder name 'pathomics'"),
        ({"encoder_identity": {**ENCODER, "version": 2}}, "encoder version 2; expected encoder version 1"),
        ({"encoder_identity": {**ENCODER, "parameters": {"stain": "ihc"}}}, "parameters stain 'ihc'"),
        ({"encoder_identity": None}, "encoder None"),
        ({"held": bag(np.ones((2, 9)))}, "number of features 9; expected number of features 8"),
        ({"held": replace(bag(np.ones((2, 8))), extent=224.0)}, "side of '224 µm'; expected tiles with a side of '112"),
        ({"tiles": {"size_px": 224, "mpp": 0.25}}, "mpp 0.25; expected tiles of mpp 0.5"),
        ({"tiles": {"size_px": 448, "mpp": 0.5}}, "size_px 448; expected tiles of size_px 224"),
        ({"stain": "CD3"}, "stain 'CD3'; expected stain 'HE'"),
    ],
)
def test_each_thing_that_does_not_fit_is_named(stored: Stored, given: dict[str, Any], words: str) -> None:
    sound = {"encoder_identity": ENCODER, "held": bag(np.ones((2, 8)))}
    with pytest.raises(ModelError) as caught:
        check_fit(stored.config, **{**sound, **given})
    assert words in str(caught.value)


def test_names_of_features_in_another_order_do_not_fit(stored: Stored) -> None:
    config = {**stored.config, "features": {**stored.config["features"], "names": list("abcdefgh")}}
    with pytest.raises(ModelError, match="names of features"):
        check_fit(config, ENCODER, bag(np.ones((2, 8)), tuple("abcdefhg")))


def copied(folder: Path, to: Path) -> Path:
    for name in (WEIGHTS, CONFIG):
        (to / name).write_bytes((folder / name).read_bytes())
    return to


def test_weights_of_another_fit_are_refused(folder: Path, tmp_path: Path) -> None:
    other = fitted(tmp_path / "other", "sampler")
    copied(folder, tmp_path)
    data = Store(tmp_path / "other").path("fits", other, ".safetensors").read_bytes()
    (tmp_path / WEIGHTS).write_bytes(data)
    with pytest.raises(ModelError, match="SHA-256"):
        load_model(tmp_path)


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG])
def test_a_damaged_or_missing_file_is_refused(folder: Path, tmp_path: Path, name: str) -> None:
    path = copied(folder, tmp_path) / name
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(ModelError, match="cannot be read"):
        load_model(tmp_path)
    path.unlink()
    with pytest.raises(ModelError, match=f"no {name}"):
        load_model(tmp_path)


@pytest.mark.parametrize(("key", "words"), [("format", "format 99"), ("version", "expected version 99")])
def test_another_format_or_version_is_refused(folder: Path, tmp_path: Path, key: str, words: str) -> None:
    copied(folder, tmp_path)
    config = json.loads((tmp_path / CONFIG).read_text())
    (config if key == "format" else config["model"])[key] = 99
    (tmp_path / CONFIG).write_text(json.dumps(config))
    with pytest.raises(ModelError, match=words):
        load_model(tmp_path)


def test_no_file_of_models_or_tasks_reads_or_writes_pickle() -> None:
    for room in ("models", "tasks"):
        for path in (Path(__file__).parents[2] / "src/phenolens" / room).rglob("*.py"):
            text = path.read_text()
            assert not [w for w in ("import pickle", "joblib", "torch.save", "torch.load(") if w in text], path


def test_a_prediction_is_told_by_its_class_and_probabilities(tmp_path: Path) -> None:
    stored = load_fit(Store(tmp_path), fitted(tmp_path))
    row, words = stored.told(np.array([0.25, 0.75]))
    assert row == {"predicted": "B", "p_A": 0.25, "p_B": 0.75}
    assert tuple(row) == stored.shown
    assert words == "B (A 0.25, B 0.75)"
