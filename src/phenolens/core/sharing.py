"""Big arrays between processes: written once into shared memory, used where they lie, never sent through a pipe.

A value is pickled with its buffers apart (PEP 574); the buffers go into one block of shared memory under a name that
the parent process gave out, so that the parent can free it whatever becomes of the process that wrote or read it. Where
the machine has no room for the block (containers often allow 64 MiB), the value travels in the message instead.
"""

from __future__ import annotations

import errno
import os
import pickle
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any, TypeVar, cast

Result = TypeVar("Result")

_SMALL = 64 * 2**10
_LINE = 64
"""Bytes below which a message is as fast, and the alignment of each buffer in a block."""
_SYSTEM = Path("/dev/shm")


@dataclass(frozen=True, kw_only=True)
class Parcel:
    """A value on its way: its pickle, and its buffers in the block `name` or, where that is None, in `carried`."""

    head: bytes
    sizes: tuple[int, ...] = ()
    name: str | None = None
    carried: tuple[bytearray, ...] = ()


def pack(value: Any, name: str) -> Parcel:
    """The value as a parcel; its buffers are copied into a new block `name`, which replaces one that is there."""
    buffers: list[pickle.PickleBuffer] = []
    head = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    views = [buffer.raw() for buffer in buffers]
    sizes = tuple(view.nbytes for view in views)
    block = _create(name, _places(sizes)[1]) if sum(sizes) >= _SMALL else None
    if block is None:
        return Parcel(head=head, sizes=sizes, carried=tuple(bytearray(view) for view in views))
    for view, start in zip(views, _places(sizes)[0], strict=True):
        _view(block, start, view.nbytes)[:] = view
    block.close()
    return Parcel(head=head, sizes=sizes, name=name)


def apply(function: Callable[[Any], Result], parcel: Parcel) -> Result:
    """`function` of the parcel's value, which lies in the shared block: it may not be kept."""
    if parcel.name is None:
        return function(_value(parcel.head, parcel.carried))
    _LINGERING[:] = [block for block in _LINGERING if not _closed(block)]
    block = SharedMemory(name=parcel.name)
    try:
        starts = _places(parcel.sizes)[0]
        return function(_value(parcel.head, (_view(block, s, n) for s, n in zip(starts, parcel.sizes, strict=True))))
    finally:
        if not _closed(block):
            _LINGERING.append(block)


def discard(name: str) -> None:
    """Free the block `name`, if there is one; a process that still reads it keeps what it sees."""
    with suppress(FileNotFoundError):
        block = SharedMemory(name=name)
        block.close()
        block.unlink()


_LINGERING: list[SharedMemory] = []
"""Blocks that something (a result not yet sent, a traceback) still pointed into; closed before the next is opened."""


def _value(head: bytes, buffers: Iterable[Any]) -> Any:
    return pickle.loads(head, buffers=buffers)  # noqa: S301 (written by a process of this run, never by a file)


def _view(block: SharedMemory, start: int, size: int) -> memoryview:
    return cast(memoryview, block.buf)[start : start + size]


def _closed(block: SharedMemory) -> bool:
    try:
        block.close()
    except BufferError:
        return False
    return True


def _places(sizes: Sequence[int]) -> tuple[list[int], int]:
    """Where each buffer starts, and the bytes in all."""
    starts, end = [], 0
    for size in sizes:
        starts.append(end)
        end += -(-size // _LINE) * _LINE
    return starts, end


def _create(name: str, size: int) -> SharedMemory | None:
    """A block with its memory really there, or None where there is no room: to write into a promise kills a process."""
    discard(name)
    try:
        block = SharedMemory(name=name, create=True, size=size)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.ENOMEM, errno.ENOSYS, errno.EACCES, errno.EMFILE):
            return None
        raise
    if _SYSTEM.is_dir() and not _reserved(_SYSTEM / name, size):
        block.close()
        block.unlink()
        return None
    return block


def _reserved(file: Path, size: int) -> bool:
    handle = os.open(file, os.O_RDWR)
    try:
        os.posix_fallocate(handle, 0, size)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.ENOMEM):
            return False
        raise
    finally:
        os.close(handle)
    return True
