"""Small networks for the demo, trained on the spot on textures that no slide shows: they stand for ImageNet's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from phenolens.core.compute import run_all
from phenolens.core.progress import Progress
from phenolens.core.store import atomic
from phenolens.synth import textures

SMALL = ("test_resnet", "test_efficientnet_gn", "test_convnext3", "test_byobnet")
"""Networks of timm of 0.1 to 0.4 million weights."""


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """How a network is trained: pictures of `side` px, `steps` batches, the highest learning rate."""

    side: int = 64
    steps: int = 300
    batch: int = 32
    rate: float = 0.003
    seed: int = 0


def make_backbones(
    folder: Path,
    names: Sequence[str] = SMALL,
    lesson: Lesson | None = None,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Path]:
    """Name -> weight file in `folder`; one that is there is kept. The same lesson gives the same bytes on one machine.

    The files hold the whole network of timm, its classifier included, as those of the hub do.
    """
    files = {name: folder / f"{name}.safetensors" for name in names}
    missing = [name for name, file in files.items() if not file.exists()]
    told = progress or Progress("quiet")
    with told.step("training backbones on textures", len(missing), "networks") as step:
        for outcome in run_all(partial(_teach, folder=folder, lesson=lesson or Lesson()), missing, workers=workers):
            outcome.unwrap()
            step.advance()
    return files


def _teach(name: str, folder: Path, lesson: Lesson) -> None:
    from safetensors.torch import save

    network = taught(name, lesson)
    state = {key: value.contiguous() for key, value in sorted(network.state_dict().items())}
    with atomic(folder / f"{name}.safetensors") as part:
        part.write_bytes(save(state))


def taught(name: str, lesson: Lesson) -> Any:
    """A network of timm after its lesson; textures are drawn anew for every batch, so that none is seen twice.

    The first outputs of its classifier are the textures; the others stay as they began.
    """
    import torch
    from torch.nn import functional

    from phenolens.core.compat import import_timm
    from phenolens.models.determinism import fixed_torch

    with fixed_torch(lesson.seed):
        network = import_timm().create_model(name, pretrained=False).train()
        optimiser = torch.optim.AdamW(network.parameters(), lesson.rate, weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, lesson.rate, lesson.steps, pct_start=0.1)
        for step in range(lesson.steps):
            pixels, labels = _batch(network, lesson, lesson.batch, step)
            optimiser.zero_grad()
            loss = functional.cross_entropy(network(pixels)[:, : textures.CLASSES], labels)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
    return network.eval()


def accuracy(network: Any, lesson: Lesson, count: int = 360) -> float:
    """The share of fresh textures that the network names rightly."""
    import torch

    with torch.inference_mode():
        pixels, labels = _batch(network, lesson, count, 10**6)
        called = network(pixels)[:, : textures.CLASSES].argmax(1)
    return float((called == labels).float().mean())


def _batch(network: Any, lesson: Lesson, count: int, turn: int) -> Any:
    """Pictures as the network wants them, and their textures."""
    import torch

    pixels, labels = textures.batch(lesson.side, count, (lesson.seed, turn))
    mean, std = (torch.tensor(network.pretrained_cfg[k]).view(3, 1, 1) for k in ("mean", "std"))
    return (torch.from_numpy(pixels) - mean) / std, torch.from_numpy(labels)
