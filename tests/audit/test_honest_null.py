"""Two hundred cohorts of pure noise: what a fair toolkit finds in them.

Slow (minutes): pytest -m slow tests/audit/test_honest_null.py -s

Three sites of 20: four of 15 would hold 7 or 8 patients of a class each, under the floor of an AUC.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_null_run import _cohort, _splits, _task

from phenolens.audit.null_run import permutation_p
from phenolens.core.predictions import Predictions
from phenolens.core.registry import Choice
from phenolens.core.types import Example, Split
from phenolens.evaluate.score import estimates
from phenolens.models.bags import condense

NESTED = Choice(kind="model", name="quick_models.py:ChosenRidge", base=Path(__file__).parent)
SEEDS, PATIENTS, FEATURES, SITES, PERMUTATIONS = 200, 60, 1000, 3, 199


def _by_site(examples: list[Example]) -> list[Split]:
    """One site is tested, every fourth patient of the others is tune."""
    sites = sorted({e.covariates["site"] for e in examples})
    made = []
    for fold, site in enumerate(sites):
        rest = [e.patient for e in examples if e.covariates["site"] != site]
        tune = frozenset(p for i, p in enumerate(rest) if i // 2 % 4 == 0)
        test = frozenset(e.patient for e in examples if e.covariates["site"] == site)
        made.append(
            Split(scheme="leave_one_site_out", repeat=0, fold=fold, train=frozenset(rest) - tune, tune=tune, test=test,
                  seed=0)
        )  # fmt: skip
    return made


def _predictions(examples: list[Example], splits: list[Split]) -> Predictions:
    model, task = NESTED.create(), _task().create()
    frames = []
    for s in splits:
        train, tune, test = ([e for e in examples if e.patient in part] for part in (s.train, s.tune, s.test))
        p = model.fit(train, tune, task, seed=0).predict(test)
        key = {"experiment": "main", "scheme": s.scheme, "target": "type", "model": "ridge", "repeat": s.repeat}
        unit = {"patient": [e.patient for e in test], "unit": "patient", "unit_id": [e.unit_id for e in test]}
        rest = {"site": [e.covariates["site"] for e in test], "split_hash": s.hash}
        rest["truth"] = [e.targets["type"] for e in test]
        frames.append(pd.DataFrame({"unit_id": unit["unit_id"], **key, "fold": s.fold, "part": "test", **unit, **rest,
                                    "p_A": p[:, 0], "p_B": p[:, 1]}))  # fmt: skip
    return Predictions(table=pd.concat(frames, ignore_index=True), classes=("A", "B"))


def _nested_auc(examples: list[Example]) -> float:
    small = condense(NESTED.create(), examples)
    table = estimates(_predictions(small, _splits(small, folds=5)), metrics=["macro_auc"])
    return float(table[table["subgroup"] == "all"].iloc[0]["value"])


def _with_copies(seed: int, share: float) -> list[Example]:
    """Noise in which the last patients are the first again, under new ids and with their labels."""
    examples = _cohort(PATIENTS, seed=seed, d=FEATURES)
    twice = round(share * PATIENTS)
    again = [replace(e, patient=f"X{e.patient}", unit_id=f"X{e.unit_id}") for e in examples[:twice]]
    return [*examples[: PATIENTS - twice], *again]


def _one(seed: int, scheme: str, *, permutations: int) -> tuple[float, bool, float]:
    """AUC, whether its interval holds one half, and p, of one cohort of noise."""
    examples = _cohort(PATIENTS, seed=seed, d=FEATURES, sites=SITES)
    splits = _splits(examples, folds=5) if scheme == "patient_kfold" else _by_site(examples)
    small = condense(NESTED.create(), examples)
    table = estimates(_predictions(small, splits), metrics=["macro_auc"])
    row = table[table["subgroup"] == "all"].iloc[0]
    p = permutation_p(examples, splits, NESTED, _task(), permutations=permutations, seed=seed, workers=0)["p"]
    return float(row["value"]), bool(row["low"] <= 0.5 <= row["high"]), float(p)


def test_a_cohort_of_noise_gives_an_auc_an_interval_and_a_p() -> None:
    for scheme in ("patient_kfold", "leave_one_site_out"):
        auc, _, p = _one(0, scheme, permutations=9)
        assert 0.2 < auc < 0.8
        assert p >= 0.1


@pytest.mark.slow
def test_a_fifth_of_the_patients_under_new_ids_makes_a_signal_of_noise() -> None:
    """What the finding near-duplicate-patients quotes under `inflates`."""
    honest, copied = (np.mean([_nested_auc(_with_copies(s, share)) for s in range(SEEDS)]) for share in (0, 0.2))
    print(f"\nmean AUC on noise over {SEEDS} cohorts: {honest:.3f}; with 20% copies {copied:.3f}")  # noqa: T201
    assert honest == pytest.approx(0.5, abs=0.02)
    assert copied > 0.56


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["patient_kfold", "leave_one_site_out"])
def test_noise_gives_half_an_auc_an_honest_interval_and_no_significance(scheme: str) -> None:
    found = np.array([_one(seed, scheme, permutations=PERMUTATIONS) for seed in range(SEEDS)])
    auc, covered, p = found[:, 0].mean(), found[:, 1].mean(), (found[:, 2] < 0.05).mean()
    print(f"\n{scheme}: mean AUC {auc:.3f}, interval holds 0.5 in {covered:.1%}, p < 0.05 in {p:.1%} of {SEEDS}")  # noqa: T201
    assert auc == pytest.approx(0.5, abs=0.02)
    assert covered >= 0.85
    assert p <= 0.08
