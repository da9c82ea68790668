"""Training of `tile_cnn` by AdamW in steps that a killed run takes up again where it was.

Everything drawn by chance is keyed by seed, epoch and step or place, so that a state is weights, the optimiser's
moments and counters. Rates rise over the warm-up and then fall as a cosine to zero.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from phenolens.core.errors import ModelError
from phenolens.models.checkpoint import Checkpoint
from phenolens.models.linear import log_loss
from phenolens.models.tiles_augment import as_pixels, changed
from phenolens.models.tiles_feed import Batch, Sampler, Shelf, ahead
from phenolens.models.tiles_fitted import together
from phenolens.models.tiles_loss import loss_of
from phenolens.models.tiles_network import TileNetwork, optimiser_of, rates
from phenolens.models.training import Schedule, autocast

BEST, LAST = "best", "last"
"""The epoch that is kept: that of the least tune loss, or the last one, whatever the tune units say."""


class Settings(Schedule, Protocol):
    """The hyper-parameters of training, as documented in `zoo/tile_cnn.py`."""

    @property
    def backbone_rate(self) -> float: ...
    @property
    def stem_share(self) -> float: ...
    @property
    def warmup(self) -> float: ...
    @property
    def tiles_per_epoch(self) -> int: ...
    @property
    def tune_tiles(self) -> int: ...
    @property
    def size_power(self) -> float: ...
    @property
    def keep(self) -> str: ...
    @property
    def distill(self) -> float: ...
    @property
    def temperature(self) -> float: ...
    @property
    def workers(self) -> int: ...


class Training:
    """One fit of a network on drawn tiles; it stops on whole units, `tune`, each the shelves of its images."""

    def __init__(
        self,
        settings: Settings,
        network: TileNetwork,
        sampler: Sampler,
        tune: Sequence[Sequence[Shelf]],
        class_weights: npt.NDArray[np.float64],
        seed: int,
        checkpoint: Checkpoint | None,
    ) -> None:
        self.settings, self.network, self.sampler = settings, network, sampler
        self.tune = [(unit[0].label, evenly(unit, settings.tune_tiles)) for unit in tune]
        self.class_weights, self.seed, self.checkpoint = class_weights, seed, checkpoint
        self.steps = math.ceil(settings.tiles_per_epoch / settings.batch)
        self.rates = rates(
            network, head=settings.learning_rate, backbone=settings.backbone_rate, stem_share=settings.stem_share
        )
        self.optimiser = optimiser_of(network, self.rates, settings.weight_decay)
        self.device = next(network.parameters()).device
        self.epoch, self.step, self.kept_epoch, self.least, self.done = 1, 0, 0, math.inf, False
        self.best = self._copy()

    def run(self) -> dict[str, Any]:
        """Train in place and leave the kept epoch's weights; epochs run, epoch kept, its tune loss and the rates."""
        self._resume()
        while not self.done:
            self._epoch()
            self._judge()
        self._save()
        self._load(self.best)
        named = {"head": self.settings.learning_rate, "least": min(self.rates.values())}
        return {
            "epochs": self.epoch,
            "kept_epoch": self.kept_epoch,
            "tune_loss": self.least,
            "steps": self.steps * self.epoch,
            "rates": named,
        }

    def _epoch(self) -> None:
        """The steps of an epoch from where it was left."""
        size = self.settings.batch
        places = [range(at * size, (at + 1) * size) for at in range(self.step, self.steps)]
        epoch = self.epoch
        self.network.train()
        for batch in ahead(places, lambda own: self.sampler.batch(epoch, own), self.settings.workers):
            self.learn(batch)
            self.step += 1
            if self.checkpoint is not None and self.step < self.steps and self.checkpoint.due():
                self._save()

    def learn(self, batch: Batch) -> None:
        """One step on a batch, at the rate and with the chance of the place it has in training."""
        torch.manual_seed(int(np.random.SeedSequence([self.seed, self.epoch, self.step]).generate_state(1)[0]))
        share = rate_at(
            (self.epoch - 1) * self.steps + self.step, self.steps * self.settings.epochs, self.settings.warmup
        )
        for group in self.optimiser.param_groups:
            group["lr"] = group["full"] * share
        pixels = changed(as_pixels(batch.tiles, self.device), batch.changes)
        label = torch.from_numpy(batch.label).to(self.device)
        soft = None if batch.soft is None else torch.from_numpy(batch.soft.astype(np.float32)).to(self.device)
        with autocast(self.device):
            logits, _ = self.network(pixels)
        told = {"share": self.settings.distill, "temperature": self.settings.temperature}
        loss = loss_of(logits.float(), label, soft, **told)
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()

    def _judge(self) -> None:
        """The end of an epoch: its tune loss, whether it is kept, and whether training ends."""
        found = self.tune_loss()
        if not np.isfinite(found):
            raise ModelError(
                f"a tune loss of {found} in epoch {self.epoch}",
                expected="a finite loss",
                todo="lower learning_rate and backbone_rate",
            )
        if found < self.least or self.settings.keep == LAST:
            self.least, self.kept_epoch, self.best = found, self.epoch, self._copy()
        spent = self.epoch - self.kept_epoch >= self.settings.patience or self.epoch >= self.settings.epochs
        if spent:
            self.done = True
            return
        self.epoch, self.step = self.epoch + 1, 0
        if self.checkpoint is not None and self.checkpoint.due():
            self._save()

    def tune_loss(self) -> float:
        """Class-weighted log loss of the units' mean probabilities over a fixed, even choice of their tiles."""
        self.network.eval()
        truth = np.array([label for label, _ in self.tune], dtype=np.intp)
        with torch.inference_mode():
            chosen = [(s.held, rows) for _, unit in self.tune for s, rows in unit]
            made = iter(together(self.network, chosen, self.settings.workers))
        p = [np.concatenate([next(made)[0] for _ in unit]).mean(0) for _, unit in self.tune]
        return log_loss(np.array(p), truth, self.class_weights)

    def _copy(self) -> dict[str, torch.Tensor]:
        return {name: value.detach().clone() for name, value in self.network.trained().items()}

    def _load(self, state: Mapping[str, torch.Tensor]) -> None:
        self.network.load_state_dict(dict(state), strict=False)

    def _save(self) -> None:
        """The whole state, where there is a place for it."""
        if self.checkpoint is None:
            return
        arrays = {f"now.{name}": value for name, value in self.network.trained().items()}
        arrays |= {f"best.{name}": value for name, value in self.best.items()}
        for at, own in self.optimiser.state_dict()["state"].items():
            arrays |= {f"optimiser.{at}.{name}": value for name, value in own.items()}
        told: dict[str, Any] = {
            "epoch": self.epoch,
            "step": self.step,
            "kept_epoch": self.kept_epoch,
            "done": self.done,
        }
        told |= {"least": self.least if math.isfinite(self.least) else None}
        self.checkpoint.save({name: value.detach().cpu().numpy() for name, value in arrays.items()}, told)

    def _resume(self) -> None:
        """Take up the state that a killed run left."""
        found = None if self.checkpoint is None else self.checkpoint.load()
        if found is None:
            return
        arrays, told = found
        self._load(dict(_under("now.", arrays)))
        self.best = {name: value.to(self.device) for name, value in _under("best.", arrays)}
        state: dict[int, dict[str, torch.Tensor]] = {}
        for name, value in _under("optimiser.", arrays):
            at, _, what = name.partition(".")
            state.setdefault(int(at), {})[what] = value
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": state, "param_groups": groups})
        self.epoch, self.step, self.kept_epoch, self.done = (told[k] for k in ("epoch", "step", "kept_epoch", "done"))
        self.least = math.inf if told["least"] is None else told["least"]


def rate_at(step: int, steps: int, warmup: float) -> float:
    """The share of the full rate in a step: linear up over the share `warmup` of all steps, then a cosine to 0."""
    rise = round(warmup * steps)
    if step < rise:
        return (step + 1) / (rise + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(steps - rise, 1)))


def evenly(unit: Sequence[Shelf], most: int) -> list[tuple[Shelf, list[int]]]:
    """Up to `most` tiles of a unit, evenly over the tiles of all its images: each shelf with rows, in their order."""
    total = sum(len(s.held) for s in unit)
    places = np.unique(np.linspace(0, total - 1, min(total, most)).round().astype(int))
    made, first = [], 0
    for shelf in unit:
        own = places[(places >= first) & (places < first + len(shelf.held))] - first
        first += len(shelf.held)
        if len(own):
            made.append((shelf, own.tolist()))
    return made


def _under(prefix: str, arrays: Mapping[str, npt.NDArray[Any]]) -> Iterator[tuple[str, torch.Tensor]]:
    """The arrays of a state whose name begins so, without it."""
    return ((n.removeprefix(prefix), torch.from_numpy(v.copy())) for n, v in arrays.items() if n.startswith(prefix))
