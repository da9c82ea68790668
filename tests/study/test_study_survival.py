"""What a study of survival may ask for is refused with its line where it cannot be done."""

from __future__ import annotations

from pathlib import Path

import pytest

from phenolens.core.errors import StudyError
from phenolens.study import Study

GOOD = """\
study: gist
features: {table: features.csv}
task: {kind: survival, target: os, time: os_days, event: os_event, horizons: [365, 1095]}
models: [cox]
validation: {folds: 5}
"""


def load(folder: Path, text: str) -> Study:
    (folder / "study.yaml").write_text(text)
    return Study.load(folder)


def test_a_survival_is_read_and_its_task_is_made(tmp_path: Path) -> None:
    study = load(tmp_path, GOOD)
    assert study.survives
    assert study.task.outcome == ("os_days", "os_event")
    assert study.task.horizons == (365, 1095)


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        (", horizons: [365, 1095]", "", 3, "horizons: [365, 1095]"),
        (", event: os_event", "", 3, "time without event"),
        (" time: os_days, event: os_event,", "", 3, "a survival without time"),
        ("event: os_event", "event: os_days", 3, "two columns"),
        ("[365, 1095]", "[0, 365]", 3, "times above 0"),
        ("[365, 1095]", "[365, 1095], tau: 400", 3, "tau 400 before the last horizon, 1095"),
        ("target: os", "target: os, unit: image", 3, "unit image of a survival"),
        ("target: os", "target: os, classes: [a, b]", 3, "classes of a survival"),
        ("target: os", "target: os, threshold: 0.5", 3, "threshold of a survival"),
        ("[cox]", "[logistic]", 4, "model 'logistic', which is for classification, in a study of survival"),
        ("[cox]", "[search]", 4, "model 'search', which is for classification"),
        ("[cox]", "[unet]", 4, "unet"),
        ("{folds: 5}", "{scheme: one_patient_per_class}", 5, "where there are no classes"),
        ("kind: survival,", "", 3, "time in a classification"),
        ("kind: survival", "kind: survivle", 3, "did you mean 'survival'"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_its_line(
    tmp_path: Path, old: str, new: str, line: int, words: str
) -> None:
    with pytest.raises(StudyError) as caught:
        load(tmp_path, GOOD.replace(old, new))
    assert words in str(caught.value)
    assert f":{line}" in str(caught.value) or f"line {line}" in str(caught.value)


def test_a_cox_regression_of_classes_is_refused(tmp_path: Path) -> None:
    text = "study: s\nfeatures: {table: f.csv}\ntask: {target: dx}\nmodels: [cox]\n"
    with pytest.raises(StudyError, match="model 'cox', which is for survival, in a study of classification"):
        load(tmp_path, text)
