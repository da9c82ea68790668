"""Readings of each unit's features: a table of the user's, or scans that are disturbed and measured again.

They reach the models beside the parts of a unit, never among them: a model of stable features asks those of its
training patients what they agree on (`models.stability`), and nothing else reads them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast, get_args

from phenolens.core.errors import FeatureError, ImageError, StudyError
from phenolens.core.types import Example, Finding, Part
from phenolens.features.extract import encoder_identity
from phenolens.features.scans import ScanExtractJob, extract_scans, features_key, stored_source
from phenolens.scans.disturb import Disturbance, Kind
from phenolens.steps import tables
from phenolens.steps.desk import Desk, Ready
from phenolens.steps.states import States

LOST = "not_measured_again"
"""The fact of an image that could not be measured under one of the disturbances: which, and why."""


def disturbances(desk: Desk) -> tuple[Disturbance, ...]:
    """How each scan is disturbed to be measured again; none where the study asks for none."""
    made = []
    for name, dose in desk.study.features.perturbations:
        kind = cast(Kind, name)
        assert kind in get_args(Kind), "the study file is checked"
        made.append(Disturbance.usual(kind) if dose is None else Disturbance(kind=kind, dose=dose))
    return tuple(made)


def measure_again(desk: Desk, states: States) -> None:
    """Features of every usable region under every disturbance, stored by content; what fails is a fact of its image."""
    asked, encoder = disturbances(desk), desk.study.encoder()
    if not asked or encoder is None:
        return
    used = [s for s in states.values() if s.status == "used"]
    jobs = [ScanExtractJob(scan=s.job, prepared=s.prepared, disturb=how) for s in used for how in asked]
    what, shown = "features of disturbed scans", desk.progress
    for outcome in extract_scans(jobs, encoder, desk.scan, desk.root, workers=desk.workers, progress=shown, what=what):
        error, how = outcome.error, outcome.item.disturb
        if error is None:
            continue
        if not isinstance(error, ImageError | FeatureError):
            raise error
        assert how is not None, "every job here is of a disturbance"
        states[outcome.item.scan.image].facts.setdefault(LOST, f"{how.kind} {how.dose:g}: found {error.found}")


def with_readings(desk: Desk, ready: Ready, states: States, made: Sequence[Example]) -> list[Example]:
    """Examples with the readings of their unit, where the study has any.

    Of scans the first reading is the scan as it is, the others are disturbed; a unit one of whose scans could not be
    measured again has none. Raises StudyError where that is so of every unit.
    """
    asked, encoder = disturbances(desk), desk.study.encoder()
    if not asked or encoder is None:
        return tables.with_readings(desk, ready, made)
    identity, makes = encoder_identity(encoder), encoder.create().makes

    def disturbed(part: Part, how: Disturbance) -> Part:
        if not part.present:
            return part
        state = states[part.image]
        key = features_key(identity, ScanExtractJob(scan=state.job, prepared=state.prepared, disturb=how))
        return replace(part, source=stored_source(desk.store, key, makes))

    whole = [e for e in made if not any(p.present and LOST in states[p.image].facts for p in e.parts)]
    if not whole:
        raise _none(states)
    again = {e.unit_id: (e.parts, *(tuple(disturbed(p, how) for p in e.parts) for how in asked)) for e in whole}
    return [replace(e, readings=again.get(e.unit_id, ())) for e in made]


def not_measured_again(states: States) -> list[Finding]:
    """A warning that names the images which say nothing of what is stable, since they could not be measured again."""
    lost = {i: str(s.facts[LOST]) for i, s in sorted(states.items()) if LOST in s.facts}
    if not lost:
        return []
    image, why = next(iter(lost.items()))
    return [
        Finding(
            rule="scan-not-measured-again",
            severity="warning",
            what=f"{len(lost)} images could not be measured when disturbed, and say nothing of which features are "
            f"stable; first {image}: {why}",
            todo=f"nothing, if they are few; {LOST} in results/images.csv names each; else lower the doses of "
            "features.perturb, or leave regions this small out",
            who=tuple(sorted({states[i].job.patient for i in lost})),
            where="features.perturb",
        )
    ]


def _none(states: States) -> StudyError:
    why = next((str(s.facts[LOST]) for s in states.values() if LOST in s.facts), "no unit with features")
    return StudyError(
        f"no unit whose scans could be measured when disturbed ({why})",
        expected="readings of three units or more in the training part of every fold",
        todo="correct features.perturb",
    )
