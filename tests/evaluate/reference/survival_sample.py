"""The made-up follow-up that all survival references are computed on: `python survival_sample.py` writes it as JSON.

Two cohorts of 120 training and 90 test patients: "continuous" without ties; "months" with whole months, so that
events and censorings share times, and with tied risks.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

TIMES = (6.0, 12.0, 18.0, 24.0, 30.0, 36.0)
HORIZONS = (12.0, 24.0, 36.0)


def cohort(*, months: bool) -> dict[str, object]:
    rng = np.random.default_rng(20240601)
    x = rng.normal(size=210)
    own = rng.exponential(36 * np.exp(-0.8 * x))
    censored = np.minimum(rng.uniform(4, 70, size=210), 60)
    time, event = np.minimum(own, censored), own <= censored
    if months:
        time = np.ceil(time)
    risk = np.round(x + rng.normal(scale=0.7, size=210), 1 if months else 6)
    curve = np.exp(-np.outer(np.exp(0.6 * risk), np.array(TIMES) / 40))
    group = np.where(risk > 0.4, "high", np.where(risk > -0.5, "middle", "low"))
    stratum = np.where(rng.random(210) < 0.4, "B", "A")
    parts = {"train": slice(0, 120), "test": slice(120, 210)}
    return {
        name: {
            "time": np.round(time[rows], 8).tolist(),
            "event": event[rows].astype(int).tolist(),
            "risk": risk[rows].tolist(),
            "curve": np.round(curve[rows], 10).tolist(),
            "group": group[rows].tolist(),
            "stratum": stratum[rows].tolist(),
        }
        for name, rows in parts.items()
    }


if __name__ == "__main__":
    content = {
        "source": "made up by survival_sample.py (numpy Generator, seed 20240601); no patient's data",
        "times": TIMES,
        "horizons": HORIZONS,
        "continuous": cohort(months=False),
        "months": cohort(months=True),
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(content) + "\n")
