"""The vault: nothing of a test patient is read before the final prediction, and nothing of them reaches what is fitted.

A contract over the whole door: every model, whatever it reads, with quick settings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bagdata import BASELINES, NETWORKS, shifted, split_of
from tabledata import cohort
from tiledata import QUICK as TILE_QUICK
from tiledata import InMemory, textured, tileset
from volumedata import CLASSES, ball, example, rimmed, volume

from phenolens.core.errors import LeakError
from phenolens.core.registry import MODELS, TASKS, Choice
from phenolens.core.store import Store, canonical
from phenolens.core.types import Bag, Example, Frame, Held, Loaded, Part, Split, TileSet, Volume
from phenolens.models import fit as room
from phenolens.models.fit import FitJob, run_fold
from phenolens.models.fit_masks import fit_masks
from phenolens.models.record import weights_bytes

QUICK: dict[str, dict[str, Any]] = {
    **{name: {"epochs": 2} for name in NETWORKS},
    "cnn3d": {"epochs": 1, "width": 4},
    "forest": {"trees": 10},
    "search": {"workflows": 4, "ensemble": 2},
    "sequence_fusion": {"members": 2, "epochs": 3},
    "tile_cnn": {**TILE_QUICK, "epochs": 1, "tiles_per_epoch": 32},
    "unet": {"patch": 16, "width": 4, "levels": 2, "patches": 1, "augment": False, "epochs": 1},
}
WALKED = [
    pytest.param(name, marks=pytest.mark.slow) if name == "search" else name  # its trees are compiled for half a minute
    for name in MODELS.names()
    if getattr(MODELS.plugin(name)[0], "task", "classification") == "classification"
]
TASK = TASKS.create("classification", {"target": "subtype", "classes": CLASSES})
Content = Bag | Volume | TileSet
HARMONISED = {"missing": "impute", "combat": "site"}


@dataclass
class Counted:
    """A source that writes down when it is read."""

    held: Content
    unit: str
    log: list[str]

    def load(self) -> Any:
        self.log.append(self.unit)
        return self.held


@dataclass
class Watched:
    """A model that writes down when its fit begins and ends."""

    model: Any
    log: list[str]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def fit(self, train: Sequence[Example], tune: Sequence[Example], task: Any, *, seed: int) -> Any:
        self.log.append("fit begins")
        fitted = self.model.fit(train, tune, task, seed=seed)
        self.log.append("fitted")
        return fitted


def sized(n: int) -> list[Example]:
    """Units that hold a volume in mm3 and a frame in mm, for the baselines."""
    draw = np.random.default_rng(0)
    made = []
    for i in range(n):
        frame = Frame(shape=(9 + i % 5,) * 3, spacing=(1.0, 1.0, 2.0), origin=(0.0, 0.0, 0.0), unit="mm")
        x = np.array([[draw.normal(), draw.uniform(50, 900)]], dtype=np.float32)
        names = ("other", "morph_volume_RNU0")
        bag = Bag(x=x, coords=np.zeros((1, 3)), extent=1, names=names, frame=frame, recipe="r")
        part = Part(name="T1", image=f"i{i}", source=Loaded(bag=bag))
        made.append(Example(patient=f"p{i:03d}", unit_id=f"p{i:03d}", parts=(part,), targets={"subtype": "AB"[i % 2]}))
    return made


def lesions(n: int) -> list[Example]:
    draw = np.random.default_rng(0)
    made = []
    for i in range(n):
        mask = ball((18, 20, 18), radius=draw.uniform(3, 5))
        x = draw.normal(size=mask.shape) + 2.5 * mask
        made.append(example(f"p{i:03d}", None, {"T2": replace(volume(x), mask=mask)}))
    return made


def examples_of(name: str) -> list[Example]:
    if name in BASELINES:
        return sized(30)
    made = {"volume": lambda: rimmed(20), "tiles": lambda: textured(15, tiles=3)}
    return made.get(MODELS.plugin(name)[0].reads, lambda: shifted(30))()


def through(examples: list[Example], change: Callable[[str, Content], Any]) -> list[Example]:
    """The same examples with every source replaced."""
    return [
        replace(
            e, parts=tuple(replace(p, source=change(e.patient, p.source.load()) if p.source else None) for p in e.parts)
        )
        for e in examples
    ]


def same(held: Content) -> Any:
    if isinstance(held, TileSet):
        return InMemory(held)
    return Loaded(bag=held) if isinstance(held, Bag) else Held(volume=held)


def huge(held: Content) -> Any:
    """Every number 1e9; tiles all white, the most that they can be."""
    if isinstance(held, TileSet):
        white = np.full((len(held), held.size_px, held.size_px, 3), 255, np.uint8)
        return same(tileset(white))
    return same(replace(held, x=np.full_like(held.x, 1e9)))


def state(fitted: Any) -> tuple[bytes, str]:
    return weights_bytes(fitted, ""), canonical(fitted.config())


@pytest.mark.parametrize("name", WALKED)
def test_nothing_of_a_test_patient_is_read_before_the_fit_has_ended(name: str) -> None:
    log: list[str] = []
    examples = examples_of(name)
    split = split_of(examples)
    counted = through(examples, lambda patient, held: Counted(held, patient, log))
    model = Watched(MODELS.create(name, QUICK.get(name, {})), log)
    run_fold(model, TASK, split, counted, seed=0, name=name)
    ended = log.index("fitted")
    assert not split.test & set(log[:ended])
    assert split.train & set(log[:ended])
    assert split.test <= set(log[ended:])


@pytest.mark.parametrize("name", WALKED)
def test_test_features_of_a_thousand_million_leave_what_was_fitted_as_it_was(name: str) -> None:
    examples = examples_of(name)
    split = split_of(examples)
    changed = through(examples, lambda patient, held: huge(held) if patient in split.test else same(held))
    model = MODELS.create(name, QUICK.get(name, {}))
    found = [run_fold(model, TASK, split, given, seed=0, name=name).fitted for given in (examples, changed)]
    assert state(found[0]) == state(found[1])


@pytest.mark.parametrize("name", ["logistic", "forest"])
def test_changed_test_rows_leave_what_combat_and_filling_learnt_bit_identical(name: str) -> None:
    examples = cohort(60, absent=0.2)
    split = split_of(examples)
    changed = through(examples, lambda p, held: huge(held) if p in split.test else same(held))
    model = MODELS.create(name, {**QUICK.get(name, {}), **HARMONISED})
    found = [run_fold(model, TASK, split, given, seed=0, name=name).fitted for given in (examples, changed)]
    assert state(found[0]) == state(found[1])
    assert any(key.startswith("combat.") for key in found[0].weights())


def test_a_model_of_masks_reads_no_test_patient_and_its_weights_do_not_change_with_them(tmp_path: Path) -> None:
    log: list[str] = []
    examples = lesions(10)
    split = split_of(examples)
    counted = through(examples, lambda patient, held: Counted(held, patient, log))
    changed = through(examples, lambda patient, held: huge(held) if patient in split.test else same(held))
    stored = []
    for folder, given in (("counted", counted), ("huge", changed)):
        job = FitJob(
            model=Choice("model", "unet", QUICK["unet"]),
            task=Choice("task", "segmentation"),
            split=split,
            examples=tuple(given),
            upstream={e.unit_id: e.unit_id for e in given},
        )
        key = fit_masks(job, tmp_path / folder)
        stored.append(Store(tmp_path / folder).path("fits", key, ".safetensors").read_bytes())
    assert stored[0] == stored[1]
    assert set(log) == split.train | split.tune


def test_stopping_on_the_test_fold_raises_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []
    examples = shifted(30)
    split = split_of(examples)
    with pytest.raises(LeakError, match="6 patients in both tune and test of patient_kfold-0-0: p000"):
        replace(split, tune=split.test)
    honest = room._parts

    def handed(of: Split, given: Any) -> Any:
        parts = honest(of, given)
        return {**parts, "tune": parts["test"]}

    monkeypatch.setattr(room, "_parts", handed)
    counted = through(examples, lambda patient, held: Counted(held, patient, log))
    with pytest.raises(LeakError, match="patient 'p000' in tune of patient_kfold-0-0"):
        run_fold(Watched(MODELS.create("mean_pool"), log), TASK, split, counted, seed=0, name="m")
    assert "fit begins" not in log
    assert not split.test & set(log)
