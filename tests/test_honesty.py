"""Slow tests of honesty: without signal nothing is found, with signal it is; run with `make slow`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from phenolens.run import run_study
from tests.small_study import QUIET, write_cohort, write_study

pytestmark = pytest.mark.slow

SEEDS = range(30)


def macro_auc(folder: Path) -> dict[str, float]:
    """Fold-mean macro AUC of every model under patient k-fold."""
    table = pd.read_csv(folder / "results" / "estimates.csv")
    rows = table.query("scheme == 'patient_kfold' and metric == 'macro_auc' and subgroup == 'all'")
    return dict(zip(rows["model"], rows["value"], strict=True))


def run(folder: Path, *, signal: float, seed: int, slide_px: int) -> dict[str, float]:
    write_cohort(folder, patients=10, slide_px=slide_px, signal=signal, seed=seed)
    write_study(
        folder,
        tiles={"size_px": 128, "mpp": 0.5, "max_per_patient": 12},
        models=["mean_pool", "sampler", "abmil"],
        validation={"folds": 5, "seed": seed},
        explain={"slides": 0},
        seed=seed,
    )
    run_study(folder, until="models", progress=QUIET)
    return macro_auc(folder)


def test_without_signal_the_mean_auc_over_thirty_redrawn_cohorts_is_a_half(tmp_path: Path) -> None:
    found = pd.DataFrame([run(tmp_path / str(seed), signal=0, seed=seed, slide_px=520) for seed in SEEDS])
    means = found.mean()
    print(f"\nmacro AUC at signal 0, mean and sd over {len(SEEDS)} seeds:\n{found.agg(['mean', 'std']).round(3)}")  # noqa: T201
    assert found.notna().all().all()
    assert np.all((means > 0.45) & (means < 0.55)), means


def test_the_default_signal_is_found_by_pathomics_and_abmil(tmp_path: Path) -> None:
    found = run(tmp_path / "s", signal=1, seed=0, slide_px=1200)
    print(f"\nmacro AUC at the default signal: {found}")  # noqa: T201
    assert found["abmil"] >= 0.9
