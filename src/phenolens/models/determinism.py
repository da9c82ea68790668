"""Same seed, same bytes: one thread, fixed algorithms and private random numbers while a model computes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_thread() -> Iterator[None]:
    """Linear algebra on one thread, so that sums are taken in one order; the former number is restored."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    with threadpool_limits(limits=1):
        yield


@contextmanager
def fixed_torch(seed: int, device: str = "cpu") -> Iterator[None]:
    """Torch with deterministic algorithms, one thread and random numbers of its own; everything is restored after.

    On CUDA the workspace of cuBLAS is fixed too, which torch asks for; results repeat on one machine, not across.
    """
    import torch

    threads = torch.get_num_threads()
    fixed, warns = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    if device.startswith("cuda"):
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    with torch.random.fork_rng(devices=[torch.device(device)] if device.startswith("cuda") else []):
        torch.manual_seed(seed)
        torch.set_num_threads(1)
        torch.use_deterministic_algorithms(True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(fixed, warn_only=warns)
            torch.set_num_threads(threads)
