"""Where work runs: a pool of processes for CPU work, one encoder process a device. Callers never see an executor.

Callers pass picklable functions and items and get outcomes back in the order of the items. The amount under way is
bounded, so memory is. An error a user can act on (PhenolensError) comes back as the item's outcome; so does the death
of a worker (a crash in a decoder, no memory left), after the item was tried once more alone.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection
from types import FrameType
from typing import Any, Generic, TypeVar, cast

from phenolens.core import sharing
from phenolens.core.errors import ImageError, PhenolensError

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Outcome(Generic[Item, Result]):
    """What became of one item: a result, or the error that stopped it."""

    item: Item
    result: Result | None
    error: PhenolensError | None

    def unwrap(self) -> Result:
        """The result; raises the error if there is one."""
        if self.error is not None:
            raise self.error
        return cast(Result, self.result)


def default_workers() -> int:
    """The processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def devices() -> list[str]:
    """The devices for encoders: every CUDA device, else Apple's, else the CPU."""
    import torch

    if torch.cuda.is_available():
        return [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        return ["mps"]
    return ["cpu"]


_INTERRUPTS: list[int] = []
"""Filled by Ctrl-C once `mind_interrupts` was called."""


def mind_interrupts() -> None:
    """Let Ctrl-C end `run_all` whatever becomes of the KeyboardInterrupt it raises.

    It was seen to be lost about once in thirty times (where was not found: none of our own code catches it), and the
    work then went on to its end.
    """
    _INTERRUPTS.clear()

    def note(number: int, frame: FrameType | None) -> None:
        _INTERRUPTS.append(number)
        signal.default_int_handler(number, frame)

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, note)


def _refuse_interrupted() -> None:
    if _INTERRUPTS:
        raise KeyboardInterrupt


@contextmanager
def kept_workers() -> Iterator[None]:
    """While it lasts, the workers of one `run_all` wait for the next of as many: to start them costs seconds a step.

    Not where there is a GPU: a process that has used one holds part of its memory until it ends.
    """
    _HOLDERS.append(None)
    try:
        yield
    finally:
        _HOLDERS.pop()
        while _WAITING and not _HOLDERS:
            _WAITING.popitem()[1].shutdown(wait=False)


def run_all(
    function: Callable[[Item], Result], items: Iterable[Item], *, workers: int | None = None
) -> Generator[Outcome[Item, Result], None, None]:
    """`function` on every item in worker processes; outcomes in the order of the items, at most 2 a worker under way.

    With `workers=0` everything runs in this process, which is what tests and debuggers want.
    """
    count = default_workers() if workers is None else workers
    if count == 0:
        for item in items:
            _refuse_interrupted()
            yield _guarded(function, item)
        return
    pool = _WAITING.pop(count, None) or _pool(count)
    waiting: deque[tuple[Item, Future[Outcome[Item, Result]]]] = deque()
    source = iter(items)
    try:
        while True:
            while len(waiting) < 2 * count:
                try:
                    item = next(source)
                except StopIteration:
                    break
                waiting.append((item, _submit(pool, function, item)))
            if not waiting:
                return
            _refuse_interrupted()
            item, future = waiting.popleft()
            try:
                outcome = future.result()
            except BrokenProcessPool:
                pool.shutdown(wait=False, cancel_futures=True)
                outcome = _alone(function, item)
                pool = _pool(count)
                waiting = deque((i, _submit(pool, function, i)) for i, _ in waiting)
            yield outcome
    finally:
        if waiting or not _kept(pool, count):
            pool.shutdown(wait=bool(waiting), cancel_futures=True)


def stream(
    read: Callable[[Item], Any],
    make_encoder: Callable[[str], Callable[[Any], Result]],
    items: Iterable[Item],
    *,
    workers: int | None = None,
    on: list[str] | None = None,
) -> Iterator[Outcome[Item, Result]]:
    """Read in CPU processes, encode in one process a device; neither waits for the other. Outcomes in item order.

    `make_encoder(device)` runs once in each encoder process and returns the function from what was read to the result.
    What was read reaches it in shared memory: arrays in it must not be kept.
    """
    lanes = [_Lane(make_encoder, place) for place in on or devices()]
    waiting: deque[tuple[_Errand[Item], PhenolensError | None, Any, _Lane]] = deque()
    errands = _Errands(items)
    reading = run_all(_ReadToShare(read), errands, workers=workers)

    def finish() -> Outcome[Item, Result]:
        errand, error, ticket, lane = waiting.popleft()
        done = lane.result(ticket) if error is None else Outcome(None, None, error)
        errands.over(errand)
        return Outcome(errand.item, done.result, done.error)

    try:
        for turn, read_outcome in enumerate(reading):
            lane = lanes[turn % len(lanes)]
            ticket = lane.submit(read_outcome.result) if read_outcome.error is None else None
            waiting.append((read_outcome.item, read_outcome.error, ticket, lane))
            while len(waiting) > 3 * len(lanes):
                yield finish()
        while waiting:
            yield finish()
    finally:
        for lane in lanes:
            lane.pool.shutdown(wait=False, cancel_futures=True)
        reading.close()
        errands.close()


@dataclass(frozen=True)
class _Errand(Generic[Item]):
    """An item to read, and the name of the block of shared memory that what is read goes into."""

    name: str
    item: Item


