"""Fitting `cnn3d`: what is read of each unit, what is left out and changed by chance, and when to stop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from phenolens.core.errors import ModelError
from phenolens.core.types import Example
from phenolens.models.augment import Augmentation, Augmenter
from phenolens.models.bags import in_order
from phenolens.models.determinism import fixed_torch
from phenolens.models.linear import log_loss, softmax
from phenolens.models.training import Schedule, autocast, batches, best_device, train
from phenolens.models.volume_fitted import FittedVolumes, Settings, networks, nothing, set_of, squeezed, stacked
from phenolens.models.volume_network import dimensions, refuse_small
from phenolens.models.volumes import Cached, Grid, Groups, Inputs, Reading, names_of, present
from phenolens.tasks._contract import Task


def fit_volumes(
    settings: Settings, train_on: Sequence[Example], tune_on: Sequence[Example], task: Task, *, seed: int
) -> FittedVolumes:
    """Fit on `train_on`, keep the weights of the epoch with the least class-weighted log loss on `tune_on`.

    A CUDA device is used when there is one. Raises ModelError without a tune unit, or where a unit has nothing that the
    model reads and that was not declared.
    """
    if not tune_on:
        raise ModelError(
            "no tune unit to stop on",
            expected="an inner tune split",
            todo="raise validation.tune, or give the patients of the tune part images that can be read",
        )
    groups = _groups(settings, train_on)
    held = [_readable(settings, in_order(part), groups) for part in (train_on, tune_on)]
    grid = Grid.of(held[0])
    assert grid.shape is not None
    refuse_small(settings, grid.shape)
    reading = Reading.fit(held[0], groups, grid)
    device = best_device()
    with fixed_torch(seed, device):
        if device != "cpu" and settings.network == "densenet121":
            torch.use_deterministic_algorithms(False)  # CUDA has no deterministic pooling in 3-D; recorded below
        network = networks(settings, reading, len(task.classes)).to(device)
        history = Training(settings, reading, network, held[0], held[1], task, seed).run()
    names = {name for group in groups for name in group}
    told = {
        **history,
        "prior": [1 / len(task.classes)] * len(task.classes),
        "sets": sorted({set_of(e, names) for e in held[0]}),
        "left_out": len(train_on) - len(held[0]),
        "device": device,
        "repeats": device == "cpu" or settings.network != "densenet121",
        "augmentation": asdict(Augmentation()) if settings.augment else None,
    }
    return FittedVolumes(settings=settings, reading=reading, network=network.cpu().eval(), told=told)


class Sampling(Schedule, Protocol):
    """Hyper-parameters of training on volumes of several sequences."""

    @property
    def drop_sequence(self) -> float: ...
    @property
    def augment(self) -> bool: ...


class Training:
    """Batches, losses and tune loss of one fit of a network from (volumes a group, which are there) to logits."""

    def __init__(
        self,
        settings: Sampling,
        reading: Reading,
        network: nn.Module,
        train_on: Sequence[Example],
        tune_on: Sequence[Example],
        task: Task,
        seed: int,
    ) -> None:
        self.settings, self.network, self.seed = settings, network, seed
        self.held, self.tune = Cached(train_on, reading.inputs), Cached(tune_on, reading.inputs)
        self.truth, self.tune_truth = ([task.truth(e) for e in part] for part in (train_on, tune_on))
        self.class_weights = task.weights(train_on)
        self.device = next(network.parameters()).device
        shape, spacing = reading.grid.shape, reading.grid.spacing
        assert shape is not None
        self.change = Augmenter(Augmentation(), spacing, dimensions(shape)) if settings.augment else None

    def run(self) -> dict[str, Any]:
        return train(self.network, self.settings, seed=self.seed, losses=self.losses, tune_loss=self.tune_loss)

    def losses(self, epoch: int) -> Iterator[torch.Tensor]:
        """One class-weighted cross-entropy a batch; what is left out and changed is drawn by (seed, epoch, unit)."""
        weights = torch.tensor(self.class_weights, dtype=torch.float32, device=self.device)
        for rows in batches(len(self.held), self.settings.batch, self.seed, epoch):
            x, there = stacked([self._drawn(i, epoch) for i in rows])
            labels = torch.tensor([self.truth[i] for i in rows], device=self.device)
            with autocast(self.device):
                logits = self.network([None if v is None else v.to(self.device) for v in x], there.to(self.device))
            each = functional.cross_entropy(logits.float(), labels, reduction="none") * weights[labels]
            yield each.mean()

    def _drawn(self, i: int, epoch: int) -> Inputs:
        inputs = list(self.held[i])
        draw = np.random.default_rng([self.seed, epoch, i])
        there = [g for g, x in enumerate(inputs) if x is not None]
        kept = int(draw.choice(there))
        gone = {g for g in there if draw.random() < self.settings.drop_sequence and g != kept}
        for g in there:
            x = inputs[g]
            if g in gone or x is None:
                inputs[g] = None
            elif self.change is not None:
                changed = self.change((self.seed, epoch, i, g), torch.from_numpy(squeezed(x)))["x"].numpy()
                inputs[g] = changed.reshape(x.shape)
        return tuple(inputs)

    def tune_loss(self) -> float:
        logits = []
        for i in range(len(self.tune)):
            x, there = stacked([self.tune[i]])
            with autocast(self.device):
                found = self.network([None if v is None else v.to(self.device) for v in x], there.to(self.device))
            logits.append(found[0].float().cpu().numpy())
        p = softmax(np.array(logits, dtype=np.float64))
        return log_loss(p, np.array(self.tune_truth, dtype=np.intp), self.class_weights)


def _groups(settings: Settings, examples: Sequence[Example]) -> Groups:
    """What each network reads."""
    if settings.sequence is not None:
        return ((settings.sequence,),)
    names = names_of(examples)
    return (names,) if settings.join == "channels" else tuple((name,) for name in names)


def _readable(settings: Settings, examples: Sequence[Example], groups: Groups) -> list[Example]:
    """The examples that have at least one whole group; without `fallback: prior` every one must."""
    kept = []
    for example in examples:
        there = present(example)
        if any(all(name in there for name in group) for group in groups):
            kept.append(example)
        elif settings.fallback == "refuse":
            raise nothing(example, groups)
    if not kept:
        wanted = " or ".join(" + ".join(group) for group in groups) or "any image"
        raise ModelError(f"no unit with {wanted}", expected="at least one in train and in tune", todo="see images.csv")
    return kept
