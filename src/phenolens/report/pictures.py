"""Pictures and figures as data URIs: made smaller, without metadata, within a budget for the whole page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image as Pillow

STRIP_PX = 56
"""Height of the legend under a contour picture (`slides/contour.py`); the page has one legend for all of them."""
BUDGET = 18 * 2**20
"""Most bytes of embedded pictures; with them a page stays under 25 MB."""


class Album:
    """Embeds pictures of the study folder and counts their bytes.

    `secrets` are names that must not occur in the page; where base64 text spells one by chance, one of its characters
    is written as a percent escape, which data URIs allow.
    """

    def __init__(
        self, folder: Path, secrets: Sequence[str] = (), budget: int | None = None, *, home: Path | None = None
    ) -> None:
        self._folder, self._home = folder.resolve(), (home or folder).resolve()
        self._secrets = [s for s in secrets if s.isascii() and s.isalnum() and len(s) >= 3]
        self._left = BUDGET if budget is None else budget
        self.refused = 0

    def picture(self, relative: str, most_px: int, *, strip: bool = False) -> str:
        """A JPEG data URI of at most `most_px` a side; empty where there is no such picture or no room is left.

        Only .jpg and .png files inside the study (of an experiment: the study it is part of) are opened: no slide, no
        label, no macro image. `strip` cuts off the legend of a contour picture.
        """
        path = (self._folder / relative).resolve()
        known = path.suffix.lower() in (".jpg", ".jpeg", ".png")
        if not relative or not known or not path.is_relative_to(self._home) or not path.is_file():
            return ""
        if self._left <= 0:
            self.refused += 1
            return ""
        data = _jpeg(path, most_px, strip=strip)
        self._left -= len(data) * 4 // 3
        return self._uri("image/jpeg", data)

    def figure(self, svg: bytes) -> str:
        """A data URI of a drawn figure; it may always be shown."""
        return self._uri("image/svg+xml", svg)

    def _uri(self, kind: str, data: bytes) -> str:
        text = base64.b64encode(data).decode("ascii")
        for secret in self._secrets:
            text = text.replace(secret, f"%{ord(secret[0]):02X}{secret[1:]}")
        return f"data:{kind};base64,{text}"


def _jpeg(path: Path, most_px: int, *, strip: bool) -> bytes:
    with Pillow.open(path) as source:
        picture = source.convert("RGB")
    if strip and picture.height > 2 * STRIP_PX:
        picture = picture.crop((0, 0, picture.width, picture.height - STRIP_PX))
    scale = most_px / max(picture.size)
    if scale < 1:
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        picture = picture.resize(size, Pillow.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=80, optimize=True)
    return buffer.getvalue()
