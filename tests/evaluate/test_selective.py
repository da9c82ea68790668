"""Selective prediction: AUGRC against its closed form, errors per 100, and what shuffled confidence shows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from evaldata import cross_validated, rows, table

from phenolens.evaluate.selective import augrc, risk_coverage, selective

REFERENCE = json.loads((Path(__file__).parent / "reference" / "augrc.json").read_text())


@pytest.mark.parametrize("case", REFERENCE["cases"], ids=lambda c: f"{len(c['wrong'])} units")
def test_augrc_equals_the_closed_form_of_its_paper(case: dict) -> None:
    found = augrc(np.array(case["confidence"]), np.array(case["wrong"], dtype=bool))
    assert found == pytest.approx(case["augrc"], abs=1e-6)


def test_a_hand_computed_area() -> None:
    """Errors at the second and third of four: generalised risks 0, 0, 1/4, 2/4, 2/4 at coverages 0, 1/4, ..., 1."""
    assert augrc(np.array([0.9, 0.8, 0.7, 0.6]), np.array([False, True, True, False])) == pytest.approx(
        (0 + 0.125 + 0.375 + 0.5) / 4
    )


def test_augrc_of_shuffled_confidence_is_half_the_error_rate() -> None:
    rng = np.random.default_rng(0)
    found = [augrc(rng.random(200), np.arange(200) < 60) for _ in range(300)]
    assert np.mean(found) == pytest.approx(0.15, abs=0.003)


def stated(confidence: np.ndarray, wrong: np.ndarray, fold: np.ndarray) -> pd.DataFrame:
    """Two classes with the confidence asked for, wrong where asked."""
    truth = np.arange(len(wrong)) % 2
    called = np.where(wrong, 1 - truth, truth)
    p = np.where(called[:, None] == np.arange(2), confidence[:, None], 1 - confidence[:, None])
    return rows([("A", "B")[t] for t in truth], p, ("A", "B"), fold=fold)


def test_shuffled_confidence_gives_a_flat_selective_risk_within_its_interval() -> None:
    inside, whole = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        wrong = rng.random(200) < 0.3
        fold = np.arange(200) % 5
        predictions = table([stated(rng.uniform(0.55, 0.95, 200), wrong, fold)], ("A", "B"))
        curve = risk_coverage(predictions)
        at = curve[curve["coverage"] >= 0.3]
        inside.append(float(((at["low"] <= 0.3) & (at["high"] >= 0.3)).mean()))
        area = selective(predictions).set_index("measure").loc["augrc"]
        whole.append(area["low"] <= 0.15 <= area["high"])
    assert np.mean(inside) >= 0.90
    assert np.mean(whole) >= 0.90


def test_confidence_that_knows_its_errors_bends_the_curve() -> None:
    rng = np.random.default_rng(1)
    confidence = rng.uniform(0.51, 0.99, 300)
    wrong = rng.random(300) < (1 - confidence)
    predictions = table([stated(confidence, wrong, np.arange(300) % 3)], ("A", "B"))
    told = selective(predictions).set_index("measure")
    assert told.loc["errors_at_50", "high"] < told.loc["errors_at_100", "value"]
    assert told.loc["augrc", "value"] < 0.5 * wrong.mean()
    curve = risk_coverage(predictions).set_index("coverage")
    assert curve["risk"].iloc[-1] == pytest.approx(told.loc["errors_at_100", "value"] / 100)


def test_errors_per_100_count_the_errors_among_the_answers() -> None:
    confidence = np.linspace(0.99, 0.6, 10)
    wrong = np.array([False] * 8 + [True] * 2)
    told = selective(table([stated(confidence, wrong, np.zeros(10, dtype=int))], ("A", "B"))).set_index("measure")
    values = {name: told.loc[name, "value"] for name in told.index}
    assert values["errors_at_100"] == pytest.approx(20)
    assert values["errors_at_90"] == pytest.approx(100 / 9)
    assert values["errors_at_80"] == pytest.approx(0)


def test_folds_are_never_ranked_together() -> None:
    """Each fold ranks its errors last; the second fold's model is surer of everything."""
    wrong = np.array([False, False, False, True] * 2)
    confidence = np.array([0.69, 0.68, 0.67, 0.66, 0.99, 0.98, 0.97, 0.96])
    two = table([stated(confidence, wrong, np.repeat([0, 1], 4))], ("A", "B"))
    told = selective(two).set_index("measure")
    assert told.loc["augrc", "value"] == pytest.approx(augrc(confidence[:4], wrong[:4]))
    assert augrc(confidence, wrong) > told.loc["augrc", "value"]


def test_the_interval_resamples_patients_and_not_images() -> None:
    wrong = np.repeat(np.arange(30) % 3 == 0, 4)
    confidence = np.random.default_rng(0).uniform(0.6, 0.9, 120)
    one = stated(confidence, wrong, np.zeros(120, dtype=int))
    patients = [f"P{i // 4:03d}" for i in range(120)]
    of_patients = table([one.assign(patient=patients, unit="image")], ("A", "B"))
    widths = []
    for given in (of_patients, table([one], ("A", "B"))):
        row = selective(given).set_index("measure").loc["errors_at_100"]
        widths.append(row["high"] - row["low"])
    assert widths[0] > 1.5 * widths[1]


def test_the_order_of_rows_changes_nothing_and_equal_tables_give_equal_numbers() -> None:
    predictions = cross_validated(60, repeats=2)
    turned = table([predictions.table.iloc[::-1]], predictions.classes)
    pd.testing.assert_frame_equal(selective(predictions), selective(turned))
