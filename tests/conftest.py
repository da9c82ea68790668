"""Fixtures shared by all rooms."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_DEFAULT = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real files: PHENOLENS_TEST_DATA, else `shared/data` beside the checkout; skips where neither is."""
    folder = Path(os.environ.get("PHENOLENS_TEST_DATA", _DEFAULT))
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} does not exist; set PHENOLENS_TEST_DATA to run this test")
    return folder
