"""The content-addressed store: every artefact is written to a temporary name, synced and renamed.

A key is made of the plug-in's name and integer version, parameters, upstream keys and the content fingerprint of the
source; never of a path, a time or a package version. Beside each artefact lies `KEY.json` with what it was made of.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from phenolens.core.errors import ImageError, StoreError

_WHOLE = 64 * 2**20
_PIECE = 2**18
_PIECES = 64


def canonical(content: Any) -> str:
    """JSON with sorted keys and no spaces: equal content gives equal text on every machine."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, default=str)


def key_of(content: Any) -> str:
    """Twenty-four hex digits of the SHA-256 of the canonical content."""
    return hashlib.sha256(canonical(content).encode()).hexdigest()[:24]


def fingerprint(path: Path) -> str:
    """Content fingerprint of a file or a folder, 32 hex digits; never of its path.

    Files up to 64 MiB are read whole; of larger ones the size, both ends and 64 evenly spaced pieces of 256 KiB are. A
    folder is the fingerprints of its files under their relative names, and an .mrxs file includes its companion folder.
    """
    if not path.exists():
        raise ImageError(f"no file {path}", expected="an existing file", todo="correct the path in images.csv")
    digest = hashlib.sha256()
    if path.is_dir():
        for file in sorted(p for p in path.rglob("*") if p.is_file() and not p.name.startswith(".")):
            digest.update(f"{file.relative_to(path).as_posix()}\0{fingerprint(file)}\0".encode())
        return digest.hexdigest()[:32]
    size = path.stat().st_size
    with path.open("rb") as data:
        if size <= _WHOLE:
            while piece := data.read(2**20):
                digest.update(piece)
        else:
            digest.update(str(size).encode())
            for i in range(_PIECES + 2):
                data.seek((size - _PIECE) * i // (_PIECES + 1))
                digest.update(data.read(_PIECE))
    companion = path.with_suffix("")
    if path.suffix.lower() == ".mrxs" and companion.is_dir():
        digest.update(fingerprint(companion).encode())
    return digest.hexdigest()[:32]


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path in the same folder; renamed to `path` when the block ends well, removed when it does not."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        _sync(part)
        part.replace(path)
    except OSError as fault:
        if fault.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreError(
                f"a full disk while writing {path.name}",
                expected="room for the artefacts",
                todo="free space on this disk and run again; nothing finished is lost",
                where=str(path.parent),
            ) from fault
        if fault.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise _forbidden(path, fault) from fault
        raise
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _forbidden(path: Path, fault: OSError) -> StoreError:
    return StoreError(
        f"no right to write {path.name} ({fault.strerror})",
        expected="a study folder that this user may write to",
        todo="change its permissions, or copy the study to a folder of your own",
        where=str(path.parent),
    )


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Write text whole or not at all."""
    with atomic(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write JSON (sorted, indented) whole or not at all."""
    write_text(path, json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False, default=str) + "\n")


class Store:
    """Artefacts of one study under `root`, in one folder a kind."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, kind: str, key: str, suffix: str) -> Path:
        """Where the artefact of this kind and key lies, there or not. `suffix` has its dot."""
        return self.root / kind / key[:2] / f"{key}{suffix}"

    def has(self, kind: str, key: str, suffix: str) -> bool:
        return self.path(kind, key, suffix).exists()

    @contextmanager
    def write(self, kind: str, key: str, suffix: str, provenance: Mapping[str, Any]) -> Iterator[Path]:
        """A temporary path to write the artefact to; provenance is stored beside it first, then it is renamed."""
        final = self.path(kind, key, suffix)
        with atomic(final) as part:
            yield part
            write_json(final.with_suffix(".json") if suffix != ".json" else final.with_suffix(".made.json"), provenance)

    def sweep(self) -> int:
        """Remove what a killed run left half written; returns how many files. Call it under the study's lock."""
        left = list(self.root.rglob(".*.part")) if self.root.exists() else []
        for path in left:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        return len(left)


@contextmanager
def study_lock(folder: Path) -> Iterator[None]:
    """One writer a study; the lock dies with the process that holds it."""
    path = folder / ".lock"
    try:
        opened = path.open("a+")
    except OSError as fault:
        raise _forbidden(path, fault) from fault
    with opened as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as fault:
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise StoreError(
                f"this study is in use by {holder}",
                expected="one run at a time",
                todo="wait for it, or end it, and try again",
                where=str(folder),
            ) from fault
        file.truncate(0)
        file.write(f"process {os.getpid()} on {os.uname().nodename}")
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)
