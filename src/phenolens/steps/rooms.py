"""Which room prepares the images of a study: slides, scans, or features that were made elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from phenolens.core.types import Part
from phenolens.steps.desk import Desk, Ready
from phenolens.steps.states import States


class Room(Protocol):
    """The three steps from images to the parts of each unit."""

    def prepare_images(self, desk: Desk, ready: Ready) -> States: ...
    def extract_features(self, desk: Desk, ready: Ready, states: States) -> dict[str, Any]: ...
    def parts_of(self, desk: Desk, ready: Ready, sources: dict[str, Any]) -> Mapping[str, list[Part]]: ...


def room_of(desk: Desk) -> Room:
    """The steps for what the study reads."""
    from phenolens.steps import scans, slides, tables

    rooms: dict[str, Any] = {"slide": slides, "folder": slides, "scan": scans, "table": tables}
    room: Room = rooms[desk.study.reads]
    return room
