"""Adding an encoder, a model, a metric or a format is adding one file: dropped into the door, a study can name it."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from phenolens.core.predictions import SurvivalPredictions
from phenolens.core.registry import DOORS
from phenolens.evaluate.survival_score import survival_estimates
from phenolens.run import run_study
from tests.small_study import QUIET

HEAD = """
from dataclasses import dataclass
from typing import ClassVar
import numpy as np

@dataclass(frozen=True, kw_only=True)
class Plugin:
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "Dropped in by a test."
"""

FORMAT = f"""{HEAD}
    suffixes: ClassVar[tuple[str, ...]] = (".npy",)
    priority: ClassVar[int] = 50
    def accepts(self, path):
        return path.suffix == ".npy"
    def open(self, path):
        return Source(np.load(path, mmap_mode="r"))

class Source:
    mpp, bounds, stain_hint, kind, notes = (1.0, 1.0), (0, 0), None, "numpy slide", ()
    def __init__(self, pixels):
        from phenolens.slides.levels import Level
        self.pixels = pixels
        self.levels = (Level(pixels.shape[1], pixels.shape[0], 1.0),)
    def read_region(self, level, x, y, width, height):
        out = np.full((height, width, 3), 255, np.uint8)
        part = self.pixels[max(y, 0):y + height, max(x, 0):x + width]
        out[max(-y, 0):max(-y, 0) + part.shape[0], max(-x, 0):max(-x, 0) + part.shape[1]] = part
        return out
    def close(self):
        pass

plugin = Plugin
"""

ENCODER = f"""{HEAD}
    reads: ClassVar[str] = "slide"
    makes: ClassVar[str] = "bag"
    place: ClassVar[str] = "cpu"
    licence: ClassVar[str] = "Apache-2.0"
    mpp: ClassVar[float | None] = None
    size_px: ClassVar[int | None] = None
    names: ClassVar[tuple[str, ...]] = ("red", "green", "blue")
    def load(self, device):
        return lambda tiles, mpp: tiles.mean((1, 2)).astype(np.float32)

plugin = Plugin
"""

MODEL = f"""{HEAD}
    reads: ClassVar[str] = "bag"
    offers: ClassVar[tuple[str, ...]] = ()
    accepts_missing: ClassVar[bool] = False
    needs_tune: ClassVar[bool] = False
    cheap: ClassVar[bool] = True
    def fit(self, train, tune, task, *, seed):
        rows = np.array([e.instances().mean(0) for e in train])
        truth = np.array([task.truth(e) for e in train])
        return Fitted(np.array([rows[truth == c].mean(0) for c in range(len(task.classes))]))
    def restore(self, weights, config):
        return Fitted(weights["centres"])

class Fitted:
    def __init__(self, centres):
        self.centres = centres
    def predict(self, examples):
        x = np.array([e.instances().mean(0) for e in examples])
        score = -np.abs(x[:, None] - self.centres[None]).sum(2) / 10
        p = np.exp(score - score.max(1, keepdims=True))
        return p / p.sum(1, keepdims=True)
    def weights(self):
        return {{"centres": self.centres}}
    def config(self):
        return {{}}

plugin = Plugin
"""

METRIC = f"""{HEAD}
    reads: ClassVar[str] = "probabilities"
    better: ClassVar[str] = "lower"
    per_class: ClassVar[bool] = False
    def compute(self, truth, p, classes):
        return float((p.argmax(1) != truth).mean())

plugin = Plugin
"""

SURVIVAL_METRIC = f"""{HEAD}
    reads: ClassVar[str] = "survival"
    better: ClassVar[str] = "lower"
    per_horizon: ClassVar[bool] = False
    def compute(self, sample):
        return float(abs(sample.risk).mean())

plugin = Plugin
"""

DROPPED = (
    ("formats", "npy_slide", FORMAT),
    ("encoders", "mean_colour", ENCODER),
    ("models", "nearest_centre", MODEL),
    ("metrics", "error_rate", METRIC),
    ("metrics", "mean_risk", SURVIVAL_METRIC),
)


@pytest.fixture
def dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The five files, each in the folder of its door."""
    for kind, name, text in DROPPED:
        folder = tmp_path / "doors" / kind / name
        folder.mkdir(parents=True)
        (folder / f"{name}.py").write_text(text)
        package = importlib.import_module(DOORS[kind].package)
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
        DOORS[kind].__dict__.pop("_homes", None)
    yield
    for kind, _, _ in DROPPED:
        DOORS[kind].__dict__.pop("_homes", None)


