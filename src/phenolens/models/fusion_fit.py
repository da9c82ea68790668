"""Fitting `sequence_fusion`: on bags several small networks at once, on volumes one; both stop on the tune split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from phenolens.core.errors import ModelError
from phenolens.core.types import Example
from phenolens.models.augment import Augmentation
from phenolens.models.bags import in_order
from phenolens.models.determinism import fixed_torch, one_thread
from phenolens.models.fusion import FittedFusion, Maps, Settings, network_of
from phenolens.models.fusion_inputs import BagReading, Sequences, refuse_filled
from phenolens.models.fusion_network import BagFusion, VolumeFusion
from phenolens.models.inputs import inputs_of
from phenolens.models.linear import log_loss, softmax
from phenolens.models.training import best_device
from phenolens.models.volume_fit import Training
from phenolens.models.volumes import Grid, Reading
from phenolens.tasks._contract import Task

Truth = npt.NDArray[np.intp]


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long and how fast, as resolved for bags or volumes."""

    learning_rate: float
    weight_decay: float
    epochs: int
    patience: int
    batch: int
    drop_sequence: float
    augment: bool


_DEFAULTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "bag": {"learning_rate": 0.01, "weight_decay": 0.003, "epochs": 300, "patience": 30},
        "volume": {"learning_rate": 0.001, "weight_decay": 0.01, "epochs": 60, "patience": 15},
    }
)


def schedule(settings: Settings, reads: str) -> Schedule:
    """The settings, with the defaults of bags or volumes where none is given."""
    given: dict[str, Any] = {name: getattr(settings, name) for name in _DEFAULTS[reads]}
    chosen = {name: _DEFAULTS[reads][name] if value is None else value for name, value in given.items()}
    own: dict[str, Any] = {name: getattr(settings, name) for name in ("batch", "drop_sequence", "augment")}
    return Schedule(**chosen, **own)


def fit_fusion(
    settings: Settings, train: Sequence[Example], tune: Sequence[Example], task: Task, *, seed: int
) -> FittedFusion:
    """Fit on `train`, keep the weights of the epoch with the least class-weighted log loss on `tune`.

    Raises ModelError without a tune unit, where sequences cannot be told apart, for absence filled with zeros, and for
    a tune unit with a sequence that no training unit has.
    """
    if not tune:
        raise ModelError(
            "no tune unit to stop on",
            expected="an inner tune split",
            todo="raise validation.tune, or give the patients of the tune part images that can be read",
        )
    train, tune = in_order(train), in_order(tune)
    sequences = Sequences.of(train)
    fit = _fit_volumes if isinstance(inputs_of(train[0]), Grid) else _fit_bags
    return fit(settings, sequences, train, tune, task, seed)


def _fit_bags(
    settings: Settings, sequences: Sequences, train: Sequence[Example], tune: Sequence[Example], task: Task, seed: int
) -> FittedFusion:
    truth = np.array([task.truth(e) for e in train], dtype=np.intp)
    with one_thread():
        reading = BagReading.fit(sequences, train, truth, screen=settings.screen, components=settings.components)
        held, tuned = (_Held.of(reading, part, task, settings) for part in (train, tune))
    with fixed_torch(seed):
        network = network_of(settings, sequences, reading, len(task.classes))
        assert isinstance(network, BagFusion)
        history = _train(network, settings, held, tuned, task.weights(train))
    told = {"reads": "bag", "classes": len(task.classes), **history}
    return FittedFusion(settings=settings, sequences=sequences, reading=reading, network=network, told=told)


@dataclass(frozen=True, kw_only=True)
class _Held:
    """Examples as tensors: points (n, s, r), which sequences are there (n, s), classes (n,)."""

    x: torch.Tensor
    there: torch.Tensor
    truth: torch.Tensor

    @classmethod
    def of(cls, reading: BagReading, examples: Sequence[Example], task: Task, settings: Settings) -> _Held:
        read = [reading.inputs(e, settings) for e in examples]
        return cls(
            x=torch.from_numpy(np.stack([x for x, _ in read])),
            there=torch.from_numpy(np.stack([there for _, there in read])),
            truth=torch.tensor([task.truth(e) for e in examples]),
        )


