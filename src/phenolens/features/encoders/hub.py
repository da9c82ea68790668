"""Pre-trained encoders of timm and transformers; `hub.toml` beside this file holds one table a model.

Weights come from `weights:` when it is given, else from the Hugging Face cache, else from the hub. They are read as
safetensors or by `torch.load(weights_only=True)`; no code of a repository is ever run. Their SHA-256 is part of the
features' keys. `precision: auto` is bf16 autocast on CUDA devices that have it and on CPUs with AMX tiles, fp32
elsewhere: bf16 and fp32 features agree to about two decimal digits, so fix `precision` where machines are mixed.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from phenolens.core.errors import FeatureError
from phenolens.features.encoders import _hub_weights
from phenolens.features.encoders._hub_networks import Row, build, pool, rows, tokens_of

if TYPE_CHECKING:
    import torch

    from phenolens.core.types import FloatArray, Rgb
    from phenolens.features.contract import Encode


@dataclass(frozen=True, kw_only=True)
class Hub:
    """A pre-trained tile encoder.

    batch: tiles a forward pass (it is halved once when a GPU runs out of memory; it never depends on free memory).
    precision: fp32, bf16 or auto (see the module). weights: a local weight file, or a folder that holds it.
    """

    version: ClassVar[int] = 1
    reads: ClassVar[str] = "slide"
    makes: ClassVar[str] = "bag"
    place: ClassVar[Literal["cpu", "device"]] = "device"
    names: ClassVar[tuple[str, ...] | None] = None

    variant: str
    batch: int = field(default=64, metadata={"key": False})
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    weights: str | None = field(default=None, metadata={"key": False})
    facts: str = field(init=False, repr=False, default="")

    def __post_init__(self) -> None:
        if self.variant not in rows():
            raise ValueError(f"no model '{self.variant}' in hub.toml")
        if isinstance(self.batch, bool) or not isinstance(self.batch, int) or self.batch < 1:
            raise ValueError(f"batch is {self.batch!r}; it must be a whole number of at least 1")
        if self.precision not in ("auto", "fp32", "bf16"):
            raise ValueError(f"precision is {self.precision!r}; it must be auto, fp32 or bf16")
        object.__setattr__(self, "facts", self.row.facts())

    @property
    def row(self) -> Row:
        return rows()[self.variant]

    @property
    def summary(self) -> str:
        return self.row.summary

    @property
    def licence(self) -> str:
        return self.row.licence

    @property
    def mpp(self) -> float | None:
        return self.row.mpp

    @property
    def size_px(self) -> int | None:
        return self.row.size_px

    @property
    def dimension(self) -> int:
        return self.row.dimension

    def notes(self, size_px: int, mpp: float) -> tuple[str, ...]:
        """Sentences about tiles that are not as published; empty when they are."""
        said = []
        if size_px != self.row.size_px:
            said.append(
                f"{self.variant} was published for tiles of {self.row.size_px} px; tiles of {size_px} px are resized."
            )
        known = () if self.row.mpp is None else (self.row.mpp, *self.row.mpp_others)
        if known and not any(abs(mpp / m - 1) < 0.05 for m in known):
            wanted = ", ".join(f"{m:g}" for m in sorted(known))
            said.append(f"{self.variant} was trained at {wanted} mpp; these tiles have {mpp:.3g} mpp.")
        if not known:
            said.append(f"{self.variant} was trained on photographs, not on slides.")
        return tuple(said)

    def numerics(self, device: str) -> dict[str, str]:
        """The precision used on a device."""
        return {"precision": precision_on(self.precision, device)}

    def fingerprint(self) -> str:
        """SHA-256 of the weight file, 64 hex digits; raises WeightsMissingError where there is none."""
        _require(self.row)
        digest = hashlib.sha256()
        with _hub_weights.find(self.variant, self.row, self.weights).open("rb") as data:
            while piece := data.read(2**22):
                digest.update(piece)
        return digest.hexdigest()

    def load(self, device: str) -> Encode:
        """The encoding function on a device; raises WeightsMissingError or FeatureError."""
        _require(self.row)
        file = _hub_weights.find(self.variant, self.row, self.weights)
        network = build(self.row, _hub_weights.read_state(file), where=str(file))
        return Forward(self.row, network, device, self.batch, precision_on(self.precision, device))


plugin = Hub


class Forward:
    """Tiles to features on one device: resize, crop, normalise, forward, pool."""

    def __init__(self, row: Row, network: Any, device: str, batch: int, precision: str) -> None:
        self.row, self.device, self.batch, self.precision = row, device, batch, precision
        self.network = network.eval().requires_grad_(False).to(device)
        self.halved = False

    def __call__(self, tiles: Rgb, _mpp: float) -> FloatArray:
        import torch

        done: list[FloatArray] = []
        start = 0
        while start < len(tiles):
            piece = tiles[start : start + self.batch]
            try:
                done.append(self._batch(piece))
            except torch.OutOfMemoryError as fault:
                self._halve(fault)
            else:
                start += len(piece)
        return np.concatenate(done) if done else np.zeros((0, self.row.dimension), np.float32)

    def _batch(self, tiles: Rgb) -> FloatArray:
        import torch

        kind = torch.device(self.device).type
        with torch.inference_mode(), torch.autocast(kind, torch.bfloat16, enabled=self.precision == "bf16"):
            pixels = self._pixels(torch.tensor(tiles, device=self.device))
            pooled = pool(tokens_of(self.row, self.network, pixels), self.row.pooling, self.row.registers)
        features: FloatArray = pooled.float().cpu().numpy()
        if features.shape[1] != self.row.dimension:
            raise FeatureError(
                f"{features.shape[1]} features from {self.row.architecture}",
                expected=f"{self.row.dimension}",
                todo="report this with the versions that `phenolens doctor` prints",
            )
        return features

    def _pixels(self, tiles: torch.Tensor) -> torch.Tensor:
        """(n, s, s, 3) uint8 to (n, 3, crop, crop) normalised float32."""
        import torch

        x = tiles.permute(0, 3, 1, 2).to(torch.float32) / 255
        size = self.row.size_px
        if x.shape[-1] != size or x.shape[-2] != size:
            x = torch.nn.functional.interpolate(x, (size, size), mode="bilinear", antialias=True)
        if self.row.crop_px is not None:
            edge = (size - self.row.crop_px) // 2
            x = x[..., edge : edge + self.row.crop_px, edge : edge + self.row.crop_px]
        mean, std = (torch.tensor(v, device=x.device).view(3, 1, 1) for v in (self.row.mean, self.row.std))
        return (x - mean) / std

    def _halve(self, fault: Exception) -> None:
        import torch

        if self.halved or self.batch == 1:
            raise FeatureError(
                f"no room on {self.device} for a batch of {self.batch} tiles",
                expected="a batch that fits the device's memory",
                todo=f"set features: {{batch: {max(1, self.batch // 4)}}} in the study, or use a smaller encoder",
            ) from fault
        self.halved, self.batch = True, self.batch // 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _require(row: Row) -> None:
    """Stop before any work where the package of a row is not installed."""
    import importlib.util

    if importlib.util.find_spec(row.library) is None:
        raise FeatureError(
            f"no package '{row.library}'",
            expected=f"it, because {row.hub} is built with it",
            todo='install it: pip install "phenolens[hub]"',
        )


def precision_on(asked: str, device: str) -> str:
    import torch

    if asked != "auto":
        return asked
    kind = torch.device(device).type
    if kind == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if kind == "cpu" and _has_amx() else "fp32"


def _has_amx() -> bool:
    """Whether this processor multiplies bf16 tiles (Linux; elsewhere no)."""
    facts = Path("/proc/cpuinfo")
    return facts.exists() and "amx_bf16" in facts.read_text("utf-8", errors="replace")
