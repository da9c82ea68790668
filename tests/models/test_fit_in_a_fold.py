"""The rules of a fold: who is seen when, what is refused, and one commit point."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from bagdata import CLASSES, NETWORKS, OF_BAGS, bag, example, shifted, split_of
from sklearn.metrics import roc_auc_score

from phenolens.core.compute import run_all
from phenolens.core.errors import ModelError
from phenolens.core.predictions import Predictions
from phenolens.core.registry import MODELS, Choice
from phenolens.core.store import Store
from phenolens.core.types import Example, Loaded, Part, Split
from phenolens.models.fit import FitJob, final_split, fit, fits_predictions, run_fold
from phenolens.tasks.classification import Classification

TASK = Classification(target="subtype", classes=CLASSES)
TASK_CHOICE = Choice("task", "classification", {"target": "subtype", "classes": CLASSES})
EXAMPLES = shifted(30)
SPLIT = split_of(EXAMPLES)

SPY = '''
from dataclasses import dataclass
from typing import ClassVar
import numpy as np

@dataclass(frozen=True, kw_only=True)
class Spy:
    """Writes down whom it was given, and whether the label came along."""
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "A spy."
    reads: ClassVar[str] = "bag"
    offers: ClassVar[tuple[str, ...]] = ()
    accepts_missing: ClassVar[bool] = False
    needs_tune: ClassVar[bool] = True
    cheap: ClassVar[bool] = True
    log: str = ""
    bad: str = ""

    def write(self, what, examples):
        with open(self.log, "a") as file:
            for e in examples:
                file.write(f"{what} {e.unit_id} {sorted(e.targets)}\\n")

    def fit(self, train, tune, task, *, seed):
        self.write("train", train)
        self.write("tune", tune)
        return self

    def restore(self, weights, config):
        return self

    def predict(self, examples):
        self.write("predict", examples)
        p = np.full((len(examples), 2), 0.5)
        if self.bad == "sum":
            p[0] = 0.9
        return p[:, :1] if self.bad == "shape" else p

    def weights(self):
        return {"w": np.array([np.nan if self.bad == "weights" else 1.0])}

    def config(self):
        return {}
'''


def job(name: str = "mean_pool", split: Split | None = SPLIT, examples: list[Example] = EXAMPLES, **kw: Any) -> FitJob:
    upstream = {e.unit_id: f"key of {e.unit_id}" for e in examples}
    params = {"epochs": 4} if name in NETWORKS else {}
    made = {"model": Choice("model", name, params), "task": TASK_CHOICE, "split": split, "upstream": upstream, **kw}
    return FitJob(examples=tuple(examples), **made)


@pytest.fixture
def spy(tmp_path: Path) -> tuple[Choice, Path]:
    (tmp_path / "spy.py").write_text(SPY)
    log = tmp_path / "log.txt"
    return Choice("model", "spy.py:Spy", {"log": str(log)}, tmp_path), log


def changed(examples: list[Example], patients: frozenset[str], value: float) -> list[Example]:
    """The same examples, with every feature of some patients set to one value."""
    made = []
    for e in examples:
        x = np.full_like(e.instances(), value) if e.patient in patients else e.instances()
        made.append(replace(e, parts=(Part(name="part0", image=f"{e.unit_id}-0", source=Loaded(bag=bag(x))),)))
    return made


def test_training_sees_train_stopping_sees_tune_and_test_is_predicted_once_without_its_label(
    tmp_path: Path, spy: tuple[Choice, Path]
) -> None:
    choice, log = spy
    fit(job(model=choice), tmp_path)
    lines = [line.split(" ", 2) for line in log.read_text().splitlines()]
    seen = {what: [u for w, u, _ in lines if w == what] for what in ("train", "tune", "predict")}
    assert set(seen["train"]) == SPLIT.train
    assert set(seen["tune"]) == SPLIT.tune
    assert sorted(seen["predict"]) == sorted(SPLIT.tune | SPLIT.test)
    order = [w for w, _, _ in lines]
    assert order == sorted(order, key=["train", "tune", "predict"].index)
    assert {t for w, _, t in lines if w == "predict"} == {"[]"}
    assert not SPLIT.test & {u for w, u, t in lines if t != "[]"}


@pytest.mark.parametrize("name", OF_BAGS)
def test_changed_test_features_leave_the_fitted_weights_bit_identical(tmp_path: Path, name: str) -> None:
    examples = changed(EXAMPLES, frozenset(), 0)
    huge = changed(EXAMPLES, SPLIT.test, 1e9)
    stored = []
    for folder, given in (("as they are", examples), ("huge", huge)):
        key = fit(job(name, examples=given), tmp_path / folder)
        stored.append(Store(tmp_path / folder).path("fits", key, ".safetensors").read_bytes())
    assert stored[0] == stored[1]


def test_other_labels_of_test_patients_leave_the_fitted_weights_and_probabilities_alone() -> None:
    wrong = [replace(e, targets={"subtype": "A"}) if e.patient in SPLIT.test else e for e in EXAMPLES]
    model = MODELS.create("mean_pool")
    a, b = (run_fold(model, TASK, SPLIT, given, seed=0, name="mean_pool").table for given in (EXAMPLES, wrong))
    pd.testing.assert_frame_equal(a.drop(columns="truth"), b.drop(columns="truth"))
    assert (a["truth"] != b["truth"]).any()


@pytest.mark.parametrize("name", OF_BAGS)
def test_fits_are_the_same_bytes_in_this_process_and_in_a_worker(tmp_path: Path, name: str) -> None:
    found = []
    for workers in (0, 1):
        root = tmp_path / str(workers)
        (key,) = [o.unwrap() for o in run_all(partial(fit, root=root), [job(name)], workers=workers)]
        files = sorted(p for p in root.rglob("*") if p.is_file())
        found.append((key, [(p.relative_to(root), p.read_bytes()) for p in files]))
    assert found[0] == found[1]
    assert len(found[0][1]) == (6 if name == "tile_head" else 4)  # and a table of its tiles


def test_the_predictions_have_the_long_tables_columns(tmp_path: Path) -> None:
    table = fits_predictions(Store(tmp_path), fit(job(), tmp_path))
    made = Predictions(table=table, classes=CLASSES)
    assert set(table["part"]) == {"tune", "test"}
    assert set(table.loc[table["part"] == "test", "patient"]) == SPLIT.test
    assert set(table.loc[table["part"] == "tune", "patient"]) == SPLIT.tune
    constant = table[["experiment", "scheme", "target", "model", "repeat", "fold", "unit", "site", "split_hash"]]
    assert constant.drop_duplicates().to_numpy().tolist() == [
        ["main", "patient_kfold", "subtype", "mean_pool", 0, 0, "patient", "one", SPLIT.hash]
    ]
    p = table[list(made.columns)].to_numpy()
    truth = table["truth"].map(CLASSES.index).to_numpy()
    assert (p.argmax(1) == truth).mean() > 0.9


def test_several_units_of_a_patient_stay_on_the_patients_side(tmp_path: Path) -> None:
    units = [replace(e, unit_id=f"{e.patient}-{i}", parts=(e.parts[i],)) for e in EXAMPLES for i in range(len(e.parts))]
    table = fits_predictions(Store(tmp_path), fit(job(examples=units), tmp_path))
    assert set(table["unit"]) == {"image"}
    assert len(table) == 2 * len(SPLIT.test | SPLIT.tune)
    assert set(table.loc[table["part"] == "test", "patient"]) == SPLIT.test


def test_a_fit_that_is_there_is_not_done_again(tmp_path: Path, spy: tuple[Choice, Path]) -> None:
    choice, log = spy
    first = fit(job(model=choice), tmp_path)
    before = log.read_text()
    assert fit(job(model=choice), tmp_path) == first
    assert log.read_text() == before


def test_a_fit_killed_before_its_last_rename_is_done_again_to_the_same_bytes(tmp_path: Path) -> None:
    key = fit(job(), tmp_path)
    weights = Store(tmp_path).path("fits", key, ".safetensors")
    before = weights.read_bytes()
    weights.unlink()
    assert fit(job(), tmp_path) == key
    assert weights.read_bytes() == before


def test_the_key_follows_what_a_fit_is_made_of(tmp_path: Path) -> None:
    other = {**{e.unit_id: f"key of {e.unit_id}" for e in EXAMPLES}, "p000": "another"}
    jobs = [job(), job(upstream=other), job(seed=1), job("sampler"), job(context={"mpp": 0.5}), job(split=None)]
    keys = [fit(j, tmp_path) for j in jobs]
    assert len(set(keys)) == len(keys)
    assert fit(job(examples=EXAMPLES[::-1]), tmp_path) == keys[0]


def test_patients_outside_the_split_are_left_alone(tmp_path: Path, spy: tuple[Choice, Path]) -> None:
    choice, log = spy
    key = fit(job(model=choice), tmp_path)
    outsider = example("outside", "A", np.full((3, 8), 1e9))
    assert fit(job(model=choice, examples=[*EXAMPLES, outsider]), tmp_path) == key
    assert "outside" not in log.read_text()


def test_the_final_refit_uses_every_patient_and_keeps_every_class_in_train(tmp_path: Path) -> None:
    few = [e for e in EXAMPLES if e.targets["subtype"] == "A"] + [EXAMPLES[1]]
    split = final_split(few, TASK, seed=0)
    assert split == final_split(few[::-1], TASK, seed=0)
    assert split.train | split.tune == {e.patient for e in few}
    assert not split.test
    assert EXAMPLES[1].patient in split.train
    assert len(split.tune) == 3
    table = fits_predictions(Store(tmp_path), fit(job(split=None, examples=few), tmp_path))
    assert set(table["part"]) == {"tune"}
    assert set(table["scheme"]) == {"final"}


def test_the_final_refit_finds_a_tune_patient_where_every_patient_has_other_classes() -> None:
    sets = {"one": "A", "two": "AB", "three": "AC", "four": "BC"}
    mixed = [example(p, c, np.ones((2, 8)), unit=f"{p}-{c}") for p, own in sets.items() for c in own]
    split = final_split(mixed, Classification(target="subtype", classes=("A", "B", "C")), seed=0)
    assert len(split.tune) == 1
    assert {c for p in split.train for c in sets[p]} == set("ABC")


def test_the_config_holds_what_predict_needs_and_no_path(tmp_path: Path) -> None:
    context = {"encoder": {"name": "pathomics", "version": 1}, "tiles": {"size_px": 224, "mpp": 0.5}}
    root = tmp_path / "artefacts"
    key = fit(job(context=context), root)
    text = Store(root).path("fits", key, ".json").read_text()
    config = json.loads(text)
    assert str(tmp_path) not in text
    assert config["classes"] == list(CLASSES)
    assert config["features"] == {"dimension": 8, "names": None, "extent": 112.0}
    assert config["context"] == context
    assert config["training_patients"] == sorted(SPLIT.train | SPLIT.tune)
    assert config["training"]["count"] == len(config["training_patients"])
    assert config["training"]["classes"] == {"A": 9, "B": 9}
    assert config["split"]["hash"] == SPLIT.hash
    assert set(config["versions"]) == {"phenolens", "python", "numpy", "scikit-learn", "torch"}


def test_where_weights_lie_is_kept_beside_a_fit_and_is_no_part_of_its_key(tmp_path: Path) -> None:
    places = ({"name": "uni", "params": {"weights": w, "batch": b}} for w, b in (("/a/uni.bin", 8), ("/b/uni.bin", 64)))
    assert len({fit(job(context={"encoder": "uni", "encoder_choice": p}), tmp_path) for p in places}) == 1


def test_the_final_refit_keeps_the_share_of_tune_patients_that_was_asked_for() -> None:
    share = [len(replace(job(), split=None, tune=t).final_or_split().tune) / len(EXAMPLES) for t in (0.2, 0.4)]
    assert share[1] > share[0]


def test_patients_without_features_are_named_in_the_config(tmp_path: Path) -> None:
    gone = sorted(SPLIT.train)[0]
    key = fit(job(examples=[e for e in EXAMPLES if e.patient != gone]), tmp_path)
    config = json.loads(Store(tmp_path).path("fits", key, ".json").read_text())
    assert config["training"]["without_features"] == {"train": [gone], "tune": [], "test": []}


@pytest.mark.parametrize("name", ["mean_pool", "sampler"])
def test_on_noise_the_whole_procedure_gives_an_auc_of_one_half(name: str) -> None:
    found = []
    for seed in range(20):
        draw = np.random.default_rng(seed)
        examples = [example(f"p{i:02d}", CLASSES[i % 2], draw.normal(size=(4, 100))) for i in range(60)]
        for k in range(3):
            turned = examples[20 * k :] + examples[: 20 * k]
            split = split_of(turned, test=1 / 3)
            table = run_fold(MODELS.create(name), TASK, split, turned, seed=seed, name=name).table
            test = table[table["part"] == "test"]
            found.append(roc_auc_score(test["truth"] == "B", test["p_B"]))
    assert len(found) == 60
    assert abs(np.mean(found) - 0.5) < 0.05


def test_a_class_absent_from_training_is_named() -> None:
    examples = [e for e in EXAMPLES if e.targets["subtype"] == "A" or e.patient not in SPLIT.train]
    with pytest.raises(ModelError, match=f"no training unit of class B among .* of {SPLIT.name};"):
        run_fold(MODELS.create("mean_pool"), TASK, SPLIT, examples, seed=0, name="mean_pool")


@pytest.mark.parametrize("part", ["train", "tune", "test"])
def test_a_feature_that_is_not_finite_is_named_with_its_unit(part: str) -> None:
    who = sorted(getattr(SPLIT, part))[0]
    names = tuple(f"f{i}" for i in range(8))
    examples = []
    for e in EXAMPLES:
        x = e.instances().copy()
        if e.patient == who:
            x[4, 6] = np.nan
        examples.append(replace(e, parts=(Part(name="a", image="img", source=Loaded(bag=bag(x, names))),)))
    with pytest.raises(ModelError, match=f"nan in feature 'f6' of instance 4 of image 'img' of unit '{who}'"):
        run_fold(MODELS.create("mean_pool"), TASK, SPLIT, examples, seed=0, name="mean_pool")


def test_bags_of_different_dimension_are_both_named() -> None:
    odd, first = sorted(SPLIT.train)[3], sorted(SPLIT.train)[0]
    examples = [example(e.patient, e.targets["subtype"], np.ones((3, 9))) if e.patient == odd else e for e in EXAMPLES]
    words = f"9 features in image '{odd}-0' of unit '{odd}' and 8 in unit '{first}'"
    with pytest.raises(ModelError, match=words):
        run_fold(MODELS.create("abmil"), TASK, SPLIT, examples, seed=0, name="abmil")


def test_features_in_another_order_are_refused() -> None:
    def named(e: Example, names: tuple[str, ...]) -> Example:
        return replace(e, parts=(Part(name="a", image="i", source=Loaded(bag=bag(e.instances(), names))),))

    names = tuple("abcdefgh")
    odd = sorted(SPLIT.tune)[0]
    examples = [named(e, names[::-1] if e.patient == odd else names) for e in EXAMPLES]
    with pytest.raises(ModelError, match=f"feature 0 named 'h' in unit '{odd}' and 'a' in unit"):
        run_fold(MODELS.create("mean_pool"), TASK, SPLIT, examples, seed=0, name="mean_pool")


def test_an_absent_part_is_refused_unless_the_model_accepts_it() -> None:
    examples = [
        *EXAMPLES[:-1],
        replace(EXAMPLES[-1], parts=(*EXAMPLES[-1].parts, Part(name="t2", image="", source=None))),
    ]
    with pytest.raises(ModelError, match="part 't2' of unit 'p029' absent"):
        run_fold(MODELS.create("mean_pool"), TASK, SPLIT, examples, seed=0, name="mean_pool")


@pytest.mark.parametrize("part", ["train", "tune"])
def test_a_part_without_any_unit_is_refused(part: str) -> None:
    examples = [e for e in EXAMPLES if e.patient not in getattr(SPLIT, part)]
    with pytest.raises(ModelError, match=f"no unit with features among the .* {part} patients of patient_kfold-0-0"):
        run_fold(MODELS.create("mean_pool"), TASK, SPLIT, examples, seed=0, name="mean_pool")


def test_a_unit_given_twice_is_refused() -> None:
    with pytest.raises(ModelError, match="unit 'p000' twice"):
        run_fold(MODELS.create("mean_pool"), TASK, SPLIT, [*EXAMPLES, EXAMPLES[0]], seed=0, name="mean_pool")


def test_a_unit_without_an_upstream_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no upstream key for unit 'p000'"):
        fit(job(upstream={}), tmp_path)


@pytest.mark.parametrize(("bad", "words"), [("sum", "sum to one"), ("shape", "shape"), ("weights", "not finite")])
def test_a_model_that_breaks_its_promise_leaves_nothing_behind(
    tmp_path: Path, spy: tuple[Choice, Path], bad: str, words: str
) -> None:
    choice = replace(spy[0], params={**spy[0].params, "bad": bad})
    with pytest.raises(ModelError, match=words):
        fit(job(model=choice), tmp_path / "artefacts")
    assert not (tmp_path / "artefacts").exists()
