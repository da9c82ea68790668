"""The author's own words: which of them say something, and which keys nobody asks for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from phenolens.core.errors import nearest
from phenolens.report.names import Names

_FILLER = frozenset(
    (
        *("na", "nan", "n/a", "none", "nil", "null", "no", "yes", "ok", "done", "x", "xx", "xxx", "todo", "tbd", "tba"),
        *("tbc", "fixme", "pending", "unknown", "unclear", "blank", "empty", "text", "statement", "placeholder"),
        *("not applicable", "not available", "see above", "see below", "see paper", "see manuscript"),
    )
)
_BEGINS = re.compile(r"(?:todo|tbd|tba|tbc|fixme|xxx|to be|to do|fill in|lorem ipsum)\b")
_FRAME = re.compile(r"(?s)^(?:<.*>|\[.*\]|\{.*\})$")
_ADDRESS = re.compile(r"(https?://[^\s;,)\"']+)")


def said(text: str) -> str:
    """The statement without blanks around it; empty where it is blank or filler such as TODO or n/a."""
    text = " ".join(str(text).split())
    plain = text.casefold().strip(" .,:;!?-–—…_*'\"()")
    empty = not re.search(r"\w", plain) or plain in _FILLER or _BEGINS.match(plain) or _FRAME.match(text)
    return "" if empty else text


def fit(text: str, names: Names) -> str:
    """The statement fit to print: with pseudonyms without names and paths; web addresses stay."""
    parts = _ADDRESS.split(text)
    return "".join(part if i % 2 else names.text(part) for i, part in enumerate(parts))


def unasked(given: Iterable[str], known: Mapping[str, str]) -> list[str]:
    """Keys that no item asks for, each with the nearest one."""
    return [f"{key}{nearest(key, known)}" for key in sorted(given) if key not in known]
