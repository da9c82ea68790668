"""The page over all experiments, from tables as they are written."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from phenolens.report.figures_overview import Paid, _apart, speed
from phenolens.report.overview import _compared

HEAD = (
    "experiment,scheme,target,metric,model_a,model_b,difference,low,high,p,p_holm,p_bh,"
    "n_folds,method,note,n_units,left_out"
)
TESTED = "across,one_patient_per_class,subtype,macro_auc,b,a,0.05,-0.1,0.2,0.01,0.02,0.02,5,corrected resampled t,,20,0"
UNTESTED = (
    "across,one_patient_per_class,subtype,macro_auc,c,a,-0.5,,,,,,1,corrected resampled t,no test: too few folds,16,4"
)


def paid(name: str, seconds: float, value: float) -> Paid:
    return Paid(name=name, seconds=seconds, value=value, low=None, high=None)


def test_a_pair_without_a_test_stands_beside_those_with_one_and_says_why(tmp_path: Path) -> None:
    path = tmp_path / "compared.csv"
    path.write_text("\n".join([HEAD, TESTED, UNTESTED, ""]))
    table = _compared(path, [])
    assert table is not None
    told = [[cell.text for cell in row] for row in table.rows]
    assert [row[-1] for row in told] == ["0.020", "–"]
    assert [row[-2] for row in told] == ["0.05", "−0.50"]
    (_, note), *_ = table.told
    assert note == "No test: too few folds; 4 units that only one predicted are left out."


def test_a_table_without_any_test_is_still_a_table(tmp_path: Path) -> None:
    path = tmp_path / "compared.csv"
    path.write_text("\n".join([HEAD, UNTESTED, ""]))
    table = _compared(path, [])
    assert table is not None
    assert len(table.rows) == 1


def test_a_pair_that_is_not_estimable_says_so_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "compared.csv"
    short = " and ".join(f"5 patients {word} {label}" for label in "XYZ" for word in ("with", "without"))
    few = f"across,holdout,subtype,macro_auc,c,a,,,,,,,0,,not estimable: {short} (10 needed),15,0"
    path.write_text("\n".join([HEAD, few, ""]))
    table = _compared(path, ["X", "Y", "Z"])
    assert table is not None
    assert [cell.text for cell in table.rows[0]][-2:] == ["not estimable", "–"]
    ((_, note),) = table.told
    assert note == "Not estimable: too few patients with or without X, Y and Z (10 needed of each)."


def test_names_of_points_side_by_side_are_not_written_over_each_other() -> None:
    made = [paid("a", 0.2, 0.60), paid("b", 0.21, 0.61), paid("c", 0.22, 0.60), paid("d", 20.0, 0.60)]
    heights = _apart(made)
    beside = sorted(heights[:3])
    assert all(high - low >= 0.054 for low, high in pairwise(beside))
    assert heights[1] == pytest.approx(0.61)
    assert heights[3] == pytest.approx(0.60)


def test_the_figure_of_speed_names_every_experiment() -> None:
    drawn = speed([paid("fine", 2.0, 0.8), paid("coarse", 0.1, 0.7)], "accuracy", 0.25).decode()
    assert "<svg" in drawn
    assert drawn == speed([paid("fine", 2.0, 0.8), paid("coarse", 0.1, 0.7)], "accuracy", 0.25).decode()
