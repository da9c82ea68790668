"""Where sequences of the synthetic liver are missing, fusion beats what can be done without it (ten listed cohorts)."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytestmark = pytest.mark.slow
PLACE = Path(__file__).parents[2] / "benchmarks" / "fusion.py"


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fusion_benchmark", PLACE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def areas(benchmark: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> dict[float, list[Any]]:
    """Macro AUC of each model on each listed cohort, with 40% of the sequences missing and with none."""
    keep, names = tmp_path_factory.mktemp("features"), (*benchmark.MODELS_ASKED, benchmark.SINGLE)
    found: dict[float, list[Any]] = {0.4: [], 0.0: []}
    for seed in benchmark.SEEDS:
        held = benchmark.cohort(seed, keep)
        for missing, rows in found.items():
            rows.append(benchmark.areas(held, missing, names))
    return found


def differences(areas: dict[float, list[Any]], missing: float, other: str) -> list[float]:
    return [row["fusion"][0] - row[other][0] for row in areas[missing]]


def test_ten_cohorts_are_listed(benchmark: ModuleType) -> None:
    assert tuple(range(1, 11)) == benchmark.SEEDS


@pytest.mark.parametrize("other", ["imputation", "complete cases"])
def test_with_sequences_missing_fusion_beats(benchmark: ModuleType, areas: dict[float, list[Any]], other: str) -> None:
    _, low, _ = benchmark.interval(differences(areas, 0.4, other))
    assert low > 0


def test_with_none_missing_fusion_is_not_worse_than_concatenation(
    benchmark: ModuleType, areas: dict[float, list[Any]]
) -> None:
    _, low, _ = benchmark.interval(differences(areas, 0.0, "imputation"))
    assert low > -benchmark.NEVER_WORSE
