"""The store writes whole artefacts or none, under keys that depend on content alone."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phenolens.core.errors import ImageError, StoreError
from phenolens.core.store import Store, atomic, canonical, fingerprint, key_of, study_lock, write_json


@given(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5)))
def test_a_key_does_not_depend_on_the_order_of_the_content(content: dict[str, object]) -> None:
    assert key_of(content) == key_of(dict(reversed(content.items())))


def test_a_key_is_the_same_on_every_machine() -> None:
    # printf '%s' '{"a":[1.5,"\\u00e9"],"b":1}' | sha256sum
    assert key_of({"b": 1, "a": [1.5, "é"]}) == "353ceb5a3856e4ebb575c5b9"
    assert canonical({"b": 1, "a": None}) == '{"a":null,"b":1}'


def test_a_fingerprint_follows_content_and_not_the_path(tmp_path: Path) -> None:
    for name, content in (("a.svs", b"1"), ("b.svs", b"1"), ("c.svs", b"2")):
        (tmp_path / name).write_bytes(content)
    a, b, c = (fingerprint(tmp_path / n) for n in ("a.svs", "b.svs", "c.svs"))
    assert a == b != c


def test_a_large_file_is_sampled_and_its_end_counts(tmp_path: Path) -> None:
    path = tmp_path / "large.svs"
    with path.open("wb") as file:
        file.truncate(65 * 2**20)
    before = fingerprint(path)
    with path.open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"x")
    assert fingerprint(path) != before


def test_a_folder_and_an_mrxs_companion_are_part_of_the_fingerprint(tmp_path: Path) -> None:
    (tmp_path / "s.mrxs").write_bytes(b"head")
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "Data0.dat").write_bytes(b"1")
    slide, folder = fingerprint(tmp_path / "s.mrxs"), fingerprint(tmp_path / "s")
    (tmp_path / "s" / "Data0.dat").write_bytes(b"2")
    assert fingerprint(tmp_path / "s.mrxs") != slide
    assert fingerprint(tmp_path / "s") != folder


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"no file .*gone\.svs"):
        fingerprint(tmp_path / "gone.svs")


def _half(path: Path) -> None:
    with atomic(path) as part:
        part.write_text("half")
        raise RuntimeError("killed here")


def test_an_interrupted_write_leaves_the_old_file_and_no_part(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"old": 1})
    with pytest.raises(RuntimeError, match="killed here"):
        _half(path)
    assert "old" in path.read_text()
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_a_full_disk_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="full disk") as caught, atomic(tmp_path / "x"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert "free space" in caught.value.todo


def test_a_folder_that_may_not_be_written_to_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no right to write x"), atomic(tmp_path / "x"):
        raise OSError(errno.EROFS, "Read-only file system")


def test_the_artefact_appears_after_its_provenance(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.write("features", "ab12", ".h5", {"encoder": "x"}) as part:
        part.write_bytes(b"data")
        assert not store.has("features", "ab12", ".h5")
    assert store.path("features", "ab12", ".h5").read_bytes() == b"data"
    assert store.path("features", "ab12", ".json").exists()


def test_sweep_removes_only_what_a_killed_run_left(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (tmp_path / "features" / "ab").mkdir(parents=True)
    (tmp_path / "features" / "ab" / ".ab12.h5.77.part").write_bytes(b"half")
    (tmp_path / "features" / "ab" / "ab12.h5").write_bytes(b"whole")
    assert store.sweep() == 1
    assert [p.name for p in (tmp_path / "features" / "ab").iterdir()] == ["ab12.h5"]


def test_a_study_in_use_is_refused_and_freed_afterwards(tmp_path: Path) -> None:
    with study_lock(tmp_path), pytest.raises(StoreError, match="in use by process"), study_lock(tmp_path):
        pass
    with study_lock(tmp_path):
        pass