class _Errands(Generic[Item]):
    """Gives each item its block's name and frees the block when the item is over, or when everything is."""

    def __init__(self, items: Iterable[Item]) -> None:
        self._items = items
        self._open: set[str] = set()

    def __iter__(self) -> Iterator[_Errand[Item]]:
        stem = f"phenolens-{os.getpid()}-{id(self) & 0xFFFFFF:x}"
        for number, item in enumerate(self._items):
            self._open.add(f"{stem}-{number}")
            yield _Errand(f"{stem}-{number}", item)

    def over(self, errand: _Errand[Item]) -> None:
        sharing.discard(errand.name)
        self._open.discard(errand.name)

    def close(self) -> None:
        for name in self._open:
            sharing.discard(name)


@dataclass(frozen=True)
class _ReadToShare(Generic[Item]):
    read: Callable[[Item], Any]

    def __call__(self, errand: _Errand[Item]) -> sharing.Parcel:
        return sharing.pack(self.read(errand.item), errand.name)


class _Lane:
    """One device: its encoder process, started again when it dies."""

    def __init__(self, make_encoder: Callable[[str], Callable[[Any], Any]], device: str) -> None:
        self._start = (make_encoder, device)
        self.pool = _pool(1, _start_encoder, self._start)

    def submit(self, payload: Any) -> tuple[Any, ProcessPoolExecutor, Future[Outcome[Any, Any]]]:
        try:
            return payload, self.pool, self.pool.submit(_encode, payload)
        except BrokenProcessPool:
            self._restart(self.pool)
            return payload, self.pool, self.pool.submit(_encode, payload)

    def result(self, ticket: tuple[Any, ProcessPoolExecutor, Future[Outcome[Any, Any]]]) -> Outcome[Any, Any]:
        """The outcome; a payload on which the process died is tried once more."""
        for _ in range(2):
            payload, pool, future = ticket
            try:
                return future.result()
            except BrokenProcessPool:
                self._restart(pool)
                ticket = self.submit(payload)
        try:
            return ticket[2].result()
        except BrokenProcessPool:
            self._restart(ticket[1])
        error = ImageError(
            f"an encoder process on {self._start[1]} that died on it",
            expected="a batch that the device can encode",
            todo="run again with a smaller batch (features: batch:)",
        )
        return Outcome(None, None, error)

    def _restart(self, broken: ProcessPoolExecutor) -> None:
        if self.pool is broken:
            broken.shutdown(wait=False, cancel_futures=True)
            self.pool = _pool(1, _start_encoder, self._start)


def _guarded(function: Callable[[Item], Result], item: Item) -> Outcome[Item, Result]:
    try:
        return Outcome(item, function(item), None)
    except PhenolensError as error:
        return Outcome(item, None, error)


def _submit(pool: ProcessPoolExecutor, function: Callable[[Item], Result], item: Item) -> Future[Outcome[Item, Result]]:
    """The item's future; where the pool has just lost a worker, one that says so, and the item is tried again."""
    try:
        return pool.submit(_guarded, function, item)
    except BrokenProcessPool as fault:
        lost: Future[Outcome[Item, Result]] = Future()
        lost.set_exception(fault)
        return lost


def _alone(function: Callable[[Item], Result], item: Item) -> Outcome[Item, Result]:
    with _pool(1) as pool:
        try:
            return pool.submit(_guarded, function, item).result()
        except BrokenProcessPool:
            error = ImageError(
                "a worker process that died on it twice",
                expected="a file that can be read in the memory there is",
                todo="open the file with its vendor's viewer; if it is sound, run with fewer --workers",
            )
            return Outcome(item, None, error)


_HOLDERS: list[None] = []
"""One entry for every `kept_workers` that has begun and not ended."""
_WAITING: dict[int, ProcessPoolExecutor] = {}
"""Pools that wait for the next step, by their number of workers."""


def _kept(pool: ProcessPoolExecutor, count: int) -> bool:
    """Whether the pool, which has nothing left to do, now waits for the next step."""
    if not _HOLDERS or count in _WAITING or devices() != ["cpu"]:
        return False
    _WAITING[count] = pool
    return True


def _pool(count: int, start: Callable[..., None] | None = None, arguments: tuple[Any, ...] = ()) -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(count, mp_context=context, initializer=start or _start_worker, initargs=arguments)


def _start_worker() -> None:
    """One thread a worker: the pool itself fills the processors, and sums are the same on every machine.

    Ctrl-C is for the process that started it, which ends its workers; each would else print a traceback of its own.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _end_with_parent()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"


def _end_with_parent() -> None:
    """End this worker when the process that started it is killed: nobody reads what it makes any more."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            connection.wait([parent.sentinel])
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


_ENCODER: list[Callable[[Any], Any]] = []
"""Filled once, by `_start_encoder`, in an encoder process and nowhere else."""


def _start_encoder(make_encoder: Callable[[str], Callable[[Any], Any]], device: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _end_with_parent()
    _ENCODER.append(make_encoder(device))


def _encode(parcel: sharing.Parcel) -> Outcome[Any, Any]:
    try:
        return Outcome(None, sharing.apply(_ENCODER[0], parcel), None)
    except PhenolensError as error:
        return Outcome(None, None, error)
