"""The fitted model behind `tile_cnn`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from phenolens.core.types import Bag, Example, FloatArray, Loaded, Rgb, TileSet
from phenolens.models.backbones import RANDOM, Backbone
from phenolens.models.bags import Scaler
from phenolens.models.contract import Probabilities
from phenolens.models.determinism import fixed_torch
from phenolens.models.linear import softmax
from phenolens.models.tile_reading import ATTENTION, MAJORITY, MEAN, Read
from phenolens.models.tiles_augment import as_pixels
from phenolens.models.tiles_feed import ahead, sets_of
from phenolens.models.tiles_network import TileNetwork
from phenolens.models.tiles_votes import Vote, majority, weighed
from phenolens.models.training import autocast, best_device

EVALUATED = 32
"""Tiles a forward pass outside training; fixed, because sums in a network may depend on it."""
FEW = 0.1
"""Under this share of the median training unit's tiles a prediction is marked."""


@dataclass(frozen=True, kw_only=True)
class FittedTiles:
    """One network for every tile, and the votes of a unit's tiles; float32, on a CUDA device where there is one."""

    network: TileNetwork
    vote: Vote
    told: Mapping[str, Any]
    workers: int = 1

    def predict(self, examples: Sequence[Example]) -> Probabilities:
        """Probabilities (n, k): the mean over the tiles of each unit."""
        k = self.network.classify.out_features
        return np.array([self.pooled(self.read(e))[MEAN] for e in examples]).reshape(len(examples), k)

    def read(self, example: Example) -> Read:
        """The network's word on every tile of a unit, which the votes are made of."""
        sets = sets_of(example)
        device = torch.device(best_device())
        with fixed_torch(0, device.type), torch.inference_mode():
            if device.type != "cpu":
                torch.use_deterministic_algorithms(False)
                self.network.to(device)
            network = self.network.eval()
            made = [evaluated(network, held, range(len(held)), self.workers) for _, held in sets]
            if device.type != "cpu":
                self.network.to("cpu")
        return Read(
            images=tuple(image for image, _ in sets),
            coords=tuple(held.coords for _, held in sets),
            p=tuple(p for p, _ in made),
            hidden=tuple(hidden for _, hidden in made),
        )

    def pooled(self, read: Read) -> dict[str, npt.NDArray[np.float64]]:
        """The votes of a unit's tiles, (k,) each; the model predicts MEAN."""
        p = read.every()
        mean = p.mean(0)
        scores = self.vote.scores(np.concatenate(read.hidden))
        return {MEAN: mean / mean.sum(), MAJORITY: majority(p), ATTENTION: weighed(p, scores)}

    def votes(self, examples: Sequence[Example]) -> dict[str, Probabilities]:
        """The other votes, (n, k) each: "majority" is the share of tiles whose most probable class it is, "attention"
        the mean weighed by the fitted attention."""
        made = [self.pooled(self.read(e)) for e in examples]
        k = self.network.classify.out_features
        return {name: np.array([m[name] for m in made]).reshape(-1, k) for name in (MAJORITY, ATTENTION)}

    def tiles(self, example: Example) -> list[tuple[str, npt.NDArray[np.float64], Probabilities]]:
        """Of every image its id, the corners (n, 2) of its tiles in its frame's unit and their probabilities (n, k)."""
        read = self.read(example)
        return list(zip(read.images, read.coords, read.p, strict=True))

    def condensed(self, example: Example) -> tuple[TileVotes, Example]:
        """The unit as bags of what the network said of its tiles, (n, k + 1), and what votes on them exactly as this
        model does: what maps ask a hundred times without a pixel being read again."""
        read, k = self.read(example), self.network.classify.out_features
        sets = dict(sets_of(example))
        made = {}
        for image, p, hidden in zip(read.images, read.p, read.hidden, strict=True):
            held, x = sets[image], np.column_stack([p, self.vote.scores(hidden)]).astype(np.float32)
            made[image] = Bag(
                x=x, coords=held.coords, extent=held.extent, names=None, frame=held.frame, recipe=held.recipe
            )
        parts = tuple(
            replace(part, source=Loaded(bag=made[part.image])) for part in example.parts if part.image in made
        )
        return TileVotes(classes=k), replace(example, parts=parts)

    def attention(self, example: Example) -> npt.NDArray[np.float64]:
        """The weight of each tile in the attention vote, (n,), over all images in turn, summing to one."""
        return softmax(self.vote.scores(np.concatenate(self.read(example).hidden)))

    def flags(self, examples: Sequence[Example]) -> list[str]:
        """Units with few tiles for the training."""
        usual = self.told["median_tiles"]
        counts = [sum(len(held) for _, held in sets_of(e)) for e in examples]
        return [few(n, usual) for n in counts]

    def weights(self) -> dict[str, npt.NDArray[Any]]:
        state = {f"network.{name}": value.numpy().copy() for name, value in self.network.state_dict().items()}
        vote = {f"vote.{name}": np.array(value) for name, value in self.vote.arrays.items()}
        return {**state, **vote, "vote.mean": self.vote.scaler.mean, "vote.scale": self.vote.scaler.scale}

    def config(self) -> dict[str, Any]:
        """The network's shape, and how the fit went: epochs, steps, rates, what was frozen, the tune loss."""
        return dict(self.told)

    @classmethod
    def restore(cls, weights: Mapping[str, npt.NDArray[Any]], config: Mapping[str, Any]) -> FittedTiles:
        """From what `weights()` and `config()` gave."""
        own = {n.removeprefix("vote."): np.array(v) for n, v in weights.items() if n.startswith("vote.")}
        scaler = Scaler(mean=own.pop("mean"), scale=own.pop("scale"))
        state = {n.removeprefix("network."): np.array(v) for n, v in weights.items() if n.startswith("network.")}
        width, classes = len(state["hidden.bias"]), len(state["classify.bias"])
        with fixed_torch(0):
            made = Backbone(name=config["backbone"], weights=RANDOM).vectors()
            network = TileNetwork(made, width, classes, frozen=True, statistics=False)
        shape = {name: value.shape for name, value in network.state_dict().items()}
        network.load_state_dict({name: torch.from_numpy(v.reshape(shape[name])) for name, v in state.items()})
        return cls(network=network.eval(), vote=Vote(arrays=own, scaler=scaler), told=config)


