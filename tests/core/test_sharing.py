"""Arrays between processes in shared memory: the same values, no block left, a message where there is no room."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phenolens.core import sharing
from phenolens.core.compute import stream
from phenolens.core.errors import ImageError

SHARED = Path("/dev/shm")
BIG = 300_000


def _blocks() -> set[str]:
    return {p.name for p in SHARED.glob("phenolens-*")} if SHARED.is_dir() else set()


def _arrays(n: int) -> tuple[np.ndarray[Any, Any], dict[str, Any]]:
    return np.full((BIG,), n, np.uint8), {"more": np.arange(BIG, dtype=np.float32) * n, "name": "é"}


def _read(n: int) -> tuple[np.ndarray[Any, Any], float]:
    if n == 3:
        raise ImageError("three", expected="another number", todo="skip it")
    if n == 7:
        os._exit(9)
    return np.full((BIG,), n, np.uint8), 0.5


def _summing(device: str) -> Callable[[Any], Any]:
    def encode(payload: tuple[np.ndarray[Any, Any], float]) -> tuple[int, float]:
        if payload[0][0] == 5:
            os._exit(9)
        if payload[0][0] == 6:
            raise ImageError("six", expected="another number", todo="skip it")
        return int(payload[0].sum(dtype=np.int64)), payload[1]

    return encode


def _keeping(device: str) -> Callable[[Any], Any]:
    return lambda payload: payload[0][:10]


def test_what_is_opened_equals_what_was_packed_and_lies_in_the_block() -> None:
    parcel = sharing.pack(_arrays(2), "phenolens-test-equal")
    try:
        assert parcel.name is not None
        assert len(parcel.head) < 2000
        same = sharing.apply(lambda v: np.array_equal(v[0], _arrays(2)[0]) and v[1]["name"] == "é", parcel)
        assert same
        assert sharing.apply(lambda v: float(v[1]["more"].max()), parcel) == 2.0 * (BIG - 1)
    finally:
        sharing.discard("phenolens-test-equal")
    with pytest.raises(FileNotFoundError):
        sharing.apply(len, parcel)


def test_a_small_value_travels_in_the_message() -> None:
    parcel = sharing.pack((np.arange(3), 1.5), "phenolens-test-small")
    assert parcel.name is None
    assert sharing.apply(lambda v: (v[0].tolist(), v[1]), parcel) == ([0, 1, 2], 1.5)


def test_a_full_shared_memory_sends_the_value_in_the_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int, start: int, size: int) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(os, "posix_fallocate", full)
    before = _blocks()
    parcel = sharing.pack(_arrays(1), "phenolens-test-full")
    assert parcel.name is None if SHARED.is_dir() else True
    assert _blocks() == before
    assert sharing.apply(lambda v: int(v[0].sum()), parcel) == BIG


def test_a_stream_of_big_arrays_keeps_order_and_leaves_no_block_whatever_dies() -> None:
    before = _blocks()
    outcomes = list(stream(_read, _summing, range(9), workers=2, on=["cpu"]))
    results = [o.result for o in outcomes]
    assert [r for r in results if r] == [(n * BIG, 0.5) for n in (0, 1, 2, 4, 8)]
    assert [outcomes.index(o) for o in outcomes if o.error] == [3, 5, 6, 7]
    assert _blocks() == before


def test_a_result_that_points_into_the_block_is_still_sent_whole() -> None:
    outcomes = list(stream(_read, _keeping, [1, 2, 4], workers=1, on=["cpu"]))
    assert [o.unwrap().tolist() for o in outcomes] == [[n] * 10 for n in (1, 2, 4)]


def test_a_stream_that_is_left_early_leaves_no_block() -> None:
    before = _blocks()
    running = stream(_read, _summing, [1] * 50, workers=2, on=["cpu"])
    next(running)
    running.close()  # type: ignore[attr-defined]
    assert _blocks() == before
