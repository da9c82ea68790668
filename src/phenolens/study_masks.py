"""What a study of masks may ask for, and a study that reads predicted masks: combinations that are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from phenolens.core.registry import ENCODERS, MODELS
from phenolens.sections import SEGMENTATION
from phenolens.study_outlines import outline_faults
from phenolens.studyfile import Fault

if TYPE_CHECKING:
    from phenolens.study import Study


def mask_faults(study: Study) -> list[Fault]:
    """Faults of a segmentation study, of models that do not fit the task, and of `scan.masks`."""
    faults = _models(study) + _task(study)
    if study.reads == "slide":
        return faults + outline_faults(study)
    if study.task.kind == SEGMENTATION:
        faults += _reading(study)
    elif study.scan.masks is not None and study.task.unit == "lesion":
        found = "predicted masks where lesions are predicted one by one"
        todo = "draw the lesions, or predict by patient or image"
        faults.append((("scan", "masks"), found, "task.unit patient or image", todo))
    return faults


def _models(study: Study) -> list[Fault]:
    faults: list[Fault] = []
    for i, choice in enumerate(study.model_choices()):
        told = getattr(MODELS.plugin(choice.name, base=choice.base)[0], "task", "classification")
        tasks = (told,) if isinstance(told, str) else told
        if study.task.kind not in tasks:
            found = f"model '{choice.name}', which is for {' and '.join(tasks)}, in a study of {study.task.kind}"
            todo = f"set task.kind: {tasks[0]}, or choose another model; see phenolens list models"
            faults.append((("models", i), found, f"a model for {study.task.kind}", todo))
    return faults


def _task(study: Study) -> list[Fault]:
    task, faults = study.task, list[Fault]()
    if task.kind != SEGMENTATION:
        if "tolerance_mm" in task.model_fields_set:
            todo = "remove tolerance_mm: nothing of it is used"
            faults.append((("task", "tolerance_mm"), "tolerance_mm without masks", "kind: segmentation", todo))
        return faults
    if task.unit != "image":
        todo = "remove unit: every image gets its mask, and patients are kept whole in splits and intervals"
        faults.append((("task", "unit"), f"unit {task.unit} of a segmentation", "image", todo))
    if task.classes:
        found, todo = f"classes {list(task.classes)} of a segmentation", "remove classes: nothing of it is used"
        faults.append((("task", "classes"), found, "no classes", todo))
    for key in ("scheme", "also"):
        if "one_patient_per_class" in (study.validation.scheme if key == "scheme" else study.validation.also):
            found = "one_patient_per_class where there are no classes"
            faults.append((("validation", key), found, "another scheme", "choose patient_kfold"))
    return faults


def _reading(study: Study) -> list[Fault]:
    """How the scans are read must not tell the model where the lesion is."""
    faults: list[Fault] = []
    encoder = study.encoder()
    if study.reads != "scan" or encoder is None:
        found = f"a segmentation of {study.reads}s"
        todo = "set features: {encoder: volume, size: null, spacing_mm: 2}, of slides {encoder: pixels, outlines: true}"
        return [(("task", "kind"), found, "scans, read whole by the encoder volume, or slides as tiles", todo)]
    made = encoder.create()
    if ENCODERS.plugin(encoder.name, base=encoder.base)[0].makes != "volume" or getattr(made, "size", None) is not None:
        found = f"features.size {getattr(made, 'size', None)}: a window around the drawn region"
        expected = "size: null, the whole scan, since where the region lies is what is asked"
        faults.append((("features", "size"), found, expected, "set features.size: null"))
    if "tolerance_um" in study.task.model_fields_set:
        todo = "set tolerance_mm, in millimetres"
        faults.append((("task", "tolerance_um"), "tolerance_um of masks on scans", "tolerance_mm", todo))
    if getattr(made, "mask_channel", False):
        found, todo = "the drawn mask as a channel of what the model reads", "remove mask_channel"
        faults.append((("features", "mask_channel"), found, "mask_channel: false", todo))
    asked: dict[tuple[str, ...], dict[str, Any]] = {("intensity",): study.scan.intensity}
    asked |= {("intensity_of", name): given for name, given in study.scan.intensity_of.items()}
    for place, given in asked.items():
        if given.get("over") == "lesion":
            found = "intensities scaled by the drawn lesion"
            todo = "set over: body, or scale: none with a window"
            faults.append((("scan", *place, "over"), found, "nothing that is not known of a new scan", todo))
    if study.scan.masks is not None:
        found, todo = (
            "predicted masks as the truth of a segmentation",
            "remove scan.masks: draw the masks to learn from",
        )
        faults.append((("scan", "masks"), found, "drawn masks", todo))
    return faults