def write_cohort(folder: Path) -> None:
    """Twelve patients in two classes, one purple .npy slide each; one class is a little redder."""
    rng = np.random.default_rng(0)
    rows, images = [], []
    for i in range(12):
        base = (150 + 25 * (i % 2), 80, 160)
        pixels = np.clip(rng.normal(base, 12, (256, 256, 3)), 0, 255).astype(np.uint8)
        np.save(folder / f"P{i}.npy", pixels)
        rows.append({"patient": f"P{i}", "site": "AB"[i // 6], "kind": ("plain", "red")[i % 2]})
        images.append({"patient": f"P{i}", "path": f"P{i}.npy"})
    pd.DataFrame(rows).to_csv(folder / "patients.csv", index=False)
    pd.DataFrame(images).to_csv(folder / "images.csv", index=False)
    Image.fromarray(pixels).save(folder / "look.png")


@pytest.mark.usefixtures("dropped")
def test_files_dropped_into_their_doors_run_a_study(tmp_path: Path) -> None:
    write_cohort(tmp_path)
    (tmp_path / "study.yaml").write_text(
        "study: doors\nregion: {tissue: none}\ntiles: {size_px: 64, mpp: 1.0}\n"
        "quality: {min_tissue_mm2: null, max_blur: null, max_pen: null, min_saturation: null}\n"
        "features: {encoder: mean_colour}\ntask: {target: kind}\nmodels: [nearest_centre]\n"
        "validation: {folds: 3}\nexplain: {slides: 1, methods: [occlusion]}\n"
    )
    assert run_study(tmp_path, workers=0, progress=QUIET).finished
    estimates = pd.read_csv(tmp_path / "results" / "estimates.csv").query("subgroup == 'all'").set_index("metric")
    assert estimates.loc["error_rate", "value"] == pytest.approx(1 - estimates.loc["accuracy", "value"])
    assert estimates.loc["accuracy", "value"] == 1
    assert "mean_risk" not in estimates.index
    assert set(estimates["model"]) == {"nearest_centre"}
    assert set(pd.read_csv(tmp_path / "results" / "images.csv")["format"]) == {"npy_slide"}


@pytest.mark.usefixtures("dropped")
def test_what_is_dropped_in_is_listed() -> None:
    for kind, name, _ in DROPPED:
        assert DOORS[kind].describe(name)["summary"] == "Dropped in by a test."


@pytest.mark.usefixtures("dropped")
def test_a_metric_that_reads_survival_dropped_into_its_door_is_estimated_in_folds_and_on_one_test_set() -> None:
    n = 40
    rows = pd.DataFrame(
        {
            "experiment": "main", "target": "os", "model": "m", "repeat": 0, "part": "test", "unit": "patient",
            "patient": [f"P{i:02d}" for i in range(n)], "unit_id": [f"P{i:02d}" for i in range(n)], "site": "A",
            "split_hash": "h", "time": np.arange(n) + 1.0, "event": 1, "risk": np.arange(n) % 7 - 3.0, "group": "low",
            "s_10": 0.8, "s_20": 0.5,
        }
    )  # fmt: skip
    folds = [rows.assign(scheme="patient_kfold", fold=np.arange(n) % 4), rows.assign(scheme="holdout", fold=0)]
    table = SurvivalPredictions(table=pd.concat(folds), times=(10.0, 20.0), horizons=(10.0,))
    made = survival_estimates(table).query("metric == 'mean_risk'").set_index("scheme")
    assert made.loc["holdout", "value"] == pytest.approx(rows["risk"].abs().mean())
    assert made.loc["holdout", "low"] < made.loc["holdout", "value"] < made.loc["holdout", "high"]
    assert made.loc["patient_kfold", "method"] == "mean of 4 folds, Nadeau–Bengio interval"
