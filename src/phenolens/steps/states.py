"""What became of each image of a run."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from phenolens.core.errors import FeatureError, ImageError, PhenolensError


@dataclass
class ImageState:
    """What became of one image (or of one region on it); `job` is that of its kind and has patient, image and path.

    Of one that is left out: the reason, and where the fault is, mostly the path of the image, its annotation or mask.
    """

    job: Any
    site: str
    status: str = "used"
    reason: str = ""
    where: str = ""
    prepared: str = ""
    features: str = ""
    tiles: int = 0
    tiles_used: int = 0
    facts: dict[str, Any] = field(default_factory=dict)

    def stop(self, error: PhenolensError) -> None:
        """Leave the image out with its reason; an error that is not its own (a full disk) ends the run."""
        if not isinstance(error, ImageError | FeatureError):
            raise error
        self.status = "excluded" if getattr(error, "by_rule", False) else "quarantined"
        self.reason = f"found {error.found}; expected {error.expected}; {error.todo}"
        self.where = error.where


States = dict[str, ImageState]


def usable(states: States, needed: Collection[str] = ()) -> frozenset[str]:
    """Patients with at least one image that can be used, and one of each of the `needed` sequences."""
    held: dict[str, set[str]] = {}
    for state in states.values():
        if state.status == "used":
            held.setdefault(state.job.patient, set()).add(str(state.facts.get("sequence")))
    return frozenset(patient for patient, there in held.items() if there.issuperset(needed))
