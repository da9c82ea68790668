"""Permuted follow-up: pairs of time and event change places, and the procedure is fitted again on them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from phenolens.audit.null_run import null_run, permutation_p, represent
from phenolens.audit.relabel import plan
from phenolens.core.errors import ModelError
from phenolens.core.registry import Choice
from phenolens.core.types import Example, Split

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))
from coxdata import TASK, cohort

COX = Choice(kind="model", name="cox")
ASKED = Choice(
    kind="task",
    name="survival",
    params={"target": "os", "time": "days", "event": "dead", "horizons": TASK.horizons},
)


def splits(examples: list[Example], folds: int = 3) -> list[Split]:
    """Folds dealt by event, with every fifth of the others as tune."""
    ordered = sorted(examples, key=lambda e: (int(e.targets["dead"]), e.patient))  # type: ignore[call-overload]
    made = []
    for fold in range(folds):
        test = {e.patient for e in ordered[fold::folds]}
        rest = [e.patient for e in ordered if e.patient not in test]
        tune = frozenset(rest[::5])
        train = frozenset(rest) - tune
        made.append(
            Split(scheme="patient_kfold", repeat=0, fold=fold, train=train, tune=tune, test=frozenset(test), seed=0)
        )
    return made


def test_pairs_move_whole_within_their_site_and_fold() -> None:
    examples = cohort(90)
    made = plan(examples, splits(examples), ("days", "dead"), draws=199)
    assert made.how == "within site, within test fold"
    real, drawn = made.real, made.draw(0, 1)
    assert real != drawn
    site = {e.patient: e.covariates["site"] for e in examples}
    for part in ("s0", "s1", "s2"):
        held = [[labels[k] for k in labels if site[k[0]] == part] for labels in (real, drawn)]
        assert sorted(held[0]) == sorted(held[1])  # type: ignore[type-var]
    assert drawn == made.draw(0, 1)


def test_a_training_set_without_an_event_is_refused() -> None:
    examples = cohort(60)
    few = [
        Example(**{**e.__dict__, "targets": {"days": float(i + 1), "dead": int(i == 0)}})
        for i, e in enumerate(examples)
    ]
    with pytest.raises(ModelError, match="an event that is missing in a training set"):
        plan(few, splits(few), ("days", "dead"), draws=19)


def test_a_planted_hazard_has_a_small_p_and_a_clean_null_run() -> None:
    examples = cohort(120, effect=1.2, d=2)
    test = permutation_p(examples, splits(examples), COX, ASKED, permutations=19, workers=0)
    assert test["p"] == 1 / 20
    assert test["observed"] > 0.65
    assert abs(test["null"]["mean"] - 0.5) < 0.05
    assert test["statistic"] == "fold-mean of Uno's C"
    assert test["refitted"] == "cox"
    assert test["test"].startswith("follow-up of patients permuted")
    run = null_run(examples, splits(examples), COX, ASKED, runs=10, workers=0)
    assert not run["flagged"]


def test_without_a_signal_p_is_not_small() -> None:
    found = []
    for seed in range(4):
        examples = cohort(60, effect=0, seed=seed, d=2)
        found.append(permutation_p(examples, splits(examples, 2), COX, ASKED, permutations=19, workers=0)["p"])
    assert np.mean(found) > 0.2
    assert sum(p <= 0.05 for p in found) <= 1


@pytest.mark.slow
def test_the_result_does_not_depend_on_the_number_of_workers() -> None:
    examples = cohort(60)
    one, two = (
        permutation_p(examples, splits(examples), COX, ASKED, permutations=5, workers=w, seed=3) for w in (0, 2)
    )
    assert one == two


def test_too_few_events_for_an_order_of_risks_are_told() -> None:
    examples = [
        Example(**{**e.__dict__, "targets": {**e.targets, "dead": int(i % 9 == 0)}}) for i, e in enumerate(cohort(72))
    ]
    with pytest.raises(ModelError, match="not estimable"):
        permutation_p(examples, splits(examples), COX, ASKED, permutations=19, workers=0)


def test_a_slow_model_of_survival_is_represented_by_cox(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        "from dataclasses import dataclass\nfrom typing import ClassVar\n\n"
        "@dataclass(frozen=True, kw_only=True)\nclass Slow:\n"
        '    version: ClassVar[int] = 1\n    summary: ClassVar[str] = "."\n    task: ClassVar[str] = "survival"\n'
        '    reads: ClassVar[str] = "bag"\n    cheap: ClassVar[bool] = False\n'
        "    accepts_missing: ClassVar[bool] = True\n"
    )
    chosen, said = represent(Choice(kind="model", name="slow.py:Slow", base=tmp_path), False)
    assert chosen.name == "cox"
    assert "in place of slow.py:Slow" in said
