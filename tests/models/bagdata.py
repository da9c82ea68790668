"""Examples made on the spot, for the tests of models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from phenolens.core.registry import MODELS
from phenolens.core.types import Bag, Example, Frame, Loaded, Part, Split

CLASSES = ("A", "B")
BASELINES = ("volume_only", "image_size")
OF_CLASSES = [n for n in MODELS.names() if getattr(MODELS.plugin(n)[0], "task", "classification") == "classification"]
OF_BAGS = [n for n in OF_CLASSES if MODELS.plugin(n)[0].reads in ("bag", "any") and n not in BASELINES]
"""Models that read bags; those of volumes have examples of their own in `volumedata`, size alone in test_baselines."""
NETWORKS = ("abmil", "clam", "dsmil", "hierarchy", "transmil")
"""Those that train a network with early stopping."""
SHORT = {"transmil": {"epochs": 15}}
"""Parameters of the models that would take long."""
FRAME = Frame(shape=(1000, 1000), spacing=(0.5, 0.5), origin=(0.0, 0.0), unit="um")


def bag(x: npt.ArrayLike, names: tuple[str, ...] | None = None) -> Bag:
    """A bag of tiles of 112 µm in a row."""
    rows = np.asarray(x, dtype=np.float32)
    coords = np.column_stack([np.arange(len(rows)) * 112.0, np.zeros(len(rows))])
    return Bag(x=rows, coords=coords, extent=112.0, names=names, frame=FRAME, recipe="made in a test")


def example(patient: str, label: str | None, *bags: npt.ArrayLike, unit: str = "", site: str = "one") -> Example:
    """One unit with a part a bag."""
    parts = tuple(
        Part(name=f"part{i}", image=f"{unit or patient}-{i}", source=Loaded(bag=bag(x))) for i, x in enumerate(bags)
    )
    targets = {} if label is None else {"subtype": label}
    return Example(patient=patient, unit_id=unit or patient, parts=parts, covariates={"site": site}, targets=targets)


def shifted(n: int, *, seed: int = 0, tiles: int = 20, d: int = 8, classes: tuple[str, ...] = CLASSES) -> list[Example]:
    """Patients whose every tile is shifted in a feature of their own class: easy."""
    draw = np.random.default_rng(seed)
    made = []
    for i in range(n):
        x = draw.normal(size=(tiles, d))
        x[:, i % len(classes)] += 1.5
        made.append(example(f"p{i:03d}", classes[i % len(classes)], x[: tiles // 2], x[tiles // 2 :]))
    return made


def few_witnesses(n: int, *, seed: int = 0, tiles: int = 60, d: int = 80, share: float = 0.1) -> list[Example]:
    """In class B a tenth of the tiles is shifted and the others are shifted back: no mean tells the classes apart."""
    draw = np.random.default_rng(seed)
    made = []
    for i in range(n):
        x = draw.normal(size=(tiles, d))
        if i % 2:
            witnesses = draw.permutation(tiles)[: round(tiles * share)]
            x[witnesses, :3] += 3
            x[:, :3] -= 3 * share
        made.append(example(f"p{i:03d}", CLASSES[i % 2], x))
    return made


def split_of(examples: list[Example], tune: float = 0.2, test: float = 0.2) -> Split:
    """Patients in their order: the first are test, the next tune, the others train."""
    patients = list(dict.fromkeys(e.patient for e in examples))
    a, b = round(len(patients) * test), round(len(patients) * (test + tune))
    sets = {"test": frozenset(patients[:a]), "tune": frozenset(patients[a:b]), "train": frozenset(patients[b:])}
    return Split(scheme="patient_kfold", repeat=0, fold=0, seed=0, **sets)


def musk(folder: Path) -> list[Example]:
    """MUSK1: 92 molecules as bags of conformations with 166 features; class B is musk."""
    from scipy.io import loadmat

    def table(name: str, key: str) -> npt.NDArray[np.float64]:
        return loadmat(folder / "mil" / "musk1_unscaled" / name, variable_names=[key])[key].astype(float)

    x, of, label = table("X_musk_original.mat", "X"), table("Bag2_musk_original.mat", "Bag2").ravel(), None
    label = table("bagI_musk1_original.mat", "bagI").ravel()
    return [example(f"m{i:03d}", CLASSES[int(label[i - 1] == 1)], x[of == i]) for i in range(1, len(label) + 1)]
