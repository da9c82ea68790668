"""Where the weights of a hub model lie, and how they are read: as tensors only, never as code."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from phenolens.core.errors import FeatureError, WeightsMissingError
from phenolens.features.encoders._hub_networks import Row

_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth")


def read_state(file: Path) -> Mapping[str, Any]:
    """The tensors of a weight file, by name; never runs what stands in it."""
    import pickle

    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if file.suffix == ".safetensors":
            state: Any = load_file(file)
        else:
            state = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, SafetensorError, RuntimeError, EOFError, OSError) as fault:
        raise _unreadable(file, f"a file that cannot be read as tensors ({type(fault).__name__})") from fault
    if not isinstance(state, Mapping) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise _unreadable(file, "something else than tensors by name")
    return state


def _unreadable(file: Path, found: str) -> FeatureError:
    return FeatureError(
        found,
        expected=f"a state dictionary in one of {', '.join(_SUFFIXES)}",
        todo="download the weight file again; a partial download or a pickle with code is refused",
        where=str(file),
    )


def find(name: str, row: Row, given: str | None) -> Path:
    """The weight file of a model: `given` (a file, or a folder that holds it), else the cache, else a download.

    Raises WeightsMissingError, which says which file of which repository to put where.
    """
    if given is not None:
        path = Path(given).expanduser()
        file = path / row.file if path.is_dir() else path
        if not file.is_file():
            raise WeightsMissingError(
                f"no weight file {file}",
                expected=f"the content of {row.file} of https://huggingface.co/{row.hub}",
                todo="correct `weights:` (a file, or a folder that holds it), or leave it out to use the cache",
            )
        return file
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(row.hub, row.file)
    return Path(cached) if isinstance(cached, str) else _download(name, row)


def _download(name: str, row: Row) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        return Path(hf_hub_download(row.hub, row.file))
    except GatedRepoError as fault:
        raise _missing(name, row, gated=True) from fault
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError, OSError) as fault:
        raise _missing(name, row, gated=row.gated) from fault


def _missing(name: str, row: Row, *, gated: bool) -> WeightsMissingError:
    from huggingface_hub.constants import HF_HUB_CACHE

    page = f"https://huggingface.co/{row.hub}"
    access = f"request access at {page} and log in with `hf auth login`; then " if gated else ""
    offline = " (HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE") else ""
    return WeightsMissingError(
        f"no weights for '{name}': {row.file} of {row.hub} is not in {HF_HUB_CACHE} and cannot be downloaded{offline}",
        expected=f"the file {row.file} of {page} (licence: {row.licence})",
        todo=f"{access}on a machine with internet run `hf download {row.hub} {row.file}` and copy the folder"
        f" models--{row.hub.replace('/', '--')} into {HF_HUB_CACHE},"
        f" or copy {row.file} anywhere and set weights: PATH beside {name} in the study file",
    )
