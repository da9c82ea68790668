"""Training of a network on bags with early stopping, and the fitted model: what all networks on bags share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from phenolens.core.errors import ModelError
from phenolens.core.types import Example, FloatArray, Loaded
from phenolens.models.bag_model import BagModel
from phenolens.models.bag_network import BagNetwork, Bags, Places
from phenolens.models.bags import Scaler, in_order
from phenolens.models.contract import Probabilities
from phenolens.models.determinism import fixed_torch
from phenolens.models.linear import log_loss, softmax
from phenolens.models.training import best_device, train
from phenolens.tasks._contract import Task

CACHE_BYTES = 256 * 2**20
"""Standardised bags up to this much are kept in memory during a fit; the others are read again in each epoch."""


@dataclass(frozen=True, kw_only=True)
class FittedBags:
    """Standardise each instance, then the network; on the CPU, float32, all instances of all parts as one bag."""

    network: BagNetwork
    scaler: Scaler
    history: Mapping[str, Any]

    def predict(self, examples: Sequence[Example]) -> Probabilities:
        """Probabilities (n, k), one bag at a time."""
        logits = [self._forward(e)[0] for e in examples]
        return softmax(np.array(logits, dtype=np.float64).reshape(len(examples), -1))

    def attention(self, example: Example) -> npt.NDArray[np.float64]:
        """The weight of each row of `example.instances()`, (n,), summing to one."""
        return softmax(self._forward(example)[1].astype(np.float64))

    def _forward(self, example: Example) -> tuple[FloatArray, FloatArray]:
        x, places = _read(example, self.network)
        with fixed_torch(0), torch.inference_mode():
            logits, scores = self.network(_one(self.scaler.apply(x), places))
        return logits[0].numpy(), scores[0].numpy()

    def weights(self) -> dict[str, npt.NDArray[Any]]:
        state = {name: value.numpy().copy() for name, value in self.network.state_dict().items()}
        return {**state, "mean": self.scaler.mean, "scale": self.scaler.scale}

    def config(self) -> dict[str, Any]:
        """How the fit went: epochs run, the epoch kept and its tune loss, the device; features and classes read."""
        return dict(self.history)

    @classmethod
    def restore(cls, model: BagModel, weights: Mapping[str, npt.NDArray[Any]], config: Mapping[str, Any]) -> FittedBags:
        """From what `weights()` and `config()` gave; `model` is the plug-in with the parameters of the fit."""
        with fixed_torch(0):
            network = model.build(config["dimension"], config["outputs"])
        state = {n: torch.from_numpy(np.array(v)) for n, v in weights.items() if n not in ("mean", "scale")}
        network.load_state_dict(state)
        scaler = Scaler(mean=weights["mean"], scale=weights["scale"])
        return cls(network=network.eval(), scaler=scaler, history=config)


def fit_bags(
    model: BagModel, train_on: Sequence[Example], tune: Sequence[Example], task: Task, *, seed: int
) -> FittedBags:
    """Fit by AdamW on `train_on`, keep the weights of the epoch with the least class-weighted log loss on `tune`.

    A CUDA device is used when there is one. Raises ModelError without a tune unit or when the loss is not finite.
    """
    if not tune:
        raise ModelError(
            "no tune unit to stop on",
            expected="an inner tune split",
            todo="raise validation.tune, or give the patients of the tune part images that can be read",
        )
    train_on, tune = in_order(train_on), in_order(tune)
    fitted = Scaler.fit(e.instances() for e in train_on)
    scaler = Scaler(mean=fitted.mean.astype(np.float32), scale=fitted.scale.astype(np.float32))
    device = best_device()
    with fixed_torch(seed, device):
        size = {"dimension": len(scaler.mean), "outputs": len(task.classes)}
        network = model.build(*size.values()).to(device)
        given, held = _Held(train_on, scaler, network), _Held(tune, scaler, network)
        history = train(
            network,
            model,
            seed=seed,
            losses=_losses(network, model, given, task, seed),
            tune_loss=_tune_loss(network, held, task, task.weights(train_on)),
        )
    state = {name: value.cpu().numpy() for name, value in network.state_dict().items()}
    weights = {**state, "mean": scaler.mean, "scale": scaler.scale}
    return FittedBags.restore(model, weights, {**history, **size, "device": device})


def _read(example: Example, network: BagNetwork) -> tuple[FloatArray, Places]:
    """All instances of an example and their places, each file read once."""
    parts = [replace(p, source=Loaded(bag=bag)) for p in example.parts if (bag := p.load()) is not None]
    loaded = replace(example, parts=tuple(parts))
    return loaded.instances(), network.place(loaded)


def _one(z: FloatArray, places: Places) -> Bags:
    """One bag, unpadded."""
    mask = torch.ones((1, len(z)), dtype=torch.bool)
    return Bags(z=torch.from_numpy(z)[None], places=torch.from_numpy(places)[None], mask=mask)


class _Held:
    """Standardised bags of some examples with their places; the first CACHE_BYTES of them are read once."""

    def __init__(self, examples: Sequence[Example], scaler: Scaler, network: BagNetwork) -> None:
        self.examples, self.scaler, self.network = examples, scaler, network
        self.kept: dict[int, tuple[FloatArray, Places]] = {}
        self.free = CACHE_BYTES

    def __len__(self) -> int:
        return len(self.examples)

    def some(self, i: int, choose: Callable[[int], npt.NDArray[np.intp] | slice]) -> tuple[FloatArray, Places]:
        """The rows of bag i that `choose` names when told how many there are."""
        if i in self.kept:
            z, places = self.kept[i]
            rows = choose(len(z))
            return z[rows], places[rows]
        x, places = _read(self.examples[i], self.network)
        rows = choose(len(x))
        if x.nbytes > self.free:
            return self.scaler.apply(x[rows]), places[rows]
        z = self.scaler.apply(x)
        self.kept[i] = z, places
        self.free -= z.nbytes
        return z[rows], places[rows]


def _losses(
    network: BagNetwork, model: BagModel, bags: _Held, task: Task, seed: int
) -> Callable[[int], Iterator[torch.Tensor]]:
    """Epoch → the class-weighted mean loss of each of its batches.

    The order of the bags is drawn by (seed, epoch), the instances of a bag by (seed, epoch, its position).
    """
    device = torch.device(best_device())
    truth = [task.truth(e) for e in bags.examples]
    weights = torch.tensor(task.weights(bags.examples), dtype=torch.float32, device=device)

    def epoch_losses(epoch: int) -> Iterator[torch.Tensor]:
        order = np.random.default_rng([seed, epoch]).permutation(len(bags)).tolist()
        for start in range(0, len(order), model.batch):
            rows = order[start : start + model.batch]
            drawn = [bags.some(i, _drawing(model, [seed, epoch, i])) for i in rows]
            labels = torch.tensor([truth[i] for i in rows], device=device)
            losses = network.losses(_padded(drawn).to(device), labels)
            yield (losses * weights[labels]).mean()

    return epoch_losses


def _drawing(model: BagModel, seeds: list[int]) -> Callable[[int], npt.NDArray[np.intp]]:
    """How many instances there are → the sorted rows drawn of them."""

    def draw(count: int) -> npt.NDArray[np.intp]:
        take = min(model.instances, max(1, round(count * model.instance_share)))
        return np.sort(np.random.default_rng(seeds).permutation(count)[:take])

    return draw


def _padded(drawn: Sequence[tuple[FloatArray, Places]]) -> Bags:
    """Bags of several lengths side by side."""
    longest = max(len(z) for z, _ in drawn)
    padded = np.zeros((len(drawn), longest, drawn[0][0].shape[1]), dtype=np.float32)
    placed = np.zeros((len(drawn), longest), dtype=np.int64)
    mask = np.zeros((len(drawn), longest), dtype=bool)
    for j, (z, places) in enumerate(drawn):
        padded[j, : len(z)], placed[j, : len(z)], mask[j, : len(z)] = z, places, True
    return Bags(z=torch.from_numpy(padded), places=torch.from_numpy(placed), mask=torch.from_numpy(mask))


def _tune_loss(
    network: BagNetwork, bags: _Held, task: Task, class_weights: npt.NDArray[np.float64]
) -> Callable[[], float]:
    """The class-weighted log loss of all instances of the tune bags, as the network is now."""
    device = torch.device(best_device())
    truth = np.array([task.truth(e) for e in bags.examples], dtype=np.intp)

    def loss() -> float:
        rows = []
        for i in range(len(bags)):
            bag = _one(*bags.some(i, lambda _: slice(None))).to(device)
            rows.append(network(bag)[0][0].cpu().numpy())
        return log_loss(softmax(np.array(rows, dtype=np.float64)), truth, class_weights)

    return loss
