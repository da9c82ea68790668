"""Slow tests: what the four-phase study promises, on synthetic cohorts, by the path of a study file.

Generator: two classes of tumour, bands of spindle cells that are alike in everything but the shape of their nuclei
(straight or wavy, an amplitude under 2 um: plain at 1 um a px, hardly there at 2.5); on average four fifths of a tumour
show the pattern of its class and the rest the other's, so that a fifth of the tiles have the wrong label. 46 patients
of a class from two sites: 16 to train on, 6 to stop on, 24 to test, each tested once. Every seed is a cohort of its
own. The backbone was trained on textures that no slide shows (`demo_backbones`), so that frozen features are features.

Measures. Fine-tuned against frozen, and found against drawn masks: AUC of the test patients, in each cohort; the paired
interval is DeLong's (`evaluate.compare`). What 16x loses: log loss of tiles of the test patients with the class of
their patient, the mean over patients and then over cohorts, all on the same ground: of 40x it is that of the mean
probability of the 40x tiles whose centres lie in a 16x tile. It is proper, is what the networks are trained for, and
rests on thousands of tiles. Not the log loss of patients: a mean over uncertain tiles says too little of a patient,
however well it orders them, and less certain tiles cost most there (on the seed that settings were chosen on a teacher
brought back nothing of it, and about half of the AUC). If 16x loses less than LOSES the claim cannot be
examined and the test fails.

Design and measures were chosen on seed 0, and settings at first too. Of the seeds that were listed then, 11 held every
claim and 12 failed the first: at rates of 0.003 its network did not leave guessing in twelve epochs (AUC 0.531; frozen
0.785), as the finding `not-learnt` now says of such a fit. At rates of 0.001 it learns, but of the seeds listed next 21
failed: by lot its sites hold unequal shares of the classes in training, and the network learnt the stain of a site (AUC
0.557). With stains augmented (`stain: 0.3`) the same seeds 11, 12 and 21 give 0.979, 0.977 and 0.925. They and seed 0
are therefore no evidence; SEEDS were not looked at before they were run with these settings, and held the first two
claims. The third they missed: of what 16x loses, a teacher brought back 0.44 in twelve epochs, of which the last was
the best. In twice as many, with and without a teacher, it is 0.62 on the same seeds, and OTHERS are those it is tested
on.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from phenolens.demo_backbones import make_backbones
from phenolens.run import run_experiments
from phenolens.synth.cohort import make
from phenolens.synth.design import Design
from tests.small_study import QUIET

pytestmark = pytest.mark.slow

SEEDS = (31, 32)
"""One independent cohort each, of which nothing was seen when design, settings and measures were chosen."""
OTHERS = (41, 42)
"""The same for the claim about a teacher, whose settings were chosen last."""
CLASSES = (("LMS", "straight_bands"), ("MPNST", "herringbone"))
TRAIN, TUNE, TEST = 16, 6, 24
"""Patients of a class in each part."""
BACKBONE = "test_resnet"
FINE, COARSE, LOW = 1.0, 2.5, 4.0
"""Micrometres a px in place of 40x, 16x and 4x; as with those, 16x is 2.5 times as coarse as 40x."""
SIDE = 32
"""Of a tile in px, at 40x and at 16x."""
RATES = {"learning_rate": 0.001, "backbone_rate": 0.001, "stem_share": 1.0}
CNN = {"backbone": BACKBONE, **RATES, "epochs": 12, "patience": 12, "tiles_per_epoch": 4096, "tune_tiles": 32}
CNN |= {"width": 64, "stain": 0.3, "workers": 1}
AGAIN = {**CNN, "epochs": 24, "patience": 24}
"""At 16x."""
WITHIN = 0.05
"""Most that the AUC in found masks may differ from that in drawn ones."""
LOSES = 0.05
"""Least log loss that 16x must add for the claim to be examined."""
TAUGHT = {"distill": 1.0, "temperature": 1.0}
UNET = {"backbone": BACKBONE, "learning_rate": 0.001, "tiles": 16, "epochs": 10, "patience": 10}


def content(weights: str) -> dict[str, object]:
    """The study file: the recipe's experiments that the claims are about."""
    cnn = {**CNN, "weights": weights}
    asked = {
        "frozen": {"models": [{"tile_cnn": {**cnn, "frozen": True}}]},
        "finetune": {},
        "segment": {
            "region": {"annotation": None},
            "tiles": {"size_px": 64, "mpp": LOW, "step_px": 32},
            "features": {"outlines": True},
            "task": {"kind": "segmentation", "target": "Tumor"},
            "models": [{"tile_unet": {**UNET, "weights": weights}}],
            "validation": {"scheme": "patient_kfold", "folds": 2, "file": None},
        },
        "automatic": {"region": {"annotation": None, "masks": "segment"}},
        "accelerate": {
            "tiles": {"mpp": COARSE},
            "models": [{"tile_cnn": AGAIN}],
            "transfer": {"start": "finetune"},
        },
        "distil": {
            "tiles": {"mpp": COARSE},
            "models": [{"tile_cnn": {**AGAIN, **TAUGHT}}],
            "transfer": {"start": "finetune", "teacher": "finetune"},
        },
    }
    return {
        "study": "claims",
        "quality": {"min_tissue_mm2": 0.02},
        "region": {"annotation": "Tumor"},
        "tiles": {"size_px": SIDE, "mpp": FINE},
        "features": {"encoder": "pixels"},
        "task": {"target": "subtype"},
        "models": [{"tile_cnn": cnn}],
        "validation": {"scheme": "file", "file": "splits.csv"},
        "guard": {"out_of_distribution": False},
        "explain": {"slides": 0},
        "experiments": asked,
    }


