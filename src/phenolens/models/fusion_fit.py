"""Fitting `sequence_fusion` on bags: several small networks side by side, each blind to a fifth of the patients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from phenolens.core.errors import ModelError
from phenolens.core.types import Example
from phenolens.models.bags import in_order
from phenolens.models.determinism import fixed_torch, one_thread
from phenolens.models.fusion import FittedFusion, Settings, network_of
from phenolens.models.fusion_inputs import BagReading, Sequences
from phenolens.models.fusion_network import BagFusion
from phenolens.models.fusion_schedule import schedule
from phenolens.models.inputs import inputs_of
from phenolens.models.linear import log_loss, softmax
from phenolens.models.volumes import Grid
from phenolens.tasks._contract import Task

Truth = npt.NDArray[np.intp]
_FOLDS = 5


def fit_fusion(
    settings: Settings, train: Sequence[Example], tune: Sequence[Example], task: Task, *, seed: int
) -> FittedFusion:
    """Fit on `train`, keep the weights of the epoch with the least loss on `tune` (on bags: see `_stop_loss`).

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
    if isinstance(inputs_of(train[0]), Grid):
        from phenolens.models.fusion_volumes import fit_volume_fusion

        return fit_volume_fusion(settings, sequences, train, tune, task, seed)
    return _fit_bags(settings, sequences, train, tune, task, seed)


def _fit_bags(
    settings: Settings, sequences: Sequences, train: Sequence[Example], tune: Sequence[Example], task: Task, seed: int
) -> FittedFusion:
    truth = np.array([task.truth(e) for e in train], dtype=np.intp)
    with one_thread():
        reading = BagReading.fit(sequences, train, truth, screen=settings.screen, components=settings.components)
        out = _left_out(train, truth, settings.members, np.random.default_rng(seed))
        every = torch.ones((settings.members, len(tune)), dtype=torch.bool)
        held = _Held.of(reading, train, task, settings, out)
        tuned = _Held.of(reading, tune, task, settings, every)
    with fixed_torch(seed):
        network = network_of(settings, sequences, reading, len(task.classes))
        assert isinstance(network, BagFusion)
        history = _train(network, settings, held, tuned, task.weights(train))
    told = {"reads": "bag", "classes": len(task.classes), **history}
    return FittedFusion(settings=settings, sequences=sequences, reading=reading, network=network, told=told)


@dataclass(frozen=True, kw_only=True)
class _Held:
    """Examples as tensors: points (n, s, r), which sequences are there (n, s), classes (n,), and which units each
    member is not trained on (m, n)."""

    x: torch.Tensor
    there: torch.Tensor
    truth: torch.Tensor
    unseen: torch.Tensor

    @classmethod
    def of(
        cls, reading: BagReading, examples: Sequence[Example], task: Task, settings: Settings, unseen: torch.Tensor
    ) -> _Held:
        read = [reading.inputs(e, settings) for e in examples]
        return cls(
            x=torch.from_numpy(np.stack([x for x, _ in read])),
            there=torch.from_numpy(np.stack([there for _, there in read])),
            truth=torch.tensor([task.truth(e) for e in examples]),
            unseen=unseen,
        )


def _train(
    network: BagFusion, settings: Settings, held: _Held, tuned: _Held, class_weights: npt.NDArray[np.float64]
) -> dict[str, Any]:
    """Train all members at once, each on its own units in one step an epoch, and leave the weights of the best epoch.

    Epochs run, the epoch kept and its loss (see `_stop_loss`).
    """
    plan = schedule(settings, "bag")
    members = settings.members
    weights = torch.tensor(class_weights, dtype=torch.float32)[held.truth] * ~held.unseen
    weights /= weights.sum(1, keepdim=True)
    optimiser = torch.optim.AdamW(network.parameters(), plan.learning_rate, weight_decay=plan.weight_decay)
    least, kept_epoch, kept, epoch = float("inf"), 0, network.state_dict(), 0
    for epoch in range(1, plan.epochs + 1):
        network.train()
        logits = network(held.x, _drawn(held.there.expand(members, -1, -1), plan.drop_sequence))[1].sum(2)
        each = functional.cross_entropy(logits.flatten(0, 1), held.truth.repeat(members), reduction="none")
        optimiser.zero_grad()
        (each * weights.flatten()).sum().backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        loss = _stop_loss(network.eval(), held, tuned, class_weights)
        if not np.isfinite(loss):
            raise ModelError(f"a loss of {loss} in epoch {epoch}", expected="a finite loss", todo="lower learning_rate")
        if loss < least:
            least, kept_epoch = loss, epoch
            kept = {name: value.detach().clone() for name, value in network.state_dict().items()}
        elif epoch - kept_epoch >= plan.patience:
            break
    network.load_state_dict(kept)
    return {"epochs": epoch, "kept_epoch": kept_epoch, "stop_loss": least}


def _drawn(there: torch.Tensor, rate: float) -> torch.Tensor:
    """`there` (m, n, s) without the sequences that are left out by chance; each unit keeps one of its own."""
    order = torch.rand(there.shape).masked_fill(~there, -1.0)
    kept = order == order.max(-1, keepdim=True).values
    return there & ((torch.rand(there.shape) >= rate) | kept)


def _stop_loss(network: BagFusion, held: _Held, tuned: _Held, class_weights: npt.NDArray[np.float64]) -> float:
    """Class-weighted log loss over the tune units, by all members, and over the training units, each by the members
    that were not trained on its patient (scaling and screening have seen it): a tune split of some twenty patients
    alone would stop by chance."""
    rows, truth = [], []
    with torch.inference_mode():
        for part in (tuned, held):
            logits = network(part.x, part.there.expand(len(part.unseen), -1, -1))[1].sum(2).double()
            asked = part.unseen.double().unsqueeze(-1)
            some = part.unseen.any(0).numpy()
            mean = (logits * asked).sum(0) / asked.sum(0).clamp(min=1)
            rows.append(mean.numpy()[some])
            truth.append(part.truth.numpy()[some])
    return log_loss(softmax(np.concatenate(rows)), np.concatenate(truth), class_weights)


def _left_out(examples: Sequence[Example], truth: Truth, members: int, rng: np.random.Generator) -> torch.Tensor:
    """Which units each member is not trained on (m, n): a fifth of the patients, drawn within classes, so that every
    five members leave out each patient once. None is left out by a member to which nothing would be left."""
    patients = sorted({e.patient: int(t) for e, t in zip(examples, truth, strict=True)}.items(), key=lambda p: p[::-1])
    out = np.zeros((members, len(examples)), dtype=bool)
    for first in range(0, members, _FOLDS):
        fold: dict[str, int] = {}
        for label in sorted({t for _, t in patients}):
            own = [p for p, t in patients if t == label]
            start = int(rng.integers(_FOLDS))
            fold |= {own[i]: (start + j) % _FOLDS for j, i in enumerate(rng.permutation(len(own)).tolist())}
        for m in range(first, min(first + _FOLDS, members)):
            row = np.array([fold[e.patient] == m - first for e in examples])
            out[m] = row & ~row.all()
    return torch.from_numpy(out)
