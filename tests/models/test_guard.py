"""The guard in its fold: what it may see, what it writes into the predictions, and that it travels with the model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from bagdata import CLASSES, bag, example, split_of
from safetensors.numpy import load
from volumedata import rimmed

from phenolens.core.errors import ModelError
from phenolens.core.predictions import SET_NONE, Predictions
from phenolens.core.registry import MODELS, Choice
from phenolens.core.store import Store
from phenolens.core.types import Example, Loaded, Part
from phenolens.models.fit import FitJob, fit, fits_predictions, run_fold
from phenolens.models.guard import PREFIX, Guard, GuardSettings, fit_guard
from phenolens.models.predict import CONFIG, load_fit, load_model, publish
from phenolens.models.record import weights_bytes
from phenolens.tasks.classification import Classification

TASK = Classification(target="subtype", classes=CLASSES)


def blurred(n: int) -> list[Example]:
    """Patients whose classes overlap: the tiles of one lie around a middle of its own, that of class B a little off."""
    draw = np.random.default_rng(0)
    middles = [draw.normal(size=6) + 1.2 * (i % 2) * np.eye(6)[0] for i in range(n)]
    return [example(f"p{i:03d}", CLASSES[i % 2], m + draw.normal(0, 0.3, (4, 6))) for i, m in enumerate(middles)]


EXAMPLES = blurred(90)
SPLIT = split_of(EXAMPLES, tune=0.3, test=0.2)
ASKED = GuardSettings()
COLUMNS = ["q_A", "q_B", "set_90", "set_80", "ood"]


def job(examples: list[Example] = EXAMPLES, name: str = "mean_pool", guard: GuardSettings | None = ASKED) -> FitJob:
    return FitJob(
        model=Choice("model", name, {}),
        task=Choice("task", "classification", {"target": "subtype", "classes": CLASSES}),
        split=SPLIT,
        examples=tuple(examples),
        upstream={e.unit_id: f"key of {e.unit_id}" for e in examples},
        guard=guard,
    )


def stored_bytes(root: Path, of: FitJob) -> tuple[bytes, dict[str, Any]]:
    path = Store(root).path("fits", fit(of, root), ".safetensors")
    return path.read_bytes(), json.loads(path.with_suffix(".json").read_text())


def changed(value: float, patients: frozenset[str]) -> list[Example]:
    """The same examples with every feature of some patients set to one value."""

    def one(e: Example) -> Example:
        x = np.full_like(e.instances(), value)
        return replace(e, parts=(Part(name="part0", image=f"{e.unit_id}-0", source=Loaded(bag=bag(x))),))

    return [one(e) if e.patient in patients else e for e in EXAMPLES]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    root = tmp_path_factory.mktemp("fit")
    return fits_predictions(Store(root), fit(job(), root))


def test_test_features_of_a_thousand_million_leave_the_guards_bytes_identical(tmp_path: Path) -> None:
    plain, plain_config = stored_bytes(tmp_path / "a", job())
    huge, huge_config = stored_bytes(tmp_path / "b", job(changed(1e9, SPLIT.test)))
    assert plain == huge
    assert plain_config["guard"] == huge_config["guard"]
    moved, _ = stored_bytes(tmp_path / "c", job(changed(0.5, frozenset([min(SPLIT.tune)]))))
    assert moved != plain


def test_other_labels_of_test_patients_leave_the_guard_alone(tmp_path: Path) -> None:
    wrong = [replace(e, targets={"subtype": "A"}) if e.patient in SPLIT.test else e for e in EXAMPLES]
    a, b = stored_bytes(tmp_path / "a", job()), stored_bytes(tmp_path / "b", job(wrong))
    assert a[0] == b[0]
    assert a[1]["guard"] == b[1]["guard"]


def test_test_rows_get_the_guards_columns_and_tune_rows_stay_empty(table: pd.DataFrame) -> None:
    Predictions(table=table, classes=CLASSES)
    tune, test = table[table["part"] == "tune"], table[table["part"] == "test"]
    assert tune[["q_A", "q_B", "ood"]].isna().all(axis=None)
    assert set(tune["set_90"]) | set(tune["set_80"]) == {SET_NONE}
    assert test[["q_A", "q_B"]].sum(1).to_numpy() == pytest.approx(1)
    assert (test["ood"] >= 0).all()
    assert set(test["set_90"]) <= {"", "A", "B", "A|B"}
    narrow = [
        set(s.split("|")) <= set(w.split("|")) or s == "" for s, w in zip(test["set_80"], test["set_90"], strict=True)
    ]
    assert all(narrow)


def test_a_model_without_a_guard_is_what_it_was(tmp_path: Path) -> None:
    plain = fits_predictions(Store(tmp_path), key := fit(job(guard=None), tmp_path))
    assert not set(COLUMNS) & set(plain.columns)
    found = load_fit(Store(tmp_path), key)
    assert found.guard is None
    assert found.judge(np.array([0.5, 0.5]), EXAMPLES[0]) is None
    both = fits_predictions(Store(tmp_path), fit(job(), tmp_path))
    pd.testing.assert_frame_equal(plain, both.drop(columns=COLUMNS))


def test_the_settings_of_the_guard_enter_the_key(tmp_path: Path) -> None:
    asked = [None, ASKED, replace(ASKED, calibrate="slope"), replace(ASKED, conformal="class")]
    keys = [fit(job(guard=g), tmp_path) for g in asked]
    assert len(set(keys)) == 4


def test_what_is_not_asked_for_has_no_column(tmp_path: Path) -> None:
    none = GuardSettings(calibrate="none", conformal="none", out_of_distribution=False)
    table = fits_predictions(Store(tmp_path), key := fit(job(guard=none), tmp_path))
    assert not set(COLUMNS) & set(table.columns)
    guard = load_fit(Store(tmp_path), key).guard
    assert guard is not None
    assert guard.weights() == {}


@pytest.mark.parametrize("calibrate", ["intercept", "slope"])
@pytest.mark.parametrize("conformal", ["split", "class"])
def test_a_published_guard_says_exactly_what_the_fold_wrote(tmp_path: Path, calibrate: Any, conformal: Any) -> None:
    asked = GuardSettings(calibrate=calibrate, conformal=conformal)
    key = fit(job(guard=asked), tmp_path)
    publish(Store(tmp_path), key, tmp_path / "final")
    stored = load_model(tmp_path / "final")
    by_id = {e.unit_id: e for e in EXAMPLES}
    rows = fits_predictions(Store(tmp_path), key).query("part == 'test'")
    for row in rows.to_dict("records"):
        example = by_id[row["unit_id"]]
        p = stored.predict([example])[0]
        judged = stored.judge(p, example)
        assert judged is not None
        assert judged.q is not None
        assert [row["q_A"], row["q_B"]] == judged.q.tolist()
        assert row["ood"] == judged.ood
        assert row["set_90"] == "|".join(judged.sets["set_90"] or ())


def test_it_is_restored_to_the_same_bytes(tmp_path: Path) -> None:
    data, config = stored_bytes(tmp_path, job())
    arrays = {k: v for k, v in load(data).items() if k.startswith(PREFIX)}
    again = Guard.restore(arrays, config["guard"], CLASSES, MODELS.create("mean_pool"))
    assert json.loads(json.dumps(again.config())) == config["guard"]
    assert set(again.weights()) == set(arrays)
    for name, held in again.weights().items():
        np.testing.assert_array_equal(held, arrays[name])


def test_the_record_says_whether_the_promise_is_exact(tmp_path: Path) -> None:
    said = {name: stored_bytes(tmp_path, job(name=name))[1]["guard"]["promise"] for name in ("mean_pool", "forest")}
    assert said["mean_pool"].startswith("approximate")
    assert said["forest"].startswith("exact")


def test_a_guard_of_another_version_is_refused(tmp_path: Path) -> None:
    publish(Store(tmp_path), fit(job(), tmp_path), tmp_path / "final")
    path = tmp_path / "final" / CONFIG
    config = json.loads(path.read_text())
    config["guard"]["version"] = 99
    path.write_text(json.dumps(config))
    with pytest.raises(ModelError, match="guard of version 99"):
        load_model(tmp_path / "final")


def test_too_few_tune_patients_leave_a_reason_for_each_part(tmp_path: Path) -> None:
    few = split_of(EXAMPLES, tune=0.05)
    fold = run_fold(MODELS.create("mean_pool"), TASK, few, EXAMPLES, seed=0, name="mean_pool", guard=ASKED)
    assert fold.guard is not None
    said = "; ".join(fold.guard.unfitted())
    assert "not recalibrated: 4 tune patients (10 needed)" in said
    assert "4 calibration patients at alpha 0.1 (9 needed)" in said
    assert "4 patients to set the threshold on (9 needed)" in said
    test = fold.table[fold.table["part"] == "test"]
    assert test[["q_A", "q_B", "ood"]].isna().all(axis=None)
    assert set(test["set_90"]) == {SET_NONE}
    assert SET_NONE not in set(test["set_80"])


def test_a_model_that_needs_no_tune_patients_can_go_without_and_the_guard_says_so() -> None:
    bare = replace(SPLIT, tune=frozenset())
    fold = run_fold(MODELS.create("forest"), TASK, bare, EXAMPLES, seed=0, name="forest", guard=ASKED)
    assert fold.guard is not None
    assert "0 tune patients" in "; ".join(fold.guard.unfitted())
    stored = load(weights_bytes(fold.fitted, "forest", fold.guard))
    assert (
        Guard.restore(stored, fold.guard.config(), CLASSES, MODELS.create("forest")).unfitted() == fold.guard.unfitted()
    )
    assert set(fold.table["set_80"]) == {SET_NONE}


@pytest.mark.parametrize(
    ("p", "x", "words"),
    [
        ([0.5, 0.5], None, "holds all of them"),
        ([0.97, 0.03], 40.0, "unlike the training patients"),
        ([0.97, 0.03], None, ""),
    ],
)
def test_it_abstains_outside_the_training_and_where_no_class_can_be_left_out(
    tmp_path: Path, p: list[float], x: float | None, words: str
) -> None:
    found = load_fit(Store(tmp_path), fit(job(), tmp_path))
    new = EXAMPLES[1] if x is None else changed(x, frozenset([EXAMPLES[1].patient]))[1]
    judged = found.judge(np.array(p), new)
    assert judged is not None
    assert words in judged.abstains
    assert bool(judged.abstains) == bool(words)


def test_volumes_have_a_guard_too() -> None:
    examples = rimmed(40, names=("T1",), side=12)
    p = np.random.default_rng(0).dirichlet([2, 2], 12)
    guard = fit_guard(ASKED, examples[:28], examples[28:], p, TASK, exact=False)
    assert guard is not None
    assert guard.unfitted() == []
    assert np.isfinite(guard.columns("test", p, examples[28:])["ood"]).all()
