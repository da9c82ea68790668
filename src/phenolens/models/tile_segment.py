"""Segmentation of slides: a U-Net trained on outlined tiles, and the fitted model, which tells each pixel of a tile."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from monai.losses import DiceCELoss

from phenolens.core.errors import ModelError
from phenolens.core.types import Example, FloatArray, Rgb, TileSet
from phenolens.models.backbones import RANDOM, Backbone
from phenolens.models.bags import in_order
from phenolens.models.determinism import fixed_torch
from phenolens.models.tile_network import TileUnet, weights_of
from phenolens.models.tiles_augment import Augmentation, Change, as_pixels, changed, turned, zoomed
from phenolens.models.tilesets import Tiles
from phenolens.models.training import Schedule, autocast, batches, best_device, train
from phenolens.models.windows import Tell

_READ = 64
_AHEAD = 2
"""Batches that are read while the network works."""
_CHANGE = Augmentation(zoom=0.3, stain=0.1, shift=1 / 30)
_COUNTED = "num_batches_tracked"
"""Counters of batch normalisation, which nothing depends on."""


class Settings(Schedule, Protocol):
    """The hyper-parameters, as documented in `zoo/tile_unet.py`."""

    @property
    def backbone(self) -> str: ...
    @property
    def weights(self) -> str | None: ...
    @property
    def width(self) -> int: ...
    @property
    def tiles(self) -> int: ...
    @property
    def tune_tiles(self) -> int: ...
    @property
    def foreground(self) -> float: ...
    @property
    def augment(self) -> bool: ...
    @property
    def smooth_um(self) -> float: ...
    @property
    def smallest_mm2(self) -> float: ...


@dataclass(frozen=True, kw_only=True)
class FittedTileSegmenter:
    """The probability of each pixel of a tile; `seen` is the size of the tiles it was fitted on."""

    settings: Settings
    seen: Tiles
    network: TileUnet
    told: Mapping[str, Any]

    @contextmanager
    def at_work(self) -> Iterator[Tell]:
        """A function from tiles (n, s, s, 3) of the spacing of the training to probabilities (n, s, s) float32.

        On a CUDA device where there is one; the network is back on the CPU after. Tiles do not depend on each other.
        """
        device = torch.device(best_device())

        def tell(tiles: Rgb) -> FloatArray:
            with fixed_torch(0, device.type), torch.inference_mode():
                logits = self.network(as_pixels(tiles, device))
                p: FloatArray = torch.sigmoid(logits.float())[:, 0].cpu().numpy()
            return p

        self.network.to(device)
        try:
            yield tell
        finally:
            self.network.to("cpu")

    def weights(self) -> dict[str, npt.NDArray[Any]]:
        return {name: value for name, value in weights_of(self.network).items() if not name.endswith(_COUNTED)}

    def config(self) -> dict[str, Any]:
        """The tiles and how the fit went."""
        return {**self.told, "tiles": self.seen.to_json()}

    @classmethod
    def restore(
        cls, settings: Settings, weights: Mapping[str, npt.NDArray[Any]], config: Mapping[str, Any]
    ) -> FittedTileSegmenter:
        """From what `weights()` and `config()` gave, with the hyper-parameters it was fitted with; no weight file of
        the backbone is read."""
        network = _network(settings, empty=True)
        held = {name: torch.from_numpy(np.array(value)) for name, value in weights.items()}
        network.load_state_dict({**network.state_dict(), **held})
        told = {name: value for name, value in config.items() if name != "tiles"}
        return cls(settings=settings, seen=Tiles.from_json(config["tiles"]), network=network.eval(), told=told)


def fit_tile_segmenter(
    settings: Settings, train_on: Sequence[Example], tune_on: Sequence[Example], task: Any, *, seed: int
) -> FittedTileSegmenter:
    """Fit on tiles of `train_on`; keep the weights of the epoch with the least loss on tiles of `tune_on`.

    The loss is Dice plus binary cross-entropy. Raises ModelError without a tune unit, for a task that has no masks, and
    where tiles differ in size or spacing; FeatureError for tiles without outlines.
    """
    if getattr(task, "kind", "") != "segmentation":
        raise ModelError(
            f"a task of kind '{getattr(task, 'kind', '')}' for a model that finds masks",
            expected="kind: segmentation",
            todo="choose another model for this task; see phenolens list",
        )
    if not tune_on:
        raise ModelError(
            "no tune unit to stop on",
            expected="an inner tune split",
            todo="raise validation.tune, or give the patients of the tune part slides that can be read",
        )
    held, tune = in_order(train_on), in_order(tune_on)
    seen = Tiles.of(held[0])
    device = best_device()
    with fixed_torch(seed, device):
        network = _network(settings).to(device)
        history = _Training(settings, network, _sets(held, seen), _sets(tune, seen), seed).run()
    augmentation = asdict(_CHANGE) if settings.augment else None
    told = {**history, "device": device, "augmentation": augmentation}
    return FittedTileSegmenter(settings=settings, seen=seen, network=network.cpu().eval(), told=told)


def _sets(examples: Sequence[Example], seen: Tiles) -> list[TileSet]:
    """The tiles of every image of every example, checked."""
    return [
        seen.check(held, example.unit_id, part.image)
        for example in examples
        for part in example.parts
        if (held := part.tiles()) is not None
    ]


class _Training:
    """Draws of tiles, losses and tune loss of one fit."""

    readers: ThreadPoolExecutor

    def __init__(
        self, settings: Settings, network: TileUnet, held: list[TileSet], tune: list[TileSet], seed: int
    ) -> None:
        self.settings, self.network, self.seed = settings, network, seed
        self.held, self.tune = held, tune
        self.outlined = [np.flatnonzero(_shares(tiles) > 0) for tiles in held]
        self.others = [np.setdiff1d(np.arange(len(t)), rows) for t, rows in zip(held, self.outlined, strict=True)]
        self.change = _CHANGE if settings.augment else None
        self.device = next(network.parameters()).device
        self.loss = DiceCELoss(sigmoid=True, batch=True)

    def run(self) -> dict[str, Any]:
        with ThreadPoolExecutor(_AHEAD) as self.readers:
            return train(self.network, self.settings, seed=self.seed, losses=self.losses, tune_loss=self.tune_loss)

    def losses(self, epoch: int) -> Iterator[torch.Tensor]:
        """One loss a batch; tiles and changes are drawn by (seed, epoch, image, draw)."""
        drawn = [(i, row) for i in range(len(self.held)) for row in self._draw(i, epoch)]
        order = batches(len(drawn), self.settings.batch, self.seed, epoch)
        jobs = [[(*drawn[at], np.random.default_rng([self.seed, epoch, at, 1])) for at in batch] for batch in order]
        for batch in self._ahead(self.held, jobs, self.change):
            yield self._loss(batch)

    def _loss(self, batch: _Batch) -> torch.Tensor:
        pixels = changed(as_pixels(batch.tiles, self.device), batch.changes)
        truth = torch.from_numpy(batch.mask.astype(np.float32))[:, None].to(self.device)
        with autocast(self.device):
            logits = self.network(pixels)
        made: torch.Tensor = self.loss(logits.float(), zoomed(truth, batch.changes, "nearest"))
        return made

    def _draw(self, image: int, epoch: int) -> list[int]:
        """Tiles of one image, with the chance `foreground` one that is outlined at least in part."""
        draw = np.random.default_rng([self.seed, epoch, image])
        groups = self.outlined[image], self.others[image]
        picked = []
        for _ in range(self.settings.tiles):
            first = bool(draw.random() < self.settings.foreground)
            group = groups[0 if first else 1]
            picked.append(int(draw.choice(group if len(group) else groups[1 if first else 0])))
        return picked

    def tune_loss(self) -> float:
        """The mean loss over batches of tiles that are the same in every epoch; those of one image go together."""
        jobs = []
        for image, held in enumerate(self.tune):
            draw = np.random.default_rng([self.seed, image])
            kept = np.sort(draw.permutation(len(held))[: self.settings.tune_tiles]).tolist()
            jobs += [[(image, row, draw) for row in kept[at : at + _READ]] for at in range(0, len(kept), _READ)]
        total = 0.0
        for batch, job in zip(self._ahead(self.tune, jobs, None), jobs, strict=True):
            total += float(self._loss(batch)) * len(job)
        return total / sum(len(job) for job in jobs)

    def _ahead(
        self, held: Sequence[TileSet], jobs: Sequence[Sequence[_Drawn]], how: Augmentation | None
    ) -> Iterator[_Batch]:
        """Batches in order, each read and turned while the network is busy with those before."""
        waiting: list[Future[_Batch]] = []
        for job in jobs:
            waiting.append(self.readers.submit(_batch, held, job, how))
            if len(waiting) > _AHEAD:
                yield waiting.pop(0).result()
        for last in waiting:
            yield last.result()


_Drawn = tuple[int, int, np.random.Generator]
"""Number of the image, row of the tile, and the random numbers of its change."""


@dataclass(frozen=True, kw_only=True)
class _Batch:
    """Tiles (n, s, s, 3) and their masks (n, s, s), turned already, and changes left to do."""

    tiles: Rgb
    mask: npt.NDArray[np.bool_]
    changes: list[Change]


def _batch(held: Sequence[TileSet], drawn: Sequence[_Drawn], how: Augmentation | None) -> _Batch:
    changes = [Change() if how is None else Change.drawn(draw, how) for _, _, draw in drawn]
    each = list(zip(drawn, changes, strict=True))
    return _Batch(
        tiles=np.stack([turned(held[image].pixels([row])[0], change) for (image, row, _), change in each]),
        mask=np.stack([turned(held[image].inside([row])[0], change) for (image, row, _), change in each]),
        changes=changes,
    )


def _shares(tiles: TileSet) -> FloatArray:
    """The outlined share of each tile, (n,)."""
    pieces = [tiles.inside(range(at, min(at + _READ, len(tiles)))).mean((1, 2)) for at in range(0, len(tiles), _READ)]
    return np.concatenate(pieces).astype(np.float32)


def _network(settings: Settings, *, empty: bool = False) -> TileUnet:
    """The network, in order of its random numbers; `empty` where its weights are about to be given."""
    known = Backbone(name=settings.backbone, weights=RANDOM if empty else settings.weights)
    with fixed_torch(0) if empty else nullcontext():
        encoder = known.maps()
        return TileUnet(encoder, encoder.feature_info.channels(), settings.width, known.row.mean, known.row.std)