def parts(patients: pd.DataFrame) -> pd.DataFrame:
    """One split: of each class the first TRAIN patients, the next TUNE and the last TEST; ids were dealt at random."""
    place = patients.groupby("subtype").cumcount()
    part = np.select([place < TRAIN, place < TRAIN + TUNE], ["train", "tune"], "test")
    return patients[["patient"]].assign(fold=0, part=part)


def write(folder: Path, seed: int, backbones: Path) -> Path:
    """A cohort with its split and its study file, and beside them the backbone."""
    design = Design(
        recipe="claims",
        target="subtype",
        classes=CLASSES,
        patients_per_class=TRAIN + TUNE + TEST,
        seed=seed,
        slide_px=1000,
        mpp=FINE,
        faults=False,
    )
    make(folder, design, progress=QUIET)
    parts(pd.read_csv(folder / "patients.csv")).to_csv(folder / "splits.csv", index=False)
    weights = f"{BACKBONE}.safetensors"
    shutil.copy(backbones / weights, folder / weights)
    (folder / "study.yaml").write_text(yaml.safe_dump(content(weights), sort_keys=False))
    return folder


def run(folder: Path, *names: str) -> None:
    """Run these experiments to their end."""
    for name in names:
        assert all(done.finished for _, done in run_experiments(folder, name=name, progress=QUIET))


def fine_tuned(home: Path, seeds: Sequence[int]) -> dict[int, Path]:
    """A cohort of each seed with its fine-tuned network: what every claim is set against."""
    make_backbones(home / "backbones", [BACKBONE], progress=QUIET)
    made = {seed: write(home / f"seed-{seed}", seed, home / "backbones") for seed in seeds}
    for folder in made.values():
        run(folder, "finetune")
    return made


