"""What the package promises from outside: names, and that importing it is light."""

from __future__ import annotations

import subprocess
import sys

import phenolens

HEAVY = ("torch", "sklearn", "scipy", "pandas", "SimpleITK", "matplotlib", "numpy")


def test_public_names_are_pinned() -> None:
    assert phenolens.__all__ == [
        "__version__",
        "Bag",
        "Cohort",
        "Example",
        "Frame",
        "PhenolensError",
        "Predictions",
        "Region",
        "Split",
        "Study",
        "SurvivalPredictions",
        "run_study",
    ]
    assert dir(phenolens) == sorted(phenolens.__all__)


def test_every_public_name_loads() -> None:
    for name in phenolens.__all__:
        assert getattr(phenolens, name) is not None
    assert callable(phenolens.run_study)


def loaded_by(code: str) -> set[str]:
    """Top-level modules in sys.modules after `code` has run in a fresh interpreter."""
    show = "import sys; print('\\n'.join(sorted({m.split('.')[0] for m in sys.modules})), file=sys.stderr)"
    program = f"{code}\n{show}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


def test_importing_phenolens_loads_nothing_heavy() -> None:
    assert not loaded_by("import phenolens") & set(HEAVY)


def test_help_loads_nothing_heavy() -> None:
    code = """
import sys
sys.argv = ["phenolens", "--help"]
from phenolens.cli import main
try:
    main()
except SystemExit as done:
    assert done.code in (0, None), done.code
"""
    assert not loaded_by(code) & set(HEAVY)
