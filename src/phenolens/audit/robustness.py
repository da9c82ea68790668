"""The robustness of a finished study of slides or scans, written to results/robustness.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from phenolens.audit.study import refuse_changed
from phenolens.cohort import split
from phenolens.core.errors import StudyError
from phenolens.core.progress import Progress
from phenolens.core.store import fingerprint, study_lock, write_json
from phenolens.evaluate.dose import CHANGE, KEPT, TRUE_CLASS
from phenolens.steps.cohort import read_cohort
from phenolens.steps.desk import Desk
from phenolens.steps.robustness import NONE, measure_robustness
from phenolens.study import Study


def audit_robustness(folder: Path | str, *, workers: int | None = None, progress: Progress | None = None) -> list[str]:
    """Put faults on the tiles or scans of test patients in doses and predict again; returns a line a model for people,
    also of those that could not be tested.

    The fingerprint of the predictions is kept beside what was measured, so that a report never shows it beside the
    results of another run. Raises StudyError when the study is not one of slides or scans with an encoder, has not
    been run to its end, or its tables or settings have changed since.
    """
    study = Study.load(folder)
    if study.task.kind != "classification":
        raise StudyError(
            f"a study of {study.task.kind}",
            expected="a study of slides or scans that predicts classes",
            todo="read how well it does in its report; faults are put on images whose classes are predicted",
            where=str(study.folder),
        )
    desk = Desk(study=study, workers=workers, progress=progress or Progress())
    with study_lock(study.base):
        refuse_changed(desk)
        made = measure_robustness(desk, read_cohort(desk), split.read(desk.results / "splits.csv"))
        of = fingerprint(desk.results / "predictions.csv")
        write_json(desk.results / "robustness.json", {**made, "predictions": of})
    models = sorted({row["model"] for row in made["rows"]})
    told = [line(model, [row for row in made["rows"] if row["model"] == model]) for model in models]
    return told + [f"{model}: not tested: {why}" for model, why in made["untested"].items()]


def line(model: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """What one model lost most, in words."""
    clean = next(r for r in rows if r["fault"] == NONE and r["measure"] == TRUE_CLASS)
    worst = min((r for r in rows if r["fault"] != NONE and r["measure"] == CHANGE), key=lambda r: float(r["value"]))
    kept = next(r for r in rows if (r["fault"], r["dose"], r["measure"]) == (worst["fault"], worst["dose"], KEPT))
    return (
        f"{model}: probability of the true class {clean['value']:.3f} on {clean['n_patients']} test patients; it moves "
        f"most under {worst['fault']} {worst['dose']:g} ({worst['unit']}), by {worst['value']:+.3f}, where "
        f"{kept['value']:.0%} keep their predicted class"
    )
