"""Mends for other people's packages, each used only where the very fault occurs."""

from __future__ import annotations

from typing import Any


def import_timm() -> Any:
    """timm, also where torchvision was built for another torch than the one installed.

    The package index carries no CPU build of torchvision: beside a CPU torch, `import torchvision` stops at
    "operator torchvision::nms does not exist". Defining the operators' schemas is enough for what timm needs.
    """
    try:
        import torchvision  # noqa: F401
    except RuntimeError as fault:
        if "torchvision::" not in str(fault):
            raise
        _define_torchvision_operators()
    import timm

    return timm


def _define_torchvision_operators() -> None:
    import sys

    import torch

    for name in [m for m in sys.modules if m == "torchvision" or m.startswith("torchvision.")]:
        del sys.modules[name]
    for operator in ("nms", "qnms"):
        torch.library.define(f"torchvision::{operator}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
