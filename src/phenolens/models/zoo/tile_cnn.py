"""A convolutional network on tiles: frozen or trained in all its parameters, with the tiles' votes for the patient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy.typing as npt

from phenolens.core.types import Example
from phenolens.features.encoders._timm_rows import row_of
from phenolens.tasks._contract import Task

if TYPE_CHECKING:
    from phenolens.models.checkpoint import Checkpoint
    from phenolens.models.contract import Fitted


@dataclass(frozen=True, kw_only=True)
class TileCnn:
    """A pre-trained backbone, one pooling layer and two fully connected layers, trained on tiles.

    backbone: a row of hub.toml, or a convolutional network of timm. weights: null for its published weights, a file, or
    "none" to begin at random. start: the folder or weights file of a fitted tile_cnn to begin with instead. frozen:
    only the head is trained. width, dropout: of the head.

    learning_rate: of the head. backbone_rate: of the backbone's last block; it falls geometrically to stem_share of
    that at the stem. The rates rise over the share `warmup` of all steps and then fall as a cosine. A tile of training
    is drawn class → patient → tile, each uniformly, tiles_per_epoch times an epoch (rounded up to whole batches).
    size_power: where patients have very different numbers of tiles n, a patient is drawn in proportion to n **
    size_power instead (0: all alike, 1: all tiles of a class alike), so that a few tiles are not learnt by heart.
    Training stops `patience` epochs after the least log loss of the tune units, each judged by the mean over at most
    tune_tiles of its tiles. keep: "best", the epoch with that least loss, or "last": all `epochs` are run and the last
    one is kept, for tune parts of few patients, among whom the least loss is mostly chance.

    augment: flips, quarter turns and a zoom of up to 15%. stain: how far the densities of haematoxylin and eosin are
    scaled (0: not at all). With few patients, sites rarely hold equal shares of the classes, and the stain of a site
    is learnt in place of the class: 0.3 undid that on synthetic cohorts (`tests/test_claims.py`).

    distill, temperature: the weight λ and the temperature of soft targets, where units have some. workers: threads that
    decode tiles ahead of the device; no number depends on them.

    Running means of batch normalisation stay as they were pre-trained, because a batch holds tiles of few patients;
    they are learnt where the weights begin at random.
    """

    version: ClassVar[int] = 2
    summary: ClassVar[str] = (
        "A pre-trained network trained on tiles; patients by the mean, majority or attention of them."
    )
    reads: ClassVar[str] = "tiles"
    offers: ClassVar[tuple[str, ...]] = ("attention", "tile_probability")
    accepts_missing: ClassVar[bool] = False
    needs_tune: ClassVar[bool] = True
    cheap: ClassVar[bool] = False
    resumes: ClassVar[bool] = True

    backbone: str = "resnet50v2"
    weights: str | None = field(default=None, metadata={"key": False})
    start: str | None = field(default=None, metadata={"key": False})
    frozen: bool = False
    width: int = 256
    dropout: float = 0.25
    learning_rate: float = 0.001
    backbone_rate: float = 0.0001
    stem_share: float = 0.1
    warmup: float = 0.1
    weight_decay: float = 0.01
    epochs: int = 20
    patience: int = 5
    batch: int = 32
    tiles_per_epoch: int = 8192
    tune_tiles: int = 128
    size_power: float = 0.0
    keep: str = "best"
    augment: bool = True
    stain: float = 0.0
    distill: float = 0.0
    temperature: float = 2.0
    workers: int = field(default=2, metadata={"key": False})
    facts: str = field(init=False, repr=False, default="")

    def __post_init__(self) -> None:
        for name in ("width", "epochs", "patience", "tiles_per_epoch", "tune_tiles", "workers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.batch < 2:
            raise ValueError(f"batch must be at least 2, not {self.batch}")
        for name in ("learning_rate", "backbone_rate", "temperature"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)}")
        if self.keep not in ("best", "last"):
            raise ValueError(f"keep must be best or last, not {self.keep!r}")
        if not 0 <= self.size_power <= 1:
            raise ValueError(f"size_power must lie in 0 to 1, not {self.size_power}")
        for name in ("dropout", "warmup", "stain"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must lie in 0 to 1 (1 excluded), not {getattr(self, name)}")
        if not 0 <= self.distill <= 1 or not 0 < self.stem_share <= 1 or self.weight_decay < 0:
            raise ValueError("distill must lie in 0 to 1, stem_share above 0 and up to 1, weight_decay not below 0")
        if self.start is not None and self.weights is not None:
            raise ValueError("start gives the weights: leave weights out")
        object.__setattr__(self, "facts", row_of(self.backbone).facts())

    def fingerprint(self) -> str:
        """SHA-256 of what training begins with: the weights' file, the fit it starts from, or "random".

        Raises WeightsMissingError where there is no such file.
        """
        from phenolens.models.backbones import Backbone
        from phenolens.models.tiles_start import Start

        if self.start is not None:
            return f"start {Start.read(Path(self.start)).sha256}"
        return Backbone(name=self.backbone, weights=self.weights).fingerprint()

    def lent(self) -> frozenset[str]:
        """The patients whom the fit that this one starts from has seen."""
        from phenolens.models.tiles_start import Start

        return frozenset() if self.start is None else Start.read(Path(self.start)).patients

    def fit(
        self,
        train: Sequence[Example],
        tune: Sequence[Example],
        task: Task,
        *,
        seed: int,
        checkpoint: Checkpoint | None = None,
    ) -> Fitted:
        """As in `models.contract.Resumes`."""
        from phenolens.models.tiles_fit import fit_tiles

        return fit_tiles(self, train, tune, task, seed=seed, checkpoint=checkpoint)

    def restore(self, weights: Mapping[str, npt.NDArray[Any]], config: Mapping[str, Any]) -> Fitted:
        from phenolens.models.tiles_fitted import FittedTiles

        return FittedTiles.restore(weights, config)


plugin = TileCnn