def _train(
    network: BagFusion, settings: Settings, held: _Held, tuned: _Held, class_weights: npt.NDArray[np.float64]
) -> dict[str, Any]:
    """Train all members at once, each on all units in every step, and leave the weights of the best epoch.

    Epochs run, the epoch kept and its tune loss, that of the members' mean logits.
    """
    plan = schedule(settings, "bag")
    weights = torch.tensor(class_weights, dtype=torch.float32)[held.truth]
    optimiser = torch.optim.AdamW(network.parameters(), plan.learning_rate, weight_decay=plan.weight_decay)
    least, kept_epoch, kept, epoch = float("inf"), 0, network.state_dict(), 0
    for epoch in range(1, plan.epochs + 1):
        network.train()
        there = _drawn(held.there.expand(settings.members, -1, -1), plan.drop_sequence)
        logits = network(held.x, there)[1].sum(2)
        each = functional.cross_entropy(logits.flatten(0, 1), held.truth.repeat(settings.members), reduction="none")
        optimiser.zero_grad()
        (each * weights.repeat(settings.members)).sum().div(weights.sum()).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        loss = _tune_loss(network.eval(), settings, tuned, class_weights)
        if not np.isfinite(loss):
            raise ModelError(
                f"a tune loss of {loss} in epoch {epoch}", expected="a finite loss", todo="lower learning_rate"
            )
        if loss < least:
            least, kept_epoch = loss, epoch
            kept = {name: value.detach().clone() for name, value in network.state_dict().items()}
        elif epoch - kept_epoch >= plan.patience:
            break
    network.load_state_dict(kept)
    return {"epochs": epoch, "kept_epoch": kept_epoch, "tune_loss": least}


def _drawn(there: torch.Tensor, rate: float) -> torch.Tensor:
    """`there` (m, n, s) without the sequences that are left out by chance; each unit keeps one of its own."""
    order = torch.rand(there.shape).masked_fill(~there, -1.0)
    kept = order == order.max(-1, keepdim=True).values
    return there & ((torch.rand(there.shape) >= rate) | kept)


def _tune_loss(network: BagFusion, settings: Settings, tuned: _Held, class_weights: npt.NDArray[np.float64]) -> float:
    with torch.inference_mode():
        there = tuned.there.expand(settings.members, -1, -1)
        logits = network(tuned.x, there)[1].sum(2).double().mean(0).numpy()
    return log_loss(softmax(logits), tuned.truth.numpy(), class_weights)


def _fit_volumes(
    settings: Settings, sequences: Sequences, train: Sequence[Example], tune: Sequence[Example], task: Task, seed: int
) -> FittedFusion:
    plan = schedule(settings, "volume")
    for example in (*train, *tune):
        for part in sequences.parts(example, settings).values():
            volume = part.volume()
            assert volume is not None
            refuse_filled(example, part, volume)
    grid = Grid.of(train)
    assert grid.shape is not None
    refuse_small(Maps.of(settings), grid.shape)
    reading = Reading.fit(train, tuple((name,) for name in sequences.names), grid)
    device = best_device()
    with fixed_torch(seed, device):
        network = network_of(settings, sequences, reading, len(task.classes))
        assert isinstance(network, VolumeFusion)
        history = Training(plan, reading, network.to(device), train, tune, task, seed).run()
    told = {
        "reads": "volume",
        "classes": len(task.classes),
        **history,
        "device": device,
        "augmentation": asdict(Augmentation()) if settings.augment else None,
    }
    network = network.cpu().eval()
    return FittedFusion(settings=settings, sequences=sequences, reading=reading, network=network, told=told)
