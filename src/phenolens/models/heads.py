"""The fitted model behind `tile_head`: two layers on the features of each tile, and votes of the tiles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from phenolens.core.errors import ModelError
from phenolens.core.types import Bag, Example, FloatArray, Loaded
from phenolens.models.bags import Scaler, in_order
from phenolens.models.contract import Probabilities
from phenolens.models.determinism import fixed_torch
from phenolens.models.linear import softmax
from phenolens.models.tile_reading import ATTENTION, MAJORITY, MEAN, Read
from phenolens.models.tiles_fitted import TileVotes
from phenolens.models.tiles_votes import Vote, fit_vote, majority, weighed
from phenolens.models.training import Schedule, train
from phenolens.tasks._contract import Task

_PIECE = 4096
"""Tiles that are passed forward at once."""


class Settings(Schedule, Protocol):
    """The hyper-parameters, as documented in `zoo/tile_head.py`."""

    @property
    def width(self) -> int: ...
    @property
    def dropout(self) -> float: ...
    @property
    def instances(self) -> int: ...
    @property
    def tiles_per_epoch(self) -> int: ...


class Head(nn.Module):
    """Standardised features (n, d) to logits (n, k) and the hidden layer (n, width)."""

    def __init__(self, features: int, width: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.hidden, self.classify = nn.Linear(features, width), nn.Linear(width, classes)
        self.dropout = dropout

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = functional.relu(self.hidden(functional.dropout(x, self.dropout, self.training)))
        return self.classify(functional.dropout(hidden, self.dropout, self.training)), hidden


@dataclass(frozen=True, kw_only=True)
class FittedHead:
    """Standardise, classify each tile, let the tiles vote; on the CPU, float32."""

    scaler: Scaler
    network: Head
    vote: Vote
    told: Mapping[str, Any]

    def predict(self, examples: Sequence[Example]) -> Probabilities:
        """Probabilities (n, k): the mean over the tiles of each unit."""
        k = self.network.classify.out_features
        return np.array([self.pooled(self.read(e))[MEAN] for e in examples]).reshape(len(examples), k)

    def read(self, example: Example) -> Read:
        """The head's word on every tile of a unit, which the votes are made of."""
        held = _bags(example)
        made = [_said(self.network, self.scaler.apply(bag.x)) for _, bag in held]
        return Read(
            images=tuple(image for image, _ in held),
            coords=tuple(bag.coords for _, bag in held),
            p=tuple(p for p, _ in made),
            hidden=tuple(hidden for _, hidden in made),
        )

    def pooled(self, read: Read) -> dict[str, npt.NDArray[np.float64]]:
        """The votes of a unit's tiles, (k,) each; the model predicts MEAN."""
        p = read.every()
        mean = p.mean(0)
        scores = self.vote.scores(np.concatenate(read.hidden))
        return {MEAN: mean / mean.sum(), MAJORITY: majority(p), ATTENTION: weighed(p, scores)}

    def condensed(self, example: Example) -> tuple[TileVotes, Example]:
        """The unit as bags of what the head said of its tiles, and what votes on them as this model does."""
        read, made = self.read(example), dict[str, Bag]()
        for (image, bag), p, hidden in zip(_bags(example), read.p, read.hidden, strict=True):
            x = np.column_stack([p, self.vote.scores(hidden)]).astype(np.float32)
            made[image] = replace(bag, x=x, names=None)
        parts = tuple(replace(p, source=Loaded(bag=made[p.image])) for p in example.parts if p.image in made)
        return TileVotes(classes=self.network.classify.out_features), replace(example, parts=parts)

    def attention(self, example: Example) -> npt.NDArray[np.float64]:
        """The weight of each tile in the attention vote, (n,), summing to one."""
        return softmax(self.vote.scores(np.concatenate(self.read(example).hidden)))

    def tile_probability(self, example: Example) -> npt.NDArray[np.float64]:
        """The probabilities of each tile, (n, k)."""
        return self.read(example).every()

    def weights(self) -> dict[str, npt.NDArray[Any]]:
        state = {f"network.{name}": value.numpy().copy() for name, value in self.network.state_dict().items()}
        vote = {f"vote.{name}": np.array(value) for name, value in self.vote.arrays.items()}
        scaling = {"mean": self.scaler.mean, "scale": self.scaler.scale}
        scaling |= {"vote.mean": self.vote.scaler.mean, "vote.scale": self.vote.scaler.scale}
        return {**state, **vote, **scaling}

    def config(self) -> dict[str, Any]:
        """How the fit went: epochs, the epoch kept, its tune loss."""
        return dict(self.told)

    @classmethod
    def restore(cls, weights: Mapping[str, npt.NDArray[Any]], config: Mapping[str, Any]) -> FittedHead:
        """From what `weights()` and `config()` gave."""
        own = {n.removeprefix("vote."): np.array(v) for n, v in weights.items() if n.startswith("vote.")}
        vote = Scaler(mean=own.pop("mean"), scale=own.pop("scale"))
        state = {n.removeprefix("network."): torch.from_numpy(np.array(v)) for n, v in weights.items() if "." in n}
        state = {n: v for n, v in state.items() if not n.startswith("vote.")}
        width, features = state["hidden.weight"].shape
        with fixed_torch(0):
            network = Head(features, width, len(state["classify.bias"]), 0.0)
        network.load_state_dict(state)
        scaler = Scaler(mean=weights["mean"], scale=weights["scale"])
        return cls(scaler=scaler, network=network.eval(), vote=Vote(arrays=own, scaler=vote), told=config)


