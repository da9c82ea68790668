"""The network behind `abmil`, its training with early stopping, and the fitted model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from phenolens.core.errors import ModelError
from phenolens.core.types import Example, FloatArray
from phenolens.models.bags import Scaler, in_order
from phenolens.models.contract import Probabilities
from phenolens.models.determinism import fixed_torch
from phenolens.models.linear import log_loss, softmax
from phenolens.tasks._contract import Task

CACHE_BYTES = 256 * 2**20
"""Standardised bags up to this much are kept in memory during a fit; the others are read again in each epoch."""


class Settings(Protocol):
    """The hyper-parameters, as documented in `zoo/abmil.py`."""

    @property
    def width(self) -> int: ...
    @property
    def attention_width(self) -> int: ...
    @property
    def dropout(self) -> float: ...
    @property
    def learning_rate(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...
    @property
    def epochs(self) -> int: ...
    @property
    def patience(self) -> int: ...
    @property
    def batch(self) -> int: ...
    @property
    def instances(self) -> int: ...
    @property
    def instance_share(self) -> float: ...


class Network(nn.Module):
    """Gated attention (Ilse, Tomczak and Welling, Attention-based deep multiple instance learning, ICML 2018, eq. 9).

    h = ReLU(P z); a = softmax(w · (tanh(V h) ⊙ sigmoid(U h))) over the instances; logits = C Σ a h.
    """

    def __init__(self, dimension: int, width: int, attention_width: int, classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.project = nn.Linear(dimension, width)
        self.signal = nn.Linear(width, attention_width)
        self.gate = nn.Linear(width, attention_width)
        self.score = nn.Linear(attention_width, 1)
        self.classify = nn.Linear(width, classes)
        self.dropout = dropout

    def forward(self, z: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (b, k) and attention scores (b, n), −inf where `mask` (b, n) is False, of bags z (b, n, d)."""
        h = functional.dropout(functional.relu(self.project(z)), self.dropout, self.training)
        scores = self.score(torch.tanh(self.signal(h)) * torch.sigmoid(self.gate(h))).squeeze(-1)
        scores = scores.masked_fill(~mask, float("-inf"))
        pooled = torch.bmm(torch.softmax(scores, 1).unsqueeze(1), h).squeeze(1)
        return self.classify(functional.dropout(pooled, self.dropout, self.training)), scores


@dataclass(frozen=True, kw_only=True)
class FittedAttention:
    """Standardise each instance, then the network; on the CPU, float32, all instances of all parts as one bag."""

    network: Network
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
        z = torch.from_numpy(self.scaler.apply(example.instances()))[None]
        with fixed_torch(0), torch.inference_mode():
            logits, scores = self.network(z, torch.ones(z.shape[:2], dtype=torch.bool))
        return logits[0].numpy(), scores[0].numpy()

    def weights(self) -> dict[str, npt.NDArray[Any]]:
        state = {name: value.numpy().copy() for name, value in self.network.state_dict().items()}
        return {**state, "mean": self.scaler.mean, "scale": self.scaler.scale}

    def config(self) -> dict[str, Any]:
        """How the fit went: epochs run, the epoch kept and its tune loss, the device."""
        return dict(self.history)

    @classmethod
    def restore(cls, weights: Mapping[str, npt.NDArray[Any]], config: Mapping[str, Any]) -> FittedAttention:
        """From what `weights()` and `config()` gave; the sizes are those of the arrays."""
        width, dimension = weights["project.weight"].shape
        classes, attention_width = weights["classify.weight"].shape[0], weights["signal.weight"].shape[0]
        with fixed_torch(0):
            network = Network(dimension, width, attention_width, classes)
        state = {n: torch.from_numpy(np.array(v)) for n, v in weights.items() if n not in ("mean", "scale")}
        network.load_state_dict(state)
        scaler = Scaler(mean=weights["mean"], scale=weights["scale"])
        return cls(network=network.eval(), scaler=scaler, history=config)


class _Bags:
    """Standardised bags of some examples; the first CACHE_BYTES of them are read once."""

    def __init__(self, examples: Sequence[Example], scaler: Scaler) -> None:
        self.examples, self.scaler = examples, scaler
        self.kept: dict[int, FloatArray] = {}
        self.free = CACHE_BYTES

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, i: int) -> FloatArray:
        if i in self.kept:
            return self.kept[i]
        z: FloatArray = self.scaler.apply(self.examples[i].instances())
        if z.nbytes <= self.free:
            self.kept[i] = z
            self.free -= z.nbytes
        return z


