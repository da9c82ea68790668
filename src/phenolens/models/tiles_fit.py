"""Fitting `tile_cnn`: what it begins with, its training, and the vote that is fitted after it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from phenolens.core.errors import ModelError
from phenolens.core.types import Example
from phenolens.models.backbones import RANDOM, Backbone
from phenolens.models.bags import in_order
from phenolens.models.checkpoint import Checkpoint
from phenolens.models.determinism import fixed_torch
from phenolens.models.tiles_augment import Augmentation
from phenolens.models.tiles_feed import Sampler, Shelf, shelves
from phenolens.models.tiles_fitted import FittedTiles, few, together
from phenolens.models.tiles_network import TileNetwork
from phenolens.models.tiles_start import Start
from phenolens.models.tiles_training import Settings, Training, evenly
from phenolens.models.tiles_votes import Unit, fit_vote
from phenolens.models.training import best_device
from phenolens.tasks._contract import Task

VOTED = 256
"""Most tiles of a training unit that the attention vote is fitted on."""


class Beginning(Settings, Protocol):
    """The hyper-parameters, as documented in `zoo/tile_cnn.py`."""

    @property
    def backbone(self) -> str: ...
    @property
    def weights(self) -> str | None: ...
    @property
    def start(self) -> str | None: ...
    @property
    def frozen(self) -> bool: ...
    @property
    def width(self) -> int: ...
    @property
    def dropout(self) -> float: ...
    @property
    def augment(self) -> bool: ...
    @property
    def stain(self) -> float: ...
    @property
    def workers(self) -> int: ...


def fit_tiles(
    settings: Beginning,
    train: Sequence[Example],
    tune: Sequence[Example],
    task: Task,
    *,
    seed: int,
    checkpoint: Checkpoint | None = None,
) -> FittedTiles:
    """Train on tiles of `train`, keep the weights of the epoch with the least log loss of the units of `tune`.

    A CUDA device is used where there is one. Raises WeightsMissingError before any tile is read, and ModelError without
    a tune unit, without a training unit of a class or where the loss is not finite.
    """
    if not tune:
        raise ModelError(
            "no tune unit to stop on",
            expected="an inner tune split",
            todo="raise validation.tune, or give the patients of the tune part images that can be read",
        )
    train, tune = in_order(train), in_order(tune)
    class_weights, device = task.weights(train), best_device()
    start = None if settings.start is None else Start.read(Path(settings.start))
    with fixed_torch(seed, device):
        if device != "cpu":
            torch.use_deterministic_algorithms(False)  # pooling has no deterministic gradient on CUDA; recorded below
        network = _begun(settings, len(task.classes), start)
        held, stop = shelves(train, task), [shelves([e], task) for e in tune]
        change = Augmentation(geometry=settings.augment, stain=settings.stain, shift=settings.stain / 10)
        sampler = Sampler(
            shelves=held,
            classes=len(task.classes),
            seed=seed,
            augmentation=change,
            size_power=settings.size_power,
        )
        training = Training(settings, network.to(device), sampler, stop, class_weights, seed, checkpoint)
        history = training.run()
        network = network.eval()
        told_by, told_of = (
            _said(network, units, settings.workers) for units in ([shelves([e], task) for e in train], stop)
        )
        vote = fit_vote(*told_by, *told_of, class_weights, seed=seed)
    counts = {e.patient: 0 for e in train}
    for shelf in held:
        counts[shelf.patient] += len(shelf.held)
    told = {
        "backbone": settings.backbone,
        **history,
        "frozen": settings.frozen,
        "statistics": "learnt" if network.statistics else "kept",
        "median_tiles": float(np.median(list(counts.values()))),
        "device": device,
        "repeats": device == "cpu",
        **({} if start is None else {"start": start.told()}),
    }
    told["few_tiles"] = {who: n for who, n in sorted(counts.items()) if few(n, told["median_tiles"])}
    return FittedTiles(network=network.cpu().eval(), vote=vote, told=told, workers=settings.workers)


def _begun(settings: Beginning, classes: int, start: Start | None) -> TileNetwork:
    """The network before training: pre-trained, as another fit left it, or random."""
    known = Backbone(name=settings.backbone, weights=RANDOM if start is not None else settings.weights)
    learnt = known.weights == RANDOM and start is None
    network = TileNetwork(
        known.vectors(), settings.width, classes, settings.dropout, frozen=settings.frozen, statistics=learnt
    )
    if start is not None:
        start.give(network, settings.backbone)
    return network


def _said(network: TileNetwork, units: Sequence[Sequence[Shelf]], workers: int) -> tuple[list[Unit], list[int]]:
    """What the network says of up to VOTED tiles of every unit, spread evenly over its images, and their labels."""
    chosen = [evenly(unit, VOTED) for unit in units]
    with torch.inference_mode():
        made = iter(together(network, [(s.held, rows) for unit in chosen for s, rows in unit], workers))
    said = []
    for unit in chosen:
        own = [next(made) for _ in unit]
        said.append((np.concatenate([hidden for _, hidden in own]), np.concatenate([p for p, _ in own])))
    return said, [unit[0].label for unit in units]
