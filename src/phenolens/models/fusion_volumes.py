"""`sequence_fusion` on volumes: one convolutional network for all sequences, then attention over those there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch

from phenolens.core.types import Example
from phenolens.models.augment import Augmentation
from phenolens.models.determinism import fixed_torch
from phenolens.models.fusion import FittedFusion, Settings
from phenolens.models.fusion_inputs import Sequences, Sets, refuse_filled
from phenolens.models.fusion_network import VolumeFusion
from phenolens.models.fusion_schedule import schedule
from phenolens.models.training import best_device
from phenolens.models.volume_fit import Training
from phenolens.models.volume_fitted import stacked
from phenolens.models.volume_network import Kind, build, dimensions, refuse_small
from phenolens.models.volumes import Grid, Reading
from phenolens.tasks._contract import Task


@dataclass(frozen=True, kw_only=True)
class _Maps:
    """Which network of volumes, and how wide, in the words of `models.volume_network`."""

    network: Kind
    width: int


def volume_network(settings: Settings, sequences: Sequences, reading: Reading, classes: int) -> VolumeFusion:
    """The network with random weights."""
    assert reading.grid.shape is not None
    maps = _Maps(network=settings.network, width=settings.maps)
    return VolumeFusion(
        build(maps, dimensions(reading.grid.shape), reading.grid.channels, settings.width),
        sequences=len(sequences.names),
        width=settings.width,
        attention_width=settings.attention_width,
        classes=classes,
        dropout=settings.dropout,
    )


def read_volumes(
    sequences: Sequences, reading: Reading, example: Example, settings: Sets
) -> tuple[list[torch.Tensor | None], torch.Tensor]:
    """What the network reads of one example. Raises ModelError as `Sequences.parts` and `refuse_filled` do."""
    _look(sequences, example, settings)
    return stacked([reading.inputs(example)])


def fit_volume_fusion(
    settings: Settings, sequences: Sequences, train: Sequence[Example], tune: Sequence[Example], task: Task, seed: int
) -> FittedFusion:
    """Fit on `train`, keep the weights of the epoch with the least class-weighted log loss on `tune`.

    A CUDA device is used when there is one. Raises ModelError as `fit_fusion` does, and for volumes that are too small.
    """
    for example in (*train, *tune):
        _look(sequences, example, settings)
    grid = Grid.of(train)
    assert grid.shape is not None
    refuse_small(_Maps(network=settings.network, width=settings.maps), grid.shape)
    reading = Reading.fit(train, tuple((name,) for name in sequences.names), grid)
    device, plan = best_device(), schedule(settings, "volume")
    with fixed_torch(seed, device):
        network = volume_network(settings, sequences, reading, len(task.classes)).to(device)
        history = Training(plan, reading, network, train, tune, task, seed).run()
    augmentation = asdict(Augmentation()) if settings.augment else None
    told = {"reads": "volume", "classes": len(task.classes), **history, "device": device, "augmentation": augmentation}
    fitted = network.cpu().eval()
    return FittedFusion(settings=settings, sequences=sequences, reading=reading, network=fitted, told=told)


def _look(sequences: Sequences, example: Example, settings: Sets) -> None:
    for part in sequences.parts(example, settings).values():
        volume = part.volume()
        assert volume is not None
        refuse_filled(example, part, volume)
