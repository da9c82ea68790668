"""What a study of survival may ask for, and what only such a study may: combinations that are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phenolens.sections import SURVIVAL
from phenolens.studyfile import Fault

if TYPE_CHECKING:
    from phenolens.study import Study

_OWN = ("time", "event", "horizons", "tau")


def survival_faults(study: Study) -> list[Fault]:
    """Faults of the task of a survival study, and of keys for survival in another."""
    task = study.task
    if task.kind != SURVIVAL:
        todo = "set task.kind: survival, or remove it: nothing of it is used"
        return [
            (("task", key), f"{key} in a {task.kind}", "kind: survival", todo)
            for key in _OWN
            if key in task.model_fields_set
        ]
    return [*_follow_up(study), *_times(study), *_of_classes(study)]


def _follow_up(study: Study) -> list[Fault]:
    task, faults = study.task, list[Fault]()
    for key, other, word in (("time", "event", "how long each was followed"), ("event", "time", "1 where it was seen")):
        if getattr(task, key) is None:
            found = f"{other} without {key}" if getattr(task, other) else f"a survival without {key}"
            todo = f"name the column of the patients table: {word}"
            place = ("task", other) if getattr(task, other) else ("task", "kind")
            faults.append((place, found, f"task.{key}", todo))
    if task.time is not None and task.time == task.event:
        faults.append((("task", "event"), f"'{task.time}' as time and as event", "two columns", "name the other one"))
    return faults


def _times(study: Study) -> list[Fault]:
    task, faults = study.task, list[Fault]()
    if not task.horizons:
        found, todo = "a survival without horizons", "name the times to report at: horizons: [365, 1095]"
        faults.append((("task", "kind"), found, "one time or more, in the unit of the follow-up", todo))
    elif min(task.horizons) <= 0:
        found = f"horizons {', '.join(f'{h:g}' for h in task.horizons)}"
        faults.append((("task", "horizons"), found, "times above 0", "correct the list"))
    elif task.tau is not None and task.tau < max(task.horizons):
        found = f"tau {task.tau:g} before the last horizon, {max(task.horizons):g}"
        todo = "raise tau, or remove it: then it is the last horizon"
        faults.append((("task", "tau"), found, "the last horizon or later", todo))
    return faults


def _of_classes(study: Study) -> list[Fault]:
    """Keys that are about classes, or about units other than patients."""
    task, faults = study.task, list[Fault]()
    if task.unit != "patient":
        todo = "remove unit: the images and lesions of a patient share one follow-up and are read together"
        faults.append((("task", "unit"), f"unit {task.unit} of a survival", "patient", todo))
    for key in ("classes", "positive", "threshold"):
        if key in task.model_fields_set:
            todo = f"remove {key}: nothing of it is used"
            faults.append((("task", key), f"{key} of a survival", "no classes", todo))
    if study.readers:
        todo = "remove readers: no call is compared with a follow-up"
        faults.append((("readers",), "readers of a survival", "no readers", todo))
    for key in ("scheme", "also"):
        if "one_patient_per_class" in (study.validation.scheme if key == "scheme" else study.validation.also):
            found = "one_patient_per_class where there are no classes"
            faults.append((("validation", key), found, "another scheme", "choose patient_kfold"))
    return faults