@dataclass(frozen=True, kw_only=True)
class TileVotes:
    """Votes on bags that hold, of each tile, k probabilities and its attention score."""

    classes: int

    def predict(self, examples: Sequence[Example]) -> Probabilities:
        """The mean of the tiles' probabilities, (n, k)."""
        found = [e.instances()[:, : self.classes].mean(0, dtype=np.float64) for e in examples]
        made = np.array(found, dtype=np.float64).reshape(len(examples), self.classes)
        shares: Probabilities = made / made.sum(1, keepdims=True)
        return shares

    def attention(self, example: Example) -> npt.NDArray[np.float64]:
        """The weight of each tile in the attention vote, (n,), summing to one."""
        return softmax(example.instances()[:, self.classes].astype(np.float64))

    def tile_probability(self, example: Example) -> npt.NDArray[np.float64]:
        """The probabilities of each tile, (n, k)."""
        return example.instances()[:, : self.classes].astype(np.float64)


def evaluated(
    network: TileNetwork, held: TileSet, rows: Sequence[int], workers: int
) -> tuple[Probabilities, FloatArray]:
    """Probabilities (n, k) and hidden layer (n, width) of some tiles of one image, EVALUATED at a time."""
    return together(network, [(held, rows)], workers)[0]


def together(
    network: TileNetwork, chosen: Sequence[tuple[TileSet, Sequence[int]]], workers: int
) -> list[tuple[Probabilities, FloatArray]]:
    """The same for some tiles of each of several images; a forward pass may hold tiles of more than one."""
    device = next(network.parameters()).device
    every = [(held, row) for held, rows in chosen for row in rows]
    cuts = [every[at : at + EVALUATED] for at in range(0, len(every), EVALUATED)]
    p, hidden = [], []
    for tiles in map(_pixels, cuts) if len(cuts) == 1 else ahead(cuts, _pixels, workers):
        with autocast(device):
            logits, layer = network(as_pixels(tiles, device))
        p.append(softmax(logits.float().cpu().numpy().astype(np.float64)))
        hidden.append(layer.float().cpu().numpy())
    ends = np.cumsum([len(rows) for _, rows in chosen])[:-1]
    return list(zip(np.split(np.concatenate(p), ends), np.split(np.concatenate(hidden), ends), strict=True))


def _pixels(tiles: Sequence[tuple[TileSet, int]]) -> Rgb:
    """The tiles (n, s, s, 3) of rows of sets, those of one set read at once."""
    runs = [list(run) for _, run in groupby(tiles, key=lambda tile: id(tile[0]))]
    return np.concatenate([run[0][0].pixels([row for _, row in run]) for run in runs])


def few(count: int, usual: float) -> str:
    """A note on a unit with few tiles; empty where there are enough."""
    return f"{count} tiles, where a training unit has {usual:g} in the middle" if count < FEW * usual else ""
