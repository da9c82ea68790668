"""What this machine has."""

from __future__ import annotations

import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = (
    "torch",
    "timm",
    "scikit-learn",
    "openslide-python",
    "openslide-bin",
    "tifffile",
    "wsidicom",
    "transformers",
)


def examine() -> list[str]:
    """Lines for a person: versions, processors, memory, disk, devices, model cache."""
    import phenolens
    from phenolens.core.compute import default_workers, devices

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    system = f"{platform.system()} {platform.machine()}"
    lines = [
        f"phenolens {phenolens.__version__} on Python {platform.python_version()}, {system}",
        f"processors: {default_workers()}; memory: {memory:.0f} GiB; free disk here: {free:.0f} GiB",
    ]
    lines += [f"{name}: {_version(name)}" for name in _PACKAGES]
    lines.append(f"devices for encoders: {', '.join(_describe(d) for d in devices())}")
    lines += _opens_slides()
    lines.append(f"model cache: {_hub_cache()}")
    return lines


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed (pip install 'phenolens[hub]')" if package == "transformers" else "not installed"


def _describe(device: str) -> str:
    if not device.startswith("cuda"):
        return device
    import torch

    known = torch.cuda.get_device_properties(device)
    return f"{device} ({known.name}, {known.total_memory / 2**30:.0f} GiB)"


def _opens_slides() -> list[str]:
    try:
        import openslide
    except (ImportError, OSError) as fault:
        return [f"OpenSlide: does not load ({fault}); reinstall openslide-bin"]
    return [f"OpenSlide library: {openslide.__library_version__}"]


def _hub_cache() -> str:
    from huggingface_hub import constants

    offline = ", offline" if constants.HF_HUB_OFFLINE else ""
    return f"{constants.HF_HUB_CACHE}{offline}"
