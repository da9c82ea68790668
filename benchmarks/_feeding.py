"""Training steps of `tile_cnn` on tiles decoded ahead of the device, and on one batch that is there already."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from phenolens.core.types import Example
from phenolens.models.backbones import RANDOM, Backbone
from phenolens.models.determinism import fixed_torch
from phenolens.models.tiles_augment import Augmentation
from phenolens.models.tiles_feed import Sampler, ahead, shelves
from phenolens.models.tiles_network import TileNetwork
from phenolens.models.tiles_training import Training
from phenolens.models.zoo.tile_cnn import TileCnn
from phenolens.tasks.classification import Classification


@dataclass(frozen=True)
class Speed:
    """Tiles a second: of the network alone, on one decoded batch, and fed by each number of workers (medians)."""

    alone: float
    fed: dict[int, float]

    def share(self, workers: int) -> float:
        """Of the network alone."""
        return self.fed[workers] / self.alone


def speed(
    model: TileCnn,
    examples: Sequence[Example],
    task: Classification,
    *,
    workers: Sequence[int],
    steps: int,
    rounds: int,
) -> Speed:
    """Alternating rounds of `steps` training steps, so that a busy machine touches all alike; the first is dropped."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    held = shelves(examples, task)
    change = Augmentation(geometry=model.augment, stain=model.stain, shift=model.stain / 10)
    sampler = Sampler(shelves=held, classes=len(task.classes), seed=0, augmentation=change)
    with fixed_torch(0, device):
        if device != "cpu":
            torch.use_deterministic_algorithms(False)
        network = TileNetwork(
            Backbone(name=model.backbone, weights=RANDOM).vectors(),
            model.width,
            len(task.classes),
            frozen=model.frozen,
            statistics=True,
        ).to(device)
        long = replace(model, epochs=1000)
        training = Training(long, network, sampler, [[held[0]]], np.ones(len(task.classes)), 0, None)
        network.train()
        batch = sampler.batch(1, range(model.batch))
        places = [range(i * model.batch, (i + 1) * model.batch) for i in range(steps)]
        found: dict[int, list[float]] = {0: [], **{n: [] for n in workers}}
        for again in range(rounds + 1):
            for n in found:
                drawn = ahead(places, lambda own, epoch=again: sampler.batch(epoch, own), n) if n else [batch] * steps
                start = time.perf_counter()
                for one in drawn:
                    training.learn(one)
                if device != "cpu":
                    torch.cuda.synchronize()
                if again:
                    found[n].append(steps * model.batch / (time.perf_counter() - start))
    medians = {n: float(np.median(rates)) for n, rates in found.items()}
    return Speed(medians.pop(0), medians)