def fit_attention(
    settings: Settings, train: Sequence[Example], tune: Sequence[Example], task: Task, *, seed: int
) -> FittedAttention:
    """Fit by AdamW on `train`, keep the weights of the epoch with the least class-weighted log loss on `tune`.

    A CUDA device is used when there is one. Raises ModelError without a tune unit or when the loss is not finite.
    """
    if not tune:
        raise ModelError(
            "no tune unit to stop on",
            expected="an inner tune split",
            todo="raise validation.tune, or give the patients of the tune part images that can be read",
        )
    train, tune = in_order(train), in_order(tune)
    fitted = Scaler.fit(e.instances() for e in train)
    scaler = Scaler(mean=fitted.mean.astype(np.float32), scale=fitted.scale.astype(np.float32))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with fixed_torch(seed, device):
        size = (len(scaler.mean), settings.width, settings.attention_width, len(task.classes))
        network = Network(*size, dropout=settings.dropout).to(device)
        history = _train(network, settings, _Bags(train, scaler), _Bags(tune, scaler), task, seed)
    state = {name: value.cpu().numpy() for name, value in network.state_dict().items()}
    weights = {**state, "mean": scaler.mean, "scale": scaler.scale}
    return FittedAttention.restore(weights, {**history, "dimension": size[0], "device": device})


def _train(network: Network, settings: Settings, train: _Bags, tune: _Bags, task: Task, seed: int) -> dict[str, Any]:
    """Train in place and leave the best epoch's weights; epochs run, epoch kept, its tune loss."""
    truth, tune_truth = ([task.truth(e) for e in bags.examples] for bags in (train, tune))
    class_weights = task.weights(train.examples)
    device = next(network.parameters()).device
    weights = torch.tensor(class_weights, dtype=torch.float32, device=device)
    optimiser = torch.optim.AdamW(network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
    least, kept_epoch, kept_state, epoch = float("inf"), 0, network.state_dict(), 0
    for epoch in range(1, settings.epochs + 1):
        torch.manual_seed(int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0]))
        network.train()
        for rows, z, mask in _batches(train, settings, seed, epoch):
            labels = torch.tensor([truth[i] for i in rows], device=device)
            logits, _ = network(z.to(device), mask.to(device))
            losses = functional.cross_entropy(logits, labels, reduction="none") * weights[labels]
            optimiser.zero_grad()
            losses.mean().backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        loss = _tune_loss(network.eval(), tune, np.array(tune_truth, dtype=np.intp), class_weights)
        if not np.isfinite(loss):
            raise ModelError(
                f"a tune loss of {loss} in epoch {epoch}", expected="a finite loss", todo="lower learning_rate"
            )
        if loss < least:
            least, kept_epoch = loss, epoch
            kept_state = {name: value.detach().clone() for name, value in network.state_dict().items()}
        elif epoch - kept_epoch >= settings.patience:
            break
    network.load_state_dict(kept_state)
    return {"epochs": epoch, "kept_epoch": kept_epoch, "tune_loss": least}


def _batches(
    bags: _Bags, settings: Settings, seed: int, epoch: int
) -> Iterator[tuple[list[int], torch.Tensor, torch.Tensor]]:
    """Batches of one epoch: positions, padded bags (b, n, d) and which instances are real (b, n).

    The order of the bags is drawn by (seed, epoch), the instances of a bag by (seed, epoch, its position).
    """
    order = np.random.default_rng([seed, epoch]).permutation(len(bags)).tolist()
    for start in range(0, len(order), settings.batch):
        rows = order[start : start + settings.batch]
        drawn = []
        for i in rows:
            z = bags[i]
            take = min(settings.instances, max(1, round(len(z) * settings.instance_share)))
            drawn.append(z[np.sort(np.random.default_rng([seed, epoch, i]).permutation(len(z))[:take])])
        longest = max(len(z) for z in drawn)
        padded = np.zeros((len(rows), longest, drawn[0].shape[1]), dtype=np.float32)
        mask = np.zeros((len(rows), longest), dtype=bool)
        for j, z in enumerate(drawn):
            padded[j, : len(z)], mask[j, : len(z)] = z, True
        yield rows, torch.from_numpy(padded), torch.from_numpy(mask)


def _tune_loss(
    network: Network, bags: _Bags, truth: npt.NDArray[np.intp], class_weights: npt.NDArray[np.float64]
) -> float:
    device = next(network.parameters()).device
    with torch.inference_mode():
        rows = []
        for i in range(len(bags)):
            z = torch.from_numpy(bags[i])[None].to(device)
            rows.append(network(z, torch.ones(z.shape[:2], dtype=torch.bool, device=device))[0][0].cpu().numpy())
    return log_loss(softmax(np.array(rows, dtype=np.float64)), truth, class_weights)
