"""Values of scikit-survival (GPL-3, never a dependency) on survival_sample.json: `python survival_scikit.py`.

In an environment with `pip install scikit-survival`.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
from sksurv.metrics import brier_score, concordance_index_ipcw, cumulative_dynamic_auc, integrated_brier_score
from sksurv.nonparametric import CensoringDistributionEstimator
from sksurv.util import Surv

HERE = Path(__file__).parent


def values(cohort: dict, times: list[float], horizons: list[float]) -> dict[str, object]:
    train, test = (Surv.from_arrays(np.array(p["event"], bool), p["time"]) for p in (cohort["train"], cohort["test"]))
    risk, curve = np.array(cohort["test"]["risk"]), np.array(cohort["test"]["curve"])
    auc, _ = cumulative_dynamic_auc(train, test, risk, horizons)
    censoring = CensoringDistributionEstimator().fit(train)
    return {
        "uno_c": {f"{tau:g}": concordance_index_ipcw(train, test, risk, tau=tau)[0] for tau in horizons},
        "cumulative_auc": {f"{t:g}": float(a) for t, a in zip(horizons, auc, strict=True)},
        "brier": {f"{t:g}": float(b) for t, b in zip(times, brier_score(train, test, curve, times)[1], strict=True)},
        "integrated_brier": float(integrated_brier_score(train, test, curve, times)),
        "censoring": {f"{t:g}": float(g) for t, g in zip(times, censoring.predict_proba(np.array(times)), strict=True)},
    }


if __name__ == "__main__":
    sample = json.loads((HERE / "survival_sample.json").read_text())
    content = {
        "source": "scikit-survival: sksurv.metrics, censoring from the training part",
        "versions": {name: version(name) for name in ("scikit-survival", "numpy")},
        **{name: values(sample[name], sample["times"], sample["horizons"]) for name in ("continuous", "months")},
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(content, indent=1) + "\n")
