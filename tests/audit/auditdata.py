"""Cohorts in memory for the audit's tests: features with or without biology, sites, scanners and missing sequences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from phenolens.audit.battery import run
from phenolens.audit.findings import Judged, judge
from phenolens.audit.labels import LabelEvidence, gather
from phenolens.core.predictions import Predictions
from phenolens.core.registry import Choice
from phenolens.core.types import Bag, Example, Frame, Loaded, Part, Split

FRAME = Frame(shape=(1, 1, 1), spacing=(1.0, 1.0, 1.0), origin=(0.0, 0.0, 0.0), unit="mm")
TASK = Choice(kind="task", name="classification", params={"target": "type", "classes": ("A", "B")})


def cohort(
    n: int = 150,
    *,
    seed: int = 0,
    prevalence: Sequence[float] = (0.5,) * 5,
    d: int = 40,
    signature: float = 1.0,
    biology: float = 0.0,
    sequences: Sequence[str] = ("T1",),
) -> list[Example]:
    """`n` patients of len(prevalence) sites, whose features carry the site and, as asked, the label.

    Sites are of equal size; the label is B with the prevalence of the site. Patients come in random order.
    """
    rng = np.random.default_rng(seed)
    sites = rng.permutation(np.arange(n) % len(prevalence))
    centre = rng.normal(size=(len(prevalence), d)) * signature
    effect = rng.normal(size=d) * biology
    found = []
    for i, s in enumerate(sites):
        label = int(rng.random() < prevalence[s])
        parts = []
        for name in sequences:
            x = (rng.normal(size=(1, d)) + centre[s] + label * effect).astype(np.float32)
            bag = Bag(x=x, coords=np.zeros((1, 3)), extent=1.0, names=None, frame=FRAME, recipe="test")
            parts.append(Part(name=name, image=f"P{i:03d}-{name}", source=Loaded(bag=bag)))
        found.append(Example(patient=f"P{i:03d}", unit_id=f"P{i:03d}", parts=tuple(parts),
                             covariates={"site": f"S{s}"}, targets={"type": "AB"[label]}))  # fmt: skip
    return found


def folds(examples: Sequence[Example], *, k: int = 5, seed: int = 0) -> list[Split]:
    """Folds stratified by label, patients dealt at random."""
    rng = np.random.default_rng(seed)
    number: dict[str, int] = {}
    for label in "AB":
        mine = [e.patient for e in examples if e.targets["type"] == label]
        for place, i in enumerate(rng.permutation(len(mine))):
            number[mine[i]] = place % k
    everyone = frozenset(number)
    made = []
    for f in range(k):
        test = frozenset(p for p in everyone if number[p] == f)
        tune = frozenset(p for p in everyone if number[p] == (f + 1) % k)
        made.append(Split(scheme="patient_kfold", repeat=0, fold=f, train=everyone - test - tune, tune=tune,
                          test=test, seed=0))  # fmt: skip
    return made


def predicted(examples: Sequence[Example], splits: Sequence[Split], *, skill: float, seed: int = 0) -> Predictions:
    """Test and tune rows of a model that knows the label as far as `skill` says and nothing else."""
    rng = np.random.default_rng(seed)
    rows = []
    for s in splits:
        for part in ("tune", "test"):
            for e in examples:
                if e.patient in getattr(s, part):
                    label = int(e.targets["type"] == "B")
                    p = float(1 / (1 + np.exp(-(rng.normal() + skill * (label - 0.5)))))
                    key = ("main", s.scheme, "type", "model", s.repeat, s.fold, part, e.patient, "patient", e.unit_id)
                    rows.append((*key, e.covariates["site"], s.hash, e.targets["type"], 1 - p, p))
    names = ("experiment", "scheme", "target", "model", "repeat", "fold", "part", "patient", "unit", "unit_id")
    table = pd.DataFrame(rows, columns=[*names, "site", "split_hash", "truth", "p_A", "p_B"])
    return Predictions(table=table, classes=("A", "B"))


def evidence_of(examples: Sequence[Example], *, draws: int = 999, seed: int = 0, skill: float = 0.0) -> LabelEvidence:
    """The evidence of a study of these examples."""
    splits = folds(examples, seed=seed)
    shown = predicted(examples, splits, skill=skill, seed=seed)
    return gather(examples, splits, TASK, shown, draws=draws, seed=seed)


def tables(examples: Sequence[Example], **columns: Sequence[object]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The patients table with the given columns, and an images table without any."""
    patients = pd.DataFrame(columns, index=pd.Index([e.patient for e in examples], name="patient"))
    images = pd.DataFrame({"patient": [e.patient for e in examples], "image": [e.parts[0].image for e in examples]})
    return patients, images


def audited(
    examples: Sequence[Example],
    *,
    draws: int = 999,
    seed: int = 0,
    skill: float = 0.0,
    null_runs: Sequence[dict[str, object]] = (),
    **columns: Sequence[object],
) -> Judged:
    """Every test of the audit, with the columns of the patients table declared as acquisition."""
    patients, images = tables(examples, **columns)
    evidence = evidence_of(examples, draws=draws, seed=seed, skill=skill)
    found, _ = run(evidence, patients=patients, images=images, declared=tuple(columns))
    return judge(found, null_runs)
