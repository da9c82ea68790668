"""The fingerprints that a run recorded of its results, against the files that lie there now."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from phenolens.core.errors import StudyError
from phenolens.core.store import fingerprint

_NONE = "no such file"


def refuse_edited(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Stop where a file under results/ is not the one the run wrote.

    Raises:
        StudyError: naming the first such file, its fingerprint and the recorded one. A manifest without fingerprints,
            of an earlier version, is passed; the evidence record says so.
    """
    for name, recorded in sorted(dict(manifest.get("fingerprints") or {}).items()):
        path = folder / "results" / name
        found = fingerprint(path) if path.exists() else _NONE
        if found != recorded:
            again = f"phenolens run {folder} makes the results again from what is stored"
            if name == "splits.csv":
                again = f"put the frozen splits back, or split anew: phenolens run --new-splits {folder}"
            raise StudyError(
                f"{name} with the fingerprint {found}",
                expected=f"{recorded}, as the run recorded it in manifest.json: results are not edited by hand",
                todo=again,
                where=str(path),
            )
