"""What a task promises: how a truth is read, how classes are weighed, how a prediction is written and judged sound."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from phenolens.core.types import Example


class Task(Protocol):
    """What is predicted. A task file ends with `plugin = TheClass`, a frozen dataclass."""

    version: ClassVar[int]
    summary: ClassVar[str]
    kind: ClassVar[str]

    @property
    def target(self) -> str:
        """The name of the target: the column of the table with the label."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes in the order of the probabilities; of a survival task censored and event, its strata."""
        ...

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the prediction, in order: what a fitted model's `predict` gives a row of."""
        ...

    def truth(self, example: Example) -> int:
        """The position of the example's label in `classes`; raises ModelError when it has none of them."""
        ...

    @property
    def outcome(self) -> tuple[str, ...]:
        """The columns that hold the truth in the tables of the study, and its names in an example's targets."""
        ...

    @property
    def known(self) -> tuple[str, ...]:
        """The columns of the predictions table that hold the truth: its class, or its time and event."""
        ...

    def facts(self, example: Example) -> tuple[Any, ...]:
        """The truth of the example, in the order of `known`; raises ModelError when there is none."""
        ...

    def unsound(self, p: npt.NDArray[np.float64]) -> str:
        """What is wrong with predictions (n, len(columns)) of finite numbers; empty when nothing is."""
        ...

    def checked(self, table: pd.DataFrame) -> pd.DataFrame:
        """The table of predictions, judged by the type that evaluation reads it as; raises ModelError."""
        ...

    def weights(self, examples: Sequence[Example]) -> npt.NDArray[np.float64]:
        """Class weights (k,) from training examples; raises ModelError naming a class that none of them has."""
        ...
