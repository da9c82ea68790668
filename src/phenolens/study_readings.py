"""Repeated readings of features, and the setting that rests on them: combinations that are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phenolens.core.errors import PhenolensError, nearest
from phenolens.studyfile import Fault

if TYPE_CHECKING:
    from phenolens.study import Study


def reading_faults(study: Study) -> list[Fault]:
    """Faults of `features.repeated`, `features.perturb` and the setting `stable` of models."""
    repeated, perturb = study.features.repeated is not None, bool(study.features.perturb)
    stable = any(choice.params.get("stable") is not None for choice in study.model_choices())
    if repeated and study.features.table is None:
        what = "repeated readings without a table"
        return [(("features", "repeated"), what, "features.table", "name the table of features, or remove it")]
    if perturb:
        return _perturb(study, stable)
    if stable and not repeated:
        what = "a model with stable, without repeated readings"
        todo = "name the table of readings (of scans: how they are disturbed), or leave stable out"
        return [(("models",), what, "features.repeated, or features.perturb of scans", todo)]
    return []


def _perturb(study: Study, stable: bool) -> list[Fault]:
    from phenolens.scans.disturb import DOSES

    place = ("features", "perturb")
    if not _measures_scans(study):
        expected, todo = "an encoder of scans that names features, such as radiomics", "name one, or remove perturb"
        return [(place, "perturb without features that are measured on scans", expected, todo)]
    faults: list[Fault] = []
    known = ", ".join(DOSES)
    asked = study.features.perturbations
    for kind, dose in asked:
        if kind not in DOSES:
            todo = f"correct or remove it{nearest(kind, list(DOSES))}"
            faults.append((place, f"perturb '{kind}'", f"one of {known}", todo))
        elif dose is not None and not 0 < dose < float("inf"):
            faults.append((place, f"perturb {kind}: {dose:g}", "a dose above 0", "correct the dose, or leave it out"))
    if len(set(asked)) < len(asked):
        faults.append((place, "a disturbance twice", "each once, or at another dose", "remove one"))
    if not stable:
        todo = "give a model stable: 0.75, or remove perturb"
        faults.append((place, "perturb, which no model reads", "a model with stable", todo))
    return faults


def _measures_scans(study: Study) -> bool:
    """Whether the encoder makes bags of scans; True where it cannot be told, since its own fault is named then."""
    encoder = study.encoder()
    if encoder is None:
        return False
    try:
        made = encoder.create()
    except PhenolensError:
        return True
    return bool(made.reads == "scan" and made.makes == "bag")
