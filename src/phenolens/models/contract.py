"""What a model and a fitted model promise. A file in `zoo/` that keeps this promise is a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from phenolens.core.types import Example
from phenolens.tasks._contract import Task

if TYPE_CHECKING:
    from phenolens.models.checkpoint import Checkpoint
    from phenolens.models.tile_reading import Read

Probabilities = npt.NDArray[np.float64]
"""Shape (n, k); every row sums to one."""


class Fitted(Protocol):
    """A model after fitting. It holds numbers only, on the CPU, whatever device it was fitted on."""

    def predict(self, examples: Sequence[Example]) -> Probabilities:
        """Probabilities (n, k) in the order of the task's classes; a row does not depend on the other examples."""
        ...

    def weights(self) -> dict[str, npt.NDArray[Any]]:
        """The learnt numbers, finite arrays by name, as they are stored in safetensors."""
        ...

    def config(self) -> dict[str, Any]:
        """What `restore` needs beside the weights, and how the fit went; JSON."""
        ...


class Flags(Fitted, Protocol):
    """A fitted model that marks predictions to be read with care (parts it was never trained on together)."""

    def flags(self, examples: Sequence[Example]) -> list[str]:
        """One text an example: why, or an empty text. It goes into the column `flag` of the predictions."""
        ...


class ReadsTiles(Fitted, Protocol):
    """A fitted model that judges every tile: it predicts one vote of them, and tells of others.

    What the network says of a unit is read once (`read`); the votes are made of that (`pooled`), by name, (k,) each:
    "mean" is what `predict` gives, and each other vote has rows of its own in the predictions, as `NAME (VOTE)`.
    """

    def read(self, example: Example) -> Read: ...
    def pooled(self, read: Read) -> dict[str, npt.NDArray[np.float64]]: ...
    def condensed(self, example: Example) -> tuple[Any, Example]:
        """A predictor on bags of what was said of the tiles, and the example as such bags; it predicts and offers what
        the model does, without reading a pixel again."""
        ...


class Weighs(Fitted, Protocol):
    """A fitted model whose class offers "coefficients"."""

    def coefficients(self) -> dict[str, npt.NDArray[np.float64]]:
        """Feature -> (k,), the weight of the standardised feature for each class; importances are alike for all."""
        ...


class Contributes(Fitted, Protocol):
    """A fitted model whose class offers "contributions": its logits are sums over parts."""

    def contributions(self, example: Example) -> dict[str, npt.NDArray[np.float64]]:
        """Part -> (k,), what it adds to the logits, centred over the classes; parts read together joined by +."""
        ...


class Explains(Fitted, Protocol):
    """A fitted model whose class offers "attention"."""

    def attention(self, example: Example) -> npt.NDArray[np.float64]:
        """The weight of each row of `example.instances()`, (n,), not negative, summing to one."""
        ...


class Model(Protocol):
    """A model before fitting: a frozen dataclass of hyper-parameters.

    `reads` is what a part must hold ("bag"); `offers` what the fitted model can show ("attention"); `accepts_missing`
    says whether an example may have absent parts; `needs_tune` whether it stops or searches on the tune split (only a
    model that does neither may say False); `cheap` whether a refit on 100 patients with `condense`d features takes less
    than about a second. A model of volumes may say `reads_landmarks = True`: it fits a standard scale of intensities on
    the landmarks of its training volumes (`models.volumes.Reading`); without it, studies that ask for that are refused.
    """

    version: ClassVar[int]
    summary: ClassVar[str]
    reads: ClassVar[str]
    offers: ClassVar[tuple[str, ...]]
    accepts_missing: ClassVar[bool]
    needs_tune: ClassVar[bool]
    cheap: ClassVar[bool]

    def fit(self, train: Sequence[Example], tune: Sequence[Example], task: Task, *, seed: int) -> Fitted:
        """Fit on `train`; stop or choose on `tune`. The same seed gives the same numbers, in whatever order they come.

        Everything learnt across patients (scaling, selection) is learnt here, from `train` alone.
        """
        ...

    def restore(self, weights: Mapping[str, npt.NDArray[Any]], config: Mapping[str, Any]) -> Fitted:
        """The fitted model again, with exactly the same predictions, from what `weights()` and `config()` gave."""
        ...


class Resumes(Model, Protocol):
    """A model whose fit takes hours; its class says `resumes = True`."""

    resumes: ClassVar[bool]

    def fit(
        self,
        train: Sequence[Example],
        tune: Sequence[Example],
        task: Task,
        *,
        seed: int,
        checkpoint: Checkpoint | None = None,
    ) -> Fitted:
        """As in `Model`; where there is a checkpoint the state of the fit is kept there and taken up again, and the
        fit ends in the same bytes as one that was never interrupted (on one CPU machine)."""
        ...


class Begins(Model, Protocol):
    """A model that may begin with weights made elsewhere: its hash is in the key of a fit, the path is not."""

    def fingerprint(self) -> str:
        """The hash of what the fit begins with."""
        ...

    def lent(self) -> frozenset[str]:
        """The patients whom a fitted model that it begins with has seen; none of them may be a test patient."""
        ...
