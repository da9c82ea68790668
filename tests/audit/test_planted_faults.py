"""Leaks planted in the procedure: the null run sees them, and an honest procedure passes.

The whole table over 20 seeds is slow (minutes): pytest -m slow tests/audit/test_planted_faults.py -s
"""

from __future__ import annotations

from typing import Any

import faulty_procedures as faulty
import numpy as np
import pytest
from test_null_run import RIDGE, _cohort, _splits, _task

from phenolens.audit.null_run import null_run
from phenolens.core.errors import LeakError
from phenolens.core.types import Example, Split

SEEDS = range(20)
FAULTS = {
    "outer selection": faulty.outer_selection,
    "oversampling before the split": faulty.oversampling_before_the_split,
    "best of 50 on the test fold": faulty.best_of_fifty,
}


def _noise(seed: int) -> tuple[list[Example], list[Split]]:
    """60 patients of noise in 200 features, a quarter of them of class A, in five folds that keep the shares."""
    examples = [e for i, e in enumerate(_cohort(90, seed=seed, d=200)) if i % 2 or i % 6 == 0]
    return examples, _splits(examples, folds=5, tune=False)


def _run(seed: int, procedure: Any = None) -> dict[str, Any]:
    examples, splits = _noise(seed)
    return null_run(examples, splits, RIDGE, _task(), seed=seed, workers=0, procedure=procedure)


@pytest.mark.parametrize("name", FAULTS)
def test_a_leak_in_the_procedure_is_flagged_by_the_null_run(name: str) -> None:
    found = _run(0, FAULTS[name])
    assert found["flagged"]
    assert found["mean"] > 0.6


def test_an_honest_procedure_passes_and_its_numbers_do_not_depend_on_how_it_is_named() -> None:
    from phenolens.audit.null_run import fit_folds

    assert not _run(0)["flagged"]
    assert _run(0) == _run(0, fit_folds)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*FAULTS, "honest"])
def test_over_twenty_seeds_leaks_are_flagged_in_nineteen_and_an_honest_procedure_in_one_at_most(name: str) -> None:
    found = [_run(seed, FAULTS.get(name)) for seed in SEEDS]
    flagged = sum(f["flagged"] for f in found)
    print(f"\nnull run, {name}: flagged {flagged} of 20, mean AUC {np.mean([f['mean'] for f in found]):.3f}")  # noqa: T201
    assert flagged <= 1 if name == "honest" else flagged >= 19


def test_patients_of_the_test_fold_cannot_be_used_for_stopping() -> None:
    everyone = frozenset(f"P{i:03d}" for i in range(20))
    test = frozenset(sorted(everyone)[:5])
    with pytest.raises(LeakError, match="5 patients in both tune and test of patient_kfold-0-0: P000"):
        Split(scheme="patient_kfold", repeat=0, fold=0, train=everyone - test, tune=test, test=test, seed=0)
