"""What a study may ask of the guard: combinations that are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phenolens.sections import SEGMENTATION, SURVIVAL
from phenolens.studyfile import Fault

if TYPE_CHECKING:
    from phenolens.study import Study


def guard_faults(study: Study) -> list[Fault]:
    """Faults of cross-conformal sets where there are no classes, and of groups that nothing would use."""
    guard, kind = study.guard, study.task.kind
    if guard.conformal != "cross":
        found, todo = (
            f"groups {guard.groups} with conformal: {guard.conformal}",
            "set conformal: cross, or remove groups",
        )
        return [(("guard", "groups"), found, "conformal: cross", todo)] if "groups" in guard.model_fields_set else []
    if kind not in (SEGMENTATION, SURVIVAL):
        return []
    found = f"conformal: cross in a study of {kind}"
    todo = "remove it: sets of classes are made where classes are predicted, and the refits would be for nothing"
    return [(("guard", "conformal"), found, "a study that predicts classes", todo)]
