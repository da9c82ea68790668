"""Two hundred cohorts of pure noise: what a fair toolkit finds in them (minutes; `make slow`)."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from test_null_run import RIDGE, _cohort, _splits, _task

from phenolens.audit.null_run import permutation_p
from phenolens.core.predictions import Predictions
from phenolens.evaluate.score import estimates


def _predictions(examples, splits) -> Predictions:
    model, task = RIDGE.create(), _task().create()
    frames = []
    for s in splits:
        test = [e for e in examples if e.patient in s.test]
        p = model.fit([e for e in examples if e.patient in s.train], [], task, seed=0).predict(test)
        key = {"experiment": "main", "scheme": s.scheme, "target": "type", "model": "ridge", "repeat": s.repeat}
        unit = {"patient": [e.patient for e in test], "unit": "patient", "unit_id": [e.unit_id for e in test]}
        rest = {"site": "S", "split_hash": s.hash, "truth": [e.targets["type"] for e in test]}
        frames.append(pd.DataFrame({"unit_id": unit["unit_id"], **key, "fold": s.fold, "part": "test", **unit, **rest,
                                    "p_A": p[:, 0], "p_B": p[:, 1]}))  # fmt: skip
    return Predictions(table=pd.concat(frames, ignore_index=True), classes=("A", "B"))


@pytest.mark.slow
def test_noise_gives_half_an_auc_an_honest_interval_and_no_significance():
    values, covered, p = [], [], []
    for seed in range(200):
        examples = _cohort(60, seed=seed, d=1000)
        splits = _splits(examples, folds=5, tune=False)
        row = estimates(_predictions(examples, splits), metrics=["macro_auc"]).iloc[0]
        values.append(row["value"])
        covered.append(row["low"] <= 0.5 <= row["high"])
        if seed % 2 == 0:
            p.append(permutation_p(examples, splits, RIDGE, _task(), permutations=39, seed=seed, workers=0)["p"])
    assert np.mean(values) == pytest.approx(0.5, abs=0.02)
    assert np.mean(covered) >= 0.85
    assert (np.array(p) < 0.05).mean() <= 0.08
