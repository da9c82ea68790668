"""Faults of the section transfer: models that can take nothing over, and a teacher whom nobody asks."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from phenolens.core.registry import MODELS
from phenolens.studyfile import Fault

if TYPE_CHECKING:
    from phenolens.study import Study

_PARAMETER = {"start": "start", "teacher": "distill"}
"""The parameter by which a model says that it can take this over."""


def transfer_faults(study: Study) -> list[Fault]:
    """What cannot be taken over; of a teacher also models that give its word no weight."""
    faults: list[Fault] = []
    known = MODELS.names()
    choices = [c for c in study.model_choices() if c.name in known or ".py:" in c.name]
    for key, parameter in _PARAMETER.items():
        if getattr(study.transfer, key) is None:
            continue
        for i, choice in enumerate(choices):
            fields = {f.name: f.default for f in dataclasses.fields(MODELS.plugin(choice.name, base=choice.base)[0])}
            if parameter not in fields:
                found = f"transfer.{key} with model '{choice.name}', which takes nothing over"
                faults.append((("transfer", key), found, f"a model with the parameter {parameter}", "choose tile_cnn"))
            elif key == "teacher" and not choice.params.get(parameter, fields[parameter]):
                found = f"a teacher, and model '{choice.name}' with {parameter} 0"
                todo = f"set {parameter}: 0.5, the weight of the teacher's word, or leave the teacher out"
                faults.append((("models", i), found, f"{parameter} above 0", todo))
    return faults
