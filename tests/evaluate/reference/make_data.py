"""Writes data.csv: 260 units of 130 patients with two scores, on which the R scripts compute their values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

rng = np.random.default_rng(20)
n = 260
risk = rng.normal(-0.6, 1.2, n)
y = (rng.random(n) < 1 / (1 + np.exp(-risk))).astype(int)
a = 1 / (1 + np.exp(-(1.7 * risk + 0.4 + rng.normal(0, 0.7, n))))
b = 1 / (1 + np.exp(-(0.6 * risk + rng.normal(0, 1.0, n))))
table = pd.DataFrame({"patient": np.arange(n) // 2, "y": y, "a": a.round(6), "b": b.round(2).clip(0.01, 0.99)})
table.to_csv(Path(__file__).with_name("data.csv"), index=False)
