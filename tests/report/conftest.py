"""Pages that several tests read; each is built once."""

from __future__ import annotations

from pathlib import Path

import pytest

from phenolens.report.build import build
from tests.report.reportdata import write_study


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with everything: two models, three sites, leave-one-site-out, holdout, maps and audit."""
    folder = tmp_path_factory.mktemp("full") / "study"
    return write_study(folder, patients=90, also=("leave_one_site_out",), holdout=12)


@pytest.fixture(scope="session")
def page(study: Path) -> str:
    """Its report."""
    return build(study).read_text("utf-8")


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study too small for any AUC, at one site, with one model, neither maps nor audit."""
    folder = tmp_path_factory.mktemp("small") / "study"
    return write_study(folder, patients=14, sites=("Northtown",), models=("mean_pool",), maps=False, audit=False)
