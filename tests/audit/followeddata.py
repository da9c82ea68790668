"""Cohorts of `auditdata` with a follow-up: patients of B are at a higher hazard, so that B is the poor prognosis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from auditdata import cohort, folds, tables

from phenolens.audit.battery import run
from phenolens.audit.findings import Judged, judge
from phenolens.audit.survival_evidence import SurvivalEvidence, gather_followed
from phenolens.core.predictions import PREDICTION_KEYS, SurvivalPredictions, survival_columns
from phenolens.core.registry import Choice
from phenolens.core.types import Example, Split

FOLLOWED = Choice(
    kind="task", name="survival", params={"target": "os", "time": "days", "event": "dead", "horizons": (400, 1200)}
)
TASK = FOLLOWED.create()


def followed(examples: Sequence[Example], *, strength: float = 2.0, seed: int = 0) -> list[Example]:
    """The same patients with a time and an event; the log hazard of B is `strength` above that of A, a third censored.

    Their label stays among the targets, where only the tests look.
    """
    rng = np.random.default_rng(seed + 40_000)
    made = []
    for e in examples:
        days = rng.exponential(800 / np.exp(strength * (e.targets["type"] == "B")))
        limit = rng.exponential(1200)
        told = {"days": float(np.ceil(min(days, limit))), "dead": int(days <= limit)}
        made.append(replace(e, targets={**e.targets, **told}))
    return made


def predicted(examples: Sequence[Example], splits: Sequence[Split], *, skill: float, seed: int = 0):
    """Test and tune rows of a model that knows the prognosis as far as `skill` says and nothing else."""
    rng = np.random.default_rng(seed)
    rows = []
    for s in splits:
        for part in ("tune", "test"):
            for e in examples:
                if e.patient in getattr(s, part):
                    risk = float(rng.normal() + skill * ((e.targets["type"] == "B") - 0.5))
                    curve = np.exp(-0.001 * np.exp(risk) * np.array(TASK.times))
                    key = ("main", s.scheme, "os", "model", s.repeat, s.fold, part, e.patient, "patient", e.unit_id)
                    told = (e.covariates["site"], s.hash, *TASK.facts(e), risk, "high" if risk > 0 else "low")
                    rows.append((*key, *told, *curve))
    names = [*PREDICTION_KEYS, "site", "split_hash", "time", "event", "risk", "group", *survival_columns(TASK.times)]
    table = pd.DataFrame(rows, columns=names)
    return SurvivalPredictions(table=table, times=TASK.times, horizons=TASK.horizons)


def evidence_of(
    examples: Sequence[Example], *, draws: int = 999, seed: int = 0, skill: float = 0.0
) -> SurvivalEvidence:
    """The evidence of a study of survival; folds are dealt by the event."""
    dealt = [replace(e, targets={"type": "AB"[int(e.targets["dead"])]}) for e in examples]  # type: ignore[call-overload]
    splits = folds(dealt, seed=seed)
    shown = predicted(examples, splits, skill=skill, seed=seed)
    return gather_followed(examples, splits, FOLLOWED, shown, draws=draws, seed=seed)


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


__all__ = ["FOLLOWED", "TASK", "audited", "cohort", "evidence_of", "followed", "predicted"]
