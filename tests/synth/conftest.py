"""A small synthetic cohort, made once for the tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from phenolens.synth.cohort import Design, design_for, make


@pytest.fixture(scope="session")
def design() -> Design:
    return design_for("sts-subtypes", patients_per_class=2, slide_px=720, seed=3)


@pytest.fixture(scope="session")
def cohort(design: Design, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("synth") / "cohort", design, workers=0)
