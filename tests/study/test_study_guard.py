"""What a study may ask of the guard is refused with its line where it cannot be done."""

from __future__ import annotations

from pathlib import Path

import pytest

from phenolens.core.errors import StudyError
from phenolens.study import Study

CLASSES = """\
study: s
features: {table: features.csv}
task: {target: dx}
models: [logistic]
"""
SURVIVAL = """\
study: s
features: {table: features.csv}
task: {kind: survival, target: os, time: days, event: died, horizons: [365]}
models: [cox]
"""
MASKS = """\
study: s
features: {encoder: volume, size: null, spacing_mm: 2}
task: {kind: segmentation}
models: [unet]
"""


def load(folder: Path, text: str) -> Study:
    (folder / "study.yaml").write_text(text)
    return Study.load(folder)


def test_cross_conformal_sets_are_asked_for_with_their_groups(tmp_path: Path) -> None:
    guard = load(tmp_path, CLASSES + "guard: {conformal: cross}\n").guard
    assert (guard.conformal, guard.groups) == ("cross", 5)
    assert load(tmp_path, CLASSES + "guard: {conformal: cross, groups: 8}\n").guard.groups == 8


@pytest.mark.parametrize(
    ("study", "guard", "words"),
    [
        (SURVIVAL, "{conformal: cross}", "conformal: cross in a study of survival"),
        (MASKS, "{conformal: cross}", "conformal: cross in a study of segmentation"),
        (CLASSES, "{groups: 4}", "groups 4 with conformal: split"),
        (CLASSES, "{conformal: cross, groups: 2}", "guard.groups"),
        (CLASSES, "{conformal: crss}", "guard.conformal"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_its_line(tmp_path: Path, study: str, guard: str, words: str) -> None:
    with pytest.raises(StudyError) as caught:
        load(tmp_path, f"{study}guard: {guard}\n")
    assert words in str(caught.value)
    assert "line 5" in str(caught.value) or ":5" in str(caught.value)