@pytest.fixture(scope="module")
def cohorts(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    return fine_tuned(tmp_path_factory.mktemp("claims"), SEEDS)


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    return fine_tuned(tmp_path_factory.mktemp("others"), OTHERS)


def auc(folder: Path, name: str) -> float:
    """The AUC of the test patients."""
    table = pd.read_csv(folder / "experiments" / name / "results" / "estimates.csv")
    asked = (table["metric"] == "macro_auc") & (table["subgroup"] == "all") & (table["model"] == "tile_cnn")
    return float(table.loc[asked, "value"].item())


def told(folder: Path, name: str) -> pd.DataFrame:
    """What the network of the fold said of every tile of the test patients."""
    table = pd.read_parquet(folder / "experiments" / name / "results" / "tile_predictions.parquet")
    return table[table["model"] == "tile_cnn"]


def in_place(folder: Path, fine: pd.DataFrame, coarse: pd.DataFrame) -> pd.DataFrame:
    """The coarse tiles, with the mean of what was said of the fine tiles whose centres lie in each."""
    spacing = {name: one["mpp"] for name, one in json.loads((folder / "truth.json").read_text())["images"].items()}
    columns, made = [f"p_{label}" for label, _ in CLASSES], []
    of_image = dict(list(fine.groupby("image")))
    for image, tiles in coarse.groupby("image"):
        own, half, side = of_image[image], SIDE * FINE / spacing[image] / 2, SIDE * COARSE / spacing[image]
        away = (own[["x", "y"]].to_numpy() + half)[None] - tiles[["x", "y"]].to_numpy()[:, None]
        inside = ((away >= 0) & (away < side)).all(2)
        kept = inside.any(1)
        mean = inside[kept] @ own[columns].to_numpy() / inside[kept].sum(1)[:, None]
        made.append(tiles[kept].assign(**dict(zip(columns, mean.T, strict=True))))
    return pd.concat(made)


def loss(tiles: pd.DataFrame) -> float:
    """Log loss of tiles with the class of their patient: the mean over patients of each one's mean."""
    given = np.select([tiles["truth"] == label for label, _ in CLASSES], [tiles[f"p_{label}"] for label, _ in CLASSES])
    each = pd.Series(-np.log(given.clip(1e-6)), index=tiles["patient"]).groupby(level=0).mean()
    assert len(each) == 2 * TEST
    return float(each.mean())


def test_fine_tuning_beats_the_frozen_network(cohorts: dict[int, Path]) -> None:
    for seed, folder in cohorts.items():
        run(folder, "frozen")
        pairs = pd.read_csv(folder / "results" / "experiments_compared.csv")
        pair = pairs[
            (pairs["metric"] == "macro_auc") & (pairs["model_a"] == "finetune") & (pairs["model_b"] == "frozen")
        ]
        one = pair.squeeze()
        print(f"seed {seed}: fine-tuned {auc(folder, 'finetune'):.3f}, frozen {auc(folder, 'frozen'):.3f}", end=", ")  # noqa: T201
        print(f"difference {one['difference']:.3f} ({one['low']:.3f} to {one['high']:.3f}), {one['method']}")  # noqa: T201
        assert "DeLong" in one["method"]
        assert one["low"] > 0


def test_found_masks_do_as_well_as_drawn_ones(cohorts: dict[int, Path]) -> None:
    for seed, folder in cohorts.items():
        run(folder, "segment", "automatic")
        drawn, found = auc(folder, "finetune"), auc(folder, "automatic")
        masks = pd.read_csv(folder / "experiments" / "segment" / "results" / "estimates.csv")
        dice = masks[(masks["metric"] == "dice") & (masks["subgroup"] == "all")]["value"].item()
        print(f"seed {seed}: drawn {drawn:.3f}, found {found:.3f}, Dice of the masks {dice:.3f}")  # noqa: T201
        assert abs(drawn - found) <= WITHIN


def test_a_teacher_brings_back_half_of_what_the_coarser_view_loses(others: dict[int, Path]) -> None:
    found = []
    for seed, folder in others.items():
        run(folder, "accelerate", "distil")
        plain, taught = told(folder, "accelerate"), told(folder, "distil")
        place = in_place(folder, told(folder, "finetune"), plain)
        where = pd.MultiIndex.from_frame(place[["image", "row"]])
        alike = (t[pd.MultiIndex.from_frame(t[["image", "row"]]).isin(where)] for t in (plain, taught))
        found.append((loss(place), *(loss(t) for t in alike)))
        print(f"seed {seed}: log loss of tiles at 40x, 16x, 16x taught", *(f"{x:.4f}" for x in found[-1]), end="; AUC ")  # noqa: T201
        print(*(f"{auc(folder, name):.3f}" for name in ("finetune", "accelerate", "distil")))  # noqa: T201
    fine, coarse, helped = np.mean(found, axis=0)
    print(f"brought back: {(coarse - helped) / (coarse - fine):.2f}")  # noqa: T201
    assert coarse - fine >= LOSES, "16x loses too little for the claim to be examined"
    assert (coarse - helped) / (coarse - fine) >= 0.5
