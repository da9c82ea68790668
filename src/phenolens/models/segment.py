"""Segmentation: a U-Net trained on patches, and the fitted model, which slides a window over a whole volume."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from monai.inferers import sliding_window_inference
from monai.losses import DiceCELoss
from monai.networks.nets import UNet
from torch import nn

from phenolens.core.errors import ModelError
from phenolens.core.types import Example, FloatArray, Part, Volume
from phenolens.models.augment import Augmentation, Augmenter
from phenolens.models.bags import Scaler, in_order
from phenolens.models.determinism import fixed_torch
from phenolens.models.training import Schedule, autocast, batches, best_device, train
from phenolens.models.volumes import Cached, Grid, standardised

THRESHOLD = 0.5
Mask = npt.NDArray[np.bool_]
"""Shape (z, y, x)."""


class Settings(Schedule, Protocol):
    """The hyper-parameters, as documented in `zoo/unet.py`."""

    @property
    def patch(self) -> int | tuple[int, int, int]: ...
    @property
    def width(self) -> int: ...
    @property
    def levels(self) -> int: ...
    @property
    def patches(self) -> int: ...
    @property
    def foreground(self) -> float: ...
    @property
    def augment(self) -> bool: ...


class SegmentationTask(Protocol):
    """Of a task what segmentation needs."""

    @property
    def kind(self) -> str: ...
    def volume(self, example: Example) -> Volume: ...
    def truth(self, example: Example) -> Mask: ...


@dataclass(frozen=True, kw_only=True)
class FittedSegmenter:
    """Standardise, slide the network over the volume, average where windows overlap; on the CPU, float32."""

    settings: Settings
    grid: Grid
    scaler: Scaler
    network: nn.Module
    told: Mapping[str, Any]

    def probability(self, volume: Volume) -> FloatArray:
        """The probability of lesion of each voxel (z, y, x); a mask in the volume is not looked at."""
        part = Part(name="", image=volume.recipe, source=None)
        z = standardised(self.grid.check(volume, "to segment", part).x, self.scaler)
        with fixed_torch(0), torch.inference_mode():
            logits = _slide(self.network, torch.from_numpy(z)[None], self.settings)
            p: FloatArray = torch.sigmoid(logits)[0, 0].numpy()
        return p

    def predict_mask(self, volume: Volume) -> Mask:
        """Voxels (z, y, x) whose probability is at least one half."""
        return self.probability(volume) >= THRESHOLD

    def masks(self, examples: Sequence[Example], task: SegmentationTask) -> list[Mask]:
        """The mask of each example, on the grid of its volume."""
        return [self.predict_mask(task.volume(e)) for e in examples]

    def weights(self) -> dict[str, npt.NDArray[Any]]:
        state = {name: value.numpy().copy() for name, value in self.network.state_dict().items()}
        return {**state, "scaler.mean": self.scaler.mean, "scaler.scale": self.scaler.scale}

    def config(self) -> dict[str, Any]:
        """The grid and how the fit went."""
        return {**self.told, "grid": self.grid.to_json()}

    @classmethod
    def restore(
        cls, settings: Settings, weights: Mapping[str, npt.NDArray[Any]], config: Mapping[str, Any]
    ) -> FittedSegmenter:
        """From what `weights()` and `config()` gave, with the hyper-parameters it was fitted with."""
        grid = Grid.from_json(config["grid"])
        with fixed_torch(0):
            network = _network(settings, grid.channels)
        held = {n: torch.from_numpy(np.array(v)) for n, v in weights.items() if not n.startswith("scaler.")}
        network.load_state_dict(held)
        scaler = Scaler(mean=weights["scaler.mean"], scale=weights["scaler.scale"])
        told = {name: value for name, value in config.items() if name != "grid"}
        return cls(settings=settings, grid=grid, scaler=scaler, network=network.eval(), told=told)


def fit_segmenter(
    settings: Settings, train_on: Sequence[Example], tune_on: Sequence[Example], task: SegmentationTask, *, seed: int
) -> FittedSegmenter:
    """Fit on patches of `train_on`; keep the weights of the epoch with the least loss on whole volumes of `tune_on`.

    The loss is Dice plus cross-entropy. Volumes may differ in size, not in channels or spacing. A CUDA device is used
    when there is one. Raises ModelError without a tune unit, without a mask, or for a task that has no masks.
    """
    if getattr(task, "kind", "") != "segmentation":
        raise ModelError(
            f"a task of kind '{getattr(task, 'kind', '')}' for a model that finds masks",
            expected="kind: segmentation",
            todo="choose another model for this task; see phenolens list",
        )
    if not tune_on:
        raise ModelError(
            "no tune unit to stop on",
            expected="an inner tune split",
            todo="raise validation.tune, or give the patients of the tune part images that can be read",
        )
    held, tune = in_order(train_on), in_order(tune_on)
    first = task.volume(held[0])
    where = f"unit {held[0].unit_id!r}"
    grid = Grid(channels=len(first.x), shape=None, spacing=first.frame.spacing, where=where)
    fitted = Scaler.fit(_checked(task, e, grid).x.reshape(grid.channels, -1).T for e in held)
    scaler = Scaler(mean=fitted.mean.astype(np.float32), scale=fitted.scale.astype(np.float32))
    device = best_device()
    with fixed_torch(seed, device):
        network = _network(settings, grid.channels).to(device)
        history = _Training(settings, grid, scaler, network, (held, tune), task, seed).run()
    told = {**history, "device": device, "augmentation": asdict(Augmentation()) if settings.augment else None}
    return FittedSegmenter(settings=settings, grid=grid, scaler=scaler, network=network.cpu().eval(), told=told)


class _Training:
    """Patches, losses and tune loss of one fit."""

    def __init__(
        self,
        settings: Settings,
        grid: Grid,
        scaler: Scaler,
        network: nn.Module,
        examples: tuple[Sequence[Example], Sequence[Example]],
        task: SegmentationTask,
        seed: int,
    ) -> None:
        self.settings, self.network, self.seed = settings, network, seed

        def pair(example: Example) -> tuple[FloatArray, Mask]:
            return standardised(_checked(task, example, grid).x, scaler), task.truth(example)

        self.held, self.tune = (Cached(part, pair) for part in examples)
        self.change = Augmenter(Augmentation(), grid.spacing, 3, mask=True) if settings.augment else None
        self.device = next(network.parameters()).device
        self.loss = DiceCELoss(sigmoid=True, batch=True)

    def run(self) -> dict[str, Any]:
        return train(self.network, self.settings, seed=self.seed, losses=self.losses, tune_loss=self.tune_loss)

    def losses(self, epoch: int) -> Iterator[torch.Tensor]:
        """One loss a batch of patches; patches and changes are drawn by (seed, epoch, unit, patch)."""
        count = len(self.held) * self.settings.patches
        for rows in batches(count, self.settings.batch, self.seed, epoch):
            drawn = [self._patch(row, epoch) for row in rows]
            x, mask = (torch.stack([d[k] for d in drawn]).to(self.device) for k in ("x", "mask"))
            with autocast(self.device):
                logits = self.network(x)
            yield self.loss(logits.float(), mask)

    def _patch(self, row: int, epoch: int) -> dict[str, torch.Tensor]:
        i = row // self.settings.patches
        x, mask = self.held[i]
        draw = np.random.default_rng([self.seed, epoch, row])
        cut_x, cut_mask = patch_of(x, mask, _size(self.settings), self.settings.foreground, draw)
        made = {"x": torch.from_numpy(cut_x), "mask": torch.from_numpy(cut_mask.astype(np.float32))[None]}
        return made if self.change is None else self.change((self.seed, epoch, row), made["x"], made["mask"])

    def tune_loss(self) -> float:
        total = 0.0
        for i in range(len(self.tune)):
            x, mask = self.tune[i]
            with autocast(self.device):
                logits = _slide(self.network, torch.from_numpy(x)[None].to(self.device), self.settings)
            truth = torch.from_numpy(mask.astype(np.float32))[None, None].to(self.device)
            total += float(self.loss(logits.float(), truth))
        return total / len(self.tune)


def patch_of(
    x: FloatArray, mask: Mask, size: Sequence[int], foreground: float, draw: np.random.Generator
) -> tuple[FloatArray, Mask]:
    """A patch of `size` (x, y, z) of x (c, z, y, x) and mask; with the chance `foreground` around a voxel of the mask.

    A volume that is smaller gets zeros (the mean intensity) after its end, as the sliding window gives it.
    """
    wanted = tuple(int(n) for n in size[::-1])
    short = [max(0, w - n) for w, n in zip(wanted, mask.shape, strict=True)]
    if any(short):
        x = np.pad(x, [(0, 0), *((s // 2, s - s // 2) for s in short)])
        mask = np.pad(mask, [(s // 2, s - s // 2) for s in short])
    room = np.subtract(mask.shape, wanted, dtype=np.intp)
    around = draw.random() < foreground
    if around:
        inside = np.argwhere(mask)
        corner = inside[draw.integers(len(inside))] - draw.integers(0, np.array(wanted, dtype=np.intp))
    else:
        corner = draw.integers(0, room + 1)
    z, y, u = np.clip(corner, 0, room)
    box = (slice(z, z + wanted[0]), slice(y, y + wanted[1]), slice(u, u + wanted[2]))
    return np.ascontiguousarray(x[(slice(None), *box)]), np.ascontiguousarray(mask[box])


def _checked(task: SegmentationTask, example: Example, grid: Grid) -> Volume:
    part = next(p for p in example.parts if p.present)
    return grid.check(task.volume(example), example.unit_id, part)


def _size(settings: Settings) -> tuple[int, int, int]:
    """A patch in voxels x, y, z."""
    return (settings.patch,) * 3 if isinstance(settings.patch, int) else settings.patch


def _slide(network: nn.Module, x: torch.Tensor, settings: Settings) -> torch.Tensor:
    """Logits (1, 1, z, y, x) of a whole volume: windows of the size of a patch, half overlapping, Gaussian weights."""
    logits: torch.Tensor = sliding_window_inference(
        x, roi_size=_size(settings)[::-1], sw_batch_size=4, predictor=network, overlap=0.5, mode="gaussian"
    )
    return logits


def _network(settings: Settings, channels: int) -> Any:
    """Residual U-Net (Ronneberger et al., MICCAI 2015; Kerfoot et al., STACOM 2018) with one logit a voxel."""
    return UNet(
        spatial_dims=3,
        in_channels=channels,
        out_channels=1,
        channels=[settings.width * 2**level for level in range(settings.levels)],
        strides=[2] * (settings.levels - 1),
        num_res_units=1,
    )
