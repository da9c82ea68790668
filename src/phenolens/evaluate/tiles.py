"""How well single tiles are told, with intervals that know that the tiles of a patient are alike.

A tile has the truth of its patient. In cross-validation the interval is that of the folds, as for patients; on one test
set whole patients are resampled, all their tiles together. The number of tiles makes no interval narrower.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from phenolens.core.predictions import Predictions
from phenolens.evaluate.folds import Fold, Group, groups
from phenolens.evaluate.interval import patient_counts
from phenolens.evaluate.metric import metrics_reading, predicted
from phenolens.evaluate.score import estimated

METRICS = ("accuracy", "balanced_accuracy", "macro_precision", "macro_recall")


def tile_estimates(table: pd.DataFrame) -> pd.DataFrame:
    """METRICS over tiles, every group and site: the columns of `score.COLUMNS`; patients are counted, not tiles.

    `table` holds one row a tile with the columns of `Predictions`, the unit being "tile". Only test rows are read.
    Raises ModelError for a table that is not of that form.
    """
    classes = tuple(str(c).removeprefix("p_") for c in table.columns if str(c).startswith("p_"))
    sets = (TileGroup(**vars(group)) for group in groups(Predictions(table=table, classes=classes)))
    return estimated(sets, metrics_reading("probabilities", METRICS))


@dataclass(frozen=True, kw_only=True)
class TileGroup(Group):
    """As `Group`; resamples of patients are counted from each patient's confusion of classes, not from the tiles."""

    def draws(
        self, fold: Fold, chosen: Mapping[str, Any], seed: int
    ) -> dict[tuple[str, str | None], npt.NDArray[np.float64]]:
        cells = np.stack([fold.patient, fold.truth, predicted(fold.p)], axis=1)
        (patient, truth, called), times = (a.T for a in np.unique(cells, axis=0, return_counts=True))
        p = np.eye(len(self.classes))[called]
        counts = patient_counts(patient, seed=seed) * times
        return {(name, None): metric.resampled(truth, p, self.classes, counts) for name, metric in chosen.items()}
