"""Time of an audit: 250 patients, 560 features, 3 sites; 199 permutations and 20 null runs of a linear model, and the
tests of shortcuts and sites.

python benchmarks/audit.py [--model mean_pool|cox] [--workers 2]

Features come in blocks that hang together, as radiomics do: a linear model on them takes many more steps than on noise.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from dataclasses import replace

import numpy as np
import pandas as pd

from phenolens.audit.battery import run
from phenolens.audit.evidence import Evidence
from phenolens.audit.findings import judge
from phenolens.audit.labels import gather
from phenolens.audit.null_run import null_run, permutation_p
from phenolens.audit.survival_evidence import gather_followed
from phenolens.core.predictions import PREDICTION_KEYS, Predictions, SurvivalPredictions
from phenolens.core.registry import Choice
from phenolens.core.types import Bag, Example, Frame, Loaded, Part, Split

PATIENTS, FEATURES, SITES, FOLDS, BLOCK = 250, 560, 3, 5, 20
TASK = Choice(kind="task", name="classification", params={"target": "type", "classes": ("A", "B")})
FOLLOWED = Choice(
    kind="task", name="survival", params={"target": "os", "time": "days", "event": "dead", "horizons": (400.0, 1200.0)}
)


def cohort() -> list[Example]:
    """Patients of two classes with a little signal."""
    rng = np.random.default_rng(0)
    frame = Frame(shape=(1, 1, 1), spacing=(1.0, 1.0, 1.0), origin=(0.0, 0.0, 0.0), unit="mm")
    made = []
    for i in range(PATIENTS):
        shared = np.repeat(rng.normal(size=FEATURES // BLOCK), BLOCK)
        x = (shared + 0.3 * rng.normal(size=FEATURES))[None].astype(np.float32)
        x[0, :BLOCK] += 0.5 * (i % 2)
        bag = Bag(x=x, coords=np.zeros((1, 3)), extent=1.0, names=None, frame=frame, recipe=str(i))
        who = f"P{i:03d}"
        part = Part(name="table", image=who, source=Loaded(bag=bag))
        made.append(Example(patient=who, unit_id=who, parts=(part,), covariates={"site": f"S{i // 2 % SITES}"},
                            targets={"type": "AB"[i % 2]}))  # fmt: skip
    return made


def followed(examples: list[Example]) -> list[Example]:
    """The same patients with a time and an event; those of B are at twice the hazard, a third is censored."""
    rng = np.random.default_rng(2)
    made = []
    for e in examples:
        days = rng.exponential(800 / (1 + (e.targets["type"] == "B")))
        limit = rng.exponential(1200)
        made.append(replace(e, targets={"days": float(np.ceil(min(days, limit))), "dead": int(days <= limit)}))
    return made


def folds(examples: list[Example]) -> list[Split]:
    """Five folds, the next one as tune."""
    number = {e.patient: i // 2 % FOLDS for i, e in enumerate(examples)}
    everyone = frozenset(number)
    made = []
    for f in range(FOLDS):
        test, tune = (frozenset(p for p in everyone if number[p] == (f + k) % FOLDS) for k in (0, 1))
        made.append(Split(scheme="patient_kfold", repeat=0, fold=f, train=everyone - test - tune, tune=tune, test=test,
                          seed=0))  # fmt: skip
    return made


def predictions(examples: list[Example], splits: list[Split]) -> Predictions:
    """Test rows of a model that knows nothing."""
    rng = np.random.default_rng(1)
    rows = []
    for s in splits:
        for e in examples:
            if e.patient in s.test:
                p = float(rng.random())
                key = ("main", s.scheme, "type", "model", 0, s.fold, "test", e.patient, "patient", e.unit_id)
                rows.append((*key, e.covariates["site"], s.hash, e.targets["type"], 1 - p, p))
    names = [*PREDICTION_KEYS, "site", "split_hash", "truth", "p_A", "p_B"]
    return Predictions(table=pd.DataFrame(rows, columns=names), classes=("A", "B"))


def risks(examples: list[Example], splits: list[Split]) -> SurvivalPredictions:
    """Test rows of a model of survival that knows nothing."""
    rng, task, rows = np.random.default_rng(1), FOLLOWED.create(), []
    for s in splits:
        for e in [e for e in examples if e.patient in s.test]:
            risk = float(rng.normal())
            key = ("main", s.scheme, "os", "model", 0, s.fold, "test", e.patient, "patient", e.unit_id)
            curve = np.exp(-0.001 * np.exp(risk) * np.array(task.times))
            rows.append(
                (*key, e.covariates["site"], s.hash, *task.facts(e), risk, "high" if risk > 0 else "low", *curve)
            )
    names = [*PREDICTION_KEYS, "site", "split_hash", "time", "event", *task.columns]
    return SurvivalPredictions(table=pd.DataFrame(rows, columns=names), times=task.times, horizons=task.horizons)


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--model", default="logistic")
    asked.add_argument("--workers", type=int, default=2)
    given = asked.parse_args()
    survives = given.model == "cox"
    examples = followed(cohort()) if survives else cohort()
    splits, task = folds(examples), FOLLOWED if survives else TASK
    model = Choice(kind="model", name=given.model)
    begun = time.perf_counter()
    p = permutation_p(examples, splits, model, task, permutations=199, workers=given.workers)
    chance = time.perf_counter()
    print(f"permutation test, 199 refits: {chance - begun:.1f} s (score {p['observed']:.3f}, p {p['p']:.3f})")
    null = null_run(examples, splits, model, task, workers=given.workers)
    ran = time.perf_counter()
    print(f"null run, 20 refits: {ran - chance:.1f} s (mean {null['mean']:.3f})")
    patients = pd.DataFrame({"scanner": ["XYZ"[i % 3] for i in range(PATIENTS)]}, index=[e.patient for e in examples])
    images = pd.DataFrame({"patient": list(patients.index), "image": list(patients.index)})
    evidence: Evidence
    if survives:
        evidence = gather_followed(examples, splits, task, risks(examples, splits))
    else:
        evidence = gather(examples, splits, task, predictions(examples, splits))
    tests, _ = run(evidence, patients=patients, images=images, declared=("scanner",))
    found = judge(tests, [{**null, "model": given.model}]).findings
    done = time.perf_counter()
    print(f"shortcuts and sites, 999 refits each: {done - ran:.1f} s ({len(found)} findings)")
    spent = f"{PATIENTS} patients x {FEATURES} features, {given.model}: {done - begun:.1f} s on {given.workers} workers"
    cpu = sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(f"{spent}, {cpu:.0f} s of processor ({os.cpu_count()} processors, load {os.getloadavg()[0]:.1f})")


if __name__ == "__main__":
    main()
