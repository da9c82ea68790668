"""How the kernels are compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """The function as machine code that frees the GIL, kept on disk beside its source or in the user's cache.

    Where neither folder can be written numba refuses to keep it; then it is compiled anew in each process.
    """
    try:
        made: F = njit(cache=True, nogil=True)(function)
    except RuntimeError:
        made = njit(nogil=True)(function)
    return made
