"""From tiles to a patient: the mean of the tiles' probabilities, the majority of their classes, and attention.

The attention vote is a mean whose weights are read from the hidden layer of each tile by gated attention (Ilse, Tomczak
and Welling, ICML 2018). It is fitted after the network, on the training units of the fold, and starts as the mean. The
network knows those units by heart, so that what tells most in them need not tell most in others: the step with the
least loss of the tune units is kept, which may be the first, the mean itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from phenolens.core.types import FloatArray
from phenolens.models.bags import Scaler
from phenolens.models.contract import Probabilities
from phenolens.models.determinism import fixed_torch

WIDTH = 32
STEPS, LOOK = 200, 10
"""Steps at most, and after how many of them the tune units are looked at."""
RATE = 0.01
DECAY = 0.01


@dataclass(frozen=True, kw_only=True)
class Vote:
    """The fitted attention: its arrays by name, and the scaling of the hidden layer."""

    arrays: Mapping[str, FloatArray]
    scaler: Scaler

    def scores(self, hidden: FloatArray) -> npt.NDArray[np.float64]:
        """The attention score of each tile (n,), before the softmax."""
        with fixed_torch(0), torch.inference_mode():
            held = {name: torch.from_numpy(np.array(value)) for name, value in self.arrays.items()}
            found: FloatArray = _scores(held, torch.from_numpy(self.scaler.apply(hidden))).numpy()
        return found.astype(np.float64)


def majority(p: Probabilities) -> npt.NDArray[np.float64]:
    """The share of tiles (n, k) whose most probable class each is, (k,); the first class wins a tie."""
    shares: npt.NDArray[np.float64] = np.bincount(p.argmax(1), minlength=p.shape[1]) / len(p)
    return shares


def weighed(p: Probabilities, scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The mean of p (n, k) under softmax(scores (n,)), (k,)."""
    weights = np.exp(scores - scores.max())
    made = (p * (weights / weights.sum())[:, None]).sum(0)
    shares: npt.NDArray[np.float64] = made / made.sum()
    return shares


Unit = tuple[FloatArray, Probabilities]
"""The hidden layer (n, d) and the probabilities (n, k) of the tiles of a unit."""


def fit_vote(
    train: Sequence[Unit],
    truth: Sequence[int],
    tune: Sequence[Unit],
    tune_truth: Sequence[int],
    class_weights: npt.NDArray[np.float64],
    *,
    seed: int,
) -> Vote:
    """From the training units, by class-weighted log loss of their vote, as long as that of the tune units falls."""
    fitted = Scaler.fit(hidden for hidden, _ in train)
    scaler = Scaler(mean=fitted.mean.astype(np.float32), scale=fitted.scale.astype(np.float32))
    with fixed_torch(seed):
        held = _begin(train[0][0].shape[1])
        learn, stop = (_Ballot(scaler, *own, class_weights) for own in ((train, truth), (tune, tune_truth)))
        optimiser = torch.optim.AdamW(list(held.values()), RATE, weight_decay=DECAY)
        least, arrays = np.inf, dict[str, FloatArray]()
        for step in range(STEPS + 1):
            if step % LOOK == 0 and (found := float(stop.loss(held).detach())) < least:
                least, arrays = found, {name: value.detach().numpy().copy() for name, value in held.items()}
            optimiser.zero_grad()
            learn.loss(held).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    return Vote(arrays=arrays, scaler=scaler)


class _Ballot:
    """Units whose tiles vote, as tensors."""

    def __init__(
        self,
        scaler: Scaler,
        units: Sequence[Unit],
        truth: Sequence[int],
        class_weights: npt.NDArray[np.float64],
    ) -> None:
        self.z = torch.from_numpy(np.concatenate([scaler.apply(hidden) for hidden, _ in units]))
        self.place, self.p = _padded([tiles for _, tiles in units])
        self.truth = torch.tensor(truth)
        self.weight = torch.tensor([class_weights[t] for t in truth], dtype=torch.float32)

    def loss(self, held: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Class-weighted log loss of the votes."""
        places = torch.full((self.p.shape[0] * self.p.shape[1],), -torch.inf)
        scores = places.index_copy(0, self.place, _scores(held, self.z))
        votes = (torch.softmax(scores.view(self.p.shape[:2]), 1)[:, :, None] * self.p).sum(1)
        chosen = votes[torch.arange(len(votes)), self.truth].clamp_min(1e-6)
        return -(self.weight * chosen.log()).sum() / self.weight.sum()


def _padded(units: Sequence[Probabilities]) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities of the tiles of all units, (units, most tiles, k), 0 where a unit has none, and the place of each
    tile among units and tiles."""
    most = max(len(tiles) for tiles in units)
    place = np.concatenate([np.arange(len(tiles)) + at * most for at, tiles in enumerate(units)])
    p = np.zeros((len(units) * most, units[0].shape[1]), dtype=np.float32)
    p[place] = np.concatenate(list(units))
    return torch.from_numpy(place), torch.from_numpy(p.reshape(len(units), most, -1))


def _begin(width: int) -> dict[str, torch.Tensor]:
    """Random gates and a score of zero: the mean."""
    made = {
        "signal": torch.randn(width, WIDTH) / width**0.5,
        "gate": torch.randn(width, WIDTH) / width**0.5,
        "score": torch.zeros(WIDTH),
    }
    return {name: value.requires_grad_() for name, value in made.items()}


def _scores(held: Mapping[str, torch.Tensor], z: torch.Tensor) -> torch.Tensor:
    made: Any = (torch.tanh(z @ held["signal"]) * torch.sigmoid(z @ held["gate"])) @ held["score"]
    return made  # type: ignore[no-any-return]