def fit_head(
    settings: Settings, train_on: Sequence[Example], tune_on: Sequence[Example], task: Task, *, seed: int
) -> FittedHead:
    """Train on tiles of `train_on`, keep the weights of the epoch with the least log loss of the units of `tune_on`.

    Raises ModelError without a tune unit, without a training unit of a class, or where the loss is not finite.
    """
    if not tune_on:
        raise ModelError(
            "no tune unit to stop on",
            expected="an inner tune split",
            todo="raise validation.tune, or give the patients of the tune part images that can be read",
        )
    held, stop = in_order(train_on), in_order(tune_on)
    class_weights = task.weights(held)
    fitted = Scaler.fit(_chosen(e, settings.instances) for e in held)
    scaler = Scaler(mean=fitted.mean.astype(np.float32), scale=fitted.scale.astype(np.float32))
    drawn = _Drawn(settings, [(e.patient, task.truth(e), scaler.apply(_chosen(e, settings.instances))) for e in held])
    tune = [(task.truth(e), scaler.apply(_chosen(e, settings.instances))) for e in stop]
    with fixed_torch(seed):
        network = Head(drawn.x.shape[1], settings.width, len(task.classes), settings.dropout)
        told = train(
            network,
            settings,
            seed=seed,
            losses=lambda epoch: drawn.losses(network, seed, epoch),
            tune_loss=lambda: _loss(network, tune, class_weights),
        )
        network.eval()
        said = [[_said(network, scaler.apply(_chosen(e, settings.instances))) for e in units] for units in (held, stop)]
        learn, judge = ([(hidden, p) for p, hidden in units] for units in said)
        truth, tune_truth = ([task.truth(e) for e in units] for units in (held, stop))
        vote = fit_vote(learn, truth, judge, tune_truth, class_weights, seed=seed)
    return FittedHead(scaler=scaler, network=network, vote=vote, told=told)


class _Drawn:
    """The training tiles, drawn class → patient → tile."""

    def __init__(self, settings: Settings, units: Sequence[tuple[str, int, FloatArray]]) -> None:
        self.settings, self.x = settings, np.concatenate([x for _, _, x in units])
        self.of: dict[int, dict[str, list[npt.NDArray[np.intp]]]] = {}
        first = 0
        for patient, label, x in units:
            rows = np.arange(first, first + len(x))
            self.of.setdefault(label, {}).setdefault(patient, []).append(rows)
            first += len(x)

    def losses(self, network: Head, seed: int, epoch: int) -> Iterator[torch.Tensor]:
        rng = np.random.default_rng([seed, epoch])
        for _ in range(-(-self.settings.tiles_per_epoch // self.settings.batch)):
            rows, labels = self._batch(rng)
            logits, _ = network(torch.from_numpy(self.x[rows]))
            yield functional.cross_entropy(logits, torch.from_numpy(labels))

    def _batch(self, rng: np.random.Generator) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.int64]]:
        known = sorted(self.of)
        labels = np.array([known[i] for i in rng.integers(len(known), size=self.settings.batch)])
        places = rng.random((self.settings.batch, 2))
        rows = []
        for label, (who, which) in zip(labels, places, strict=True):
            patients = self.of[int(label)]
            own = np.concatenate(patients[sorted(patients)[int(who * len(patients))]])
            rows.append(own[int(which * len(own))])
        return np.array(rows), labels


def _loss(network: Head, units: Sequence[tuple[int, FloatArray]], class_weights: npt.NDArray[np.float64]) -> float:
    """Class-weighted log loss of the mean of each unit's tiles."""
    terms = [(class_weights[label], float(_said(network, x)[0].mean(0)[label])) for label, x in units]
    return float(-sum(w * np.log(max(p, 1e-9)) for w, p in terms) / sum(w for w, _ in terms))


def _said(network: Head, z: FloatArray) -> tuple[Probabilities, FloatArray]:
    """Probabilities (n, k) and hidden layer (n, width) of standardised tiles."""
    p, hidden = [], []
    with fixed_torch(0), torch.inference_mode():
        for first in range(0, len(z), _PIECE):
            logits, layer = network(torch.from_numpy(np.ascontiguousarray(z[first : first + _PIECE])))
            p.append(softmax(logits.numpy().astype(np.float64)))
            hidden.append(layer.numpy())
    return np.concatenate(p), np.concatenate(hidden)


def _bags(example: Example) -> list[tuple[str, Bag]]:
    """The image and the bag of each part that has tiles."""
    held = [(part.image, bag) for part in example.parts if (bag := part.load()) is not None and len(bag.x)]
    if not held:
        example.instances()  # refuses, and says of whom
    return held


def _chosen(example: Example, most: int) -> FloatArray:
    """At most `most` tiles of a unit, evenly over all of them."""
    x = example.instances()
    return x if len(x) <= most else x[np.linspace(0, len(x) - 1, most).round().astype(np.intp)]
