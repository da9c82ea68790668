"""Work in processes: order, bounds, errors as outcomes, and a dying worker that stops nothing."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from phenolens.core.compute import Outcome, kept_workers, mind_interrupts, run_all, stream
from phenolens.core.errors import ImageError


def _square(n: int) -> int:
    if n == 3:
        raise ImageError("three", expected="another number", todo="skip it")
    time.sleep(0.02 if n == 0 else 0)
    return n * n


def _die_on_two(n: int) -> int:
    if n == 2:
        os._exit(9)
    return n


def _bug(n: int) -> int:
    raise ZeroDivisionError


def _encoder(device: str) -> Callable[[int], str]:
    return lambda n: _encoded(device, n)


def _encoded(device: str, n: int) -> str:
    if n == 4:
        raise ImageError("sixteen", expected="less", todo="skip it")
    return f"{device}:{n}"


def _dying_encoder(device: str) -> Callable[[int], str]:
    return lambda n: os._exit(9) if n == 4 else f"{device}:{n}"  # type: ignore[func-returns-value]


@pytest.mark.parametrize("workers", [0, 2])
def test_outcomes_come_in_the_order_of_the_items_with_errors_beside_results(workers: int) -> None:
    outcomes = list(run_all(_square, range(5), workers=workers))
    assert [o.result for o in outcomes] == [0, 1, 4, None, 16]
    assert outcomes[3].error is not None
    assert outcomes[3].error.found == "three"
    with pytest.raises(ImageError):
        outcomes[3].unwrap()


def test_a_worker_that_dies_costs_only_its_own_item() -> None:
    outcomes = list(run_all(_die_on_two, range(6), workers=2))
    assert [o.result for o in outcomes] == [0, 1, None, 3, 4, 5]
    assert "died" in str(outcomes[2].error)


def _who(_: int) -> int:
    return os.getpid()


def _workers(**keywords: int) -> set[int | None]:
    return {o.result for o in run_all(_who, range(4), **keywords)}


def test_kept_workers_go_on_with_the_next_step_and_end_with_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("phenolens.core.compute.devices", lambda: ["cpu"])
    assert not _workers(workers=1) & _workers(workers=1)
    with kept_workers():
        with kept_workers():
            first = _workers(workers=1)
        assert _workers(workers=1) == first
    (one,) = first
    until(lambda: not alive(int(one or 0)))


def test_kept_workers_that_died_while_they_waited_cost_no_item(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("phenolens.core.compute.devices", lambda: ["cpu"])
    with kept_workers():
        (one,) = _workers(workers=1)
        os.kill(int(one or 0), 9)
        outcomes = list(run_all(_who, range(4), workers=1))
    assert all(o.error is None and o.result != one for o in outcomes)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_interrupt_that_was_lost_on_its_way_ends_the_work_at_the_next_item(
    workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("phenolens.core.compute._INTERRUPTS", [])
    before = signal.getsignal(signal.SIGINT)
    mind_interrupts()
    try:
        done = run_all(_who, range(50), workers=workers)
        next(done)
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            next(done)
    finally:
        signal.signal(signal.SIGINT, before)


def test_no_worker_is_kept_where_there_is_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("phenolens.core.compute.devices", lambda: ["cuda:0"])
    with kept_workers():
        assert not _workers(workers=1) & _workers(workers=1)


def test_a_worker_that_dies_while_the_next_item_is_awaited_costs_only_its_own_item() -> None:
    def source() -> Iterator[int]:
        yield 2
        time.sleep(3)
        yield 4

    assert [o.result for o in run_all(_die_on_two, source(), workers=1)] == [None, 4]


@pytest.mark.skipif(not Path("/proc").exists(), reason="reads the state of a process from /proc")
def test_workers_end_when_the_process_that_started_them_is_killed(tmp_path: Path) -> None:
    code = "from tests.core.test_compute import work_long; work_long(__import__('sys').argv[1])"
    root = Path(__file__).parents[2]
    run = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=root)
    until(lambda: len(list(tmp_path.iterdir())) == 2)
    workers = [int(p.name) for p in tmp_path.iterdir()]
    assert all(alive(worker) for worker in workers)
    run.kill()
    run.wait()
    until(lambda: not any(alive(worker) for worker in workers))


def until(holds: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def work_long(folder: str) -> None:
    list(run_all(partial(_told_and_long, Path(folder)), [1, 2], workers=2))


def _told_and_long(folder: Path, number: int) -> None:
    (folder / str(os.getpid())).touch()
    time.sleep(120)


def test_a_programming_error_is_not_swallowed() -> None:
    with pytest.raises(ZeroDivisionError):
        list(run_all(_bug, [1], workers=1))


def test_items_are_drawn_only_as_fast_as_they_are_worked() -> None:
    drawn = 0

    def source() -> Iterator[int]:
        nonlocal drawn
        for i in range(100):
            drawn += 1
            yield 10 + i

    running = run_all(_square, source(), workers=1)
    next(running)
    assert drawn <= 3
    running.close()  # type: ignore[attr-defined]


def test_reading_and_encoding_keep_order_and_errors_of_both() -> None:
    outcomes: list[Outcome[int, str]] = list(stream(_square, _encoder, range(5), workers=1, on=["cpu"]))
    assert [o.result for o in outcomes] == ["cpu:0", "cpu:1", None, None, "cpu:16"]
    assert [o.error.found for o in outcomes if o.error] == ["sixteen", "three"]


def test_two_devices_share_the_work() -> None:
    outcomes = list(stream(_square, _encoder, [0, 1, 5], workers=1, on=["a", "b"]))
    assert [o.result for o in outcomes] == ["a:0", "b:1", "a:25"]


def test_an_encoder_that_dies_costs_only_its_own_item() -> None:
    outcomes = list(stream(_square, _dying_encoder, [0, 1, 2, 5, 6], workers=1, on=["cpu"]))
    assert [o.result for o in outcomes] == ["cpu:0", "cpu:1", None, "cpu:25", "cpu:36"]
    assert "encoder" in str(outcomes[2].error)
