"""What a task promises: how a label is read, how classes are weighed, how a prediction is written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol

import numpy as np
import numpy.typing as npt

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
        """The classes in the order of the probabilities."""
        ...

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the prediction, in order."""
        ...

    def truth(self, example: Example) -> int:
        """The position of the example's label in `classes`; raises ModelError when it has none of them."""
        ...

    def weights(self, examples: Sequence[Example]) -> npt.NDArray[np.float64]:
        """Class weights (k,) from training examples; raises ModelError naming a class that none of them has."""
        ...
