"""Results made elsewhere: overlap, tests on trained patients and pooled scores are named with patient and rule."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from phenolens.audit.elsewhere import Elsewhere, audit_elsewhere
from phenolens.core.errors import ModelError, SplitError


def honest(n: int = 60, folds: int = 5, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Predictions and splits of an honest cross-validation with a tune part."""
    rng = np.random.default_rng(seed)
    patient = np.array([f"P{i:02d}" for i in range(n)])
    label = np.where(np.arange(n) % 2, "mut", "wt")
    fold = np.arange(n) // 2 % folds
    p = 1 / (1 + np.exp(-2 * (rng.normal(size=n) + np.where(label == "mut", 1.0, -1.0))))
    table = pd.DataFrame({"patient": patient, "fold": fold, "truth": label, "p_mut": p, "p_wt": 1 - p})
    rows = []
    for f in range(folds):
        part = np.where(fold == f, "test", np.where((np.arange(n) // 10) % 5 == f, "tune", "train"))
        rows.append(pd.DataFrame({"patient": patient, "fold": f, "part": part}))
    return table, pd.concat(rows, ignore_index=True)


def run(folder: Path, table: pd.DataFrame, splits: pd.DataFrame | None = None, **more: str) -> Elsewhere:
    table.to_csv(folder / "p.csv", index=False)
    if splits is not None:
        splits.to_csv(folder / "s.csv", index=False)
    given = None if splits is None else folder / "s.csv"
    return audit_elsewhere(folder / "p.csv", given, out=folder / "out", **more)  # type: ignore[arg-type]


def rules(made: Elsewhere) -> dict[str, str]:
    return {f.rule: f.severity for f in made.findings}


def test_an_honest_cross_validation_has_no_error_and_no_warning(tmp_path: Path) -> None:
    made = run(tmp_path, *honest())
    assert set(rules(made).values()) <= {"note"}
    assert not made.failed
    kept = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert [f["rule"] for f in kept["findings"]] == [f.rule for f in made.findings]


def test_a_patient_in_train_and_test_of_a_fold_is_an_error_that_names_the_patient(tmp_path: Path) -> None:
    table, splits = honest()
    leak = pd.DataFrame({"patient": ["P03"], "fold": [1], "part": ["train"]})
    made = run(tmp_path, table, pd.concat([splits, leak]))
    (found,) = [f for f in made.findings if f.rule == "patient-in-two-parts"]
    assert found.severity == "error"
    assert found.who == ("P03",)
    assert "1.00" in found.inflates


def test_a_patient_predicted_by_a_model_that_trained_on_them_is_named(tmp_path: Path) -> None:
    table, splits = honest()
    table.loc[table["patient"] == "P04", "fold"] = 0
    made = run(tmp_path, table, splits)
    (found,) = [f for f in made.findings if f.rule == "tested-where-trained"]
    assert found.who == ("P04",)
    assert made.failed


def test_tiles_or_slides_split_over_folds_are_an_error(tmp_path: Path) -> None:
    table, _ = honest()
    second = table[table["patient"] == "P08"].assign(fold=3)
    whole = pd.concat([table, second], ignore_index=True)
    made = run(tmp_path, whole.assign(slide=[f"S{i}" for i in range(len(whole))]))
    (found,) = [f for f in made.findings if f.rule == "patient-in-two-folds"]
    assert found.who == ("P08",)


def test_pooled_scores_of_a_dummy_are_shown_beside_the_mean_over_folds(tmp_path: Path) -> None:
    table, splits = honest()
    rng = np.random.default_rng(1)
    flip = table["fold"].map({0: 0.9, 1: 0.9, 2: 0.1, 3: 0.1, 4: 0.5})
    label = np.where(rng.random(len(table)) < flip, "mut", "wt")
    p = np.clip(flip + rng.normal(0, 0.02, len(table)), 0, 1)
    made = run(tmp_path, table.assign(truth=label, p_mut=p, p_wt=1 - p), splits)
    assert rules(made)["pooling-inflates"] == "warning"


def test_scores_without_folds_and_splits_are_told_what_cannot_be_seen(tmp_path: Path) -> None:
    made = run(tmp_path, honest()[0].drop(columns="fold"))
    assert {"no-splits", "folds-unknown", "not-seen"} <= set(rules(made))
    assert any("0.5" in line or "0.9" in line or "0.8" in line for line in made.lines[1:3])


def test_splits_without_a_tune_part_are_asked_how_training_was_stopped(tmp_path: Path) -> None:
    table, splits = honest()
    made = run(tmp_path, table, splits.assign(part=splits["part"].replace("tune", "train")))
    assert rules(made)["no-tune-part"] == "warning"


def test_the_table_of_stamp_is_read_by_its_own_names(tmp_path: Path) -> None:
    table, _ = honest()
    stamp = pd.DataFrame(
        {
            "PATIENT": table["patient"],
            "KRAS": table["truth"],
            "pred": np.where(table["p_mut"] > 0.5, "mut", "wt"),
            "KRAS_mut": table["p_mut"],
            "KRAS_wt": table["p_wt"],
        }
    )
    made = run(tmp_path, stamp, truth="KRAS")
    assert "patient from PATIENT" in made.lines[0]
    assert (made.estimates["metric"] == "auc").any()


def test_one_score_of_two_classes_is_that_of_the_positive_class(tmp_path: Path) -> None:
    table, _ = honest()
    scored = table[["patient", "fold", "truth"]].assign(score=table["p_mut"])
    made = run(tmp_path, scored, positive="mut")
    auc = made.estimates[(made.estimates["metric"] == "auc") & (made.estimates["subgroup"] == "class=mut")]
    assert auc["value"].iloc[0] > 0.8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"p_mut": 3.0}, "outside 0 to 1"),
        ({"p_wt": 0.9, "p_mut": 0.9}, "sum to 1.8"),
        ({"truth": None}, "no truth for patient P00"),
    ],
)
def test_a_table_that_cannot_be_right_is_refused_with_its_reason(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        run(tmp_path, honest()[0].assign(**change))


def test_a_part_that_is_none_is_refused_with_the_nearest(tmp_path: Path) -> None:
    table, splits = honest()
    with pytest.raises(SplitError, match="did you mean 'test'"):
        run(tmp_path, table, splits.assign(part=splits["part"].replace("test", "tset")))


def test_a_label_that_follows_the_site_and_an_auc_that_sites_carry_are_named(tmp_path: Path) -> None:
    table, splits = honest(n=240)
    rng = np.random.default_rng(2)
    mutated = (table["truth"] == "mut").to_numpy()
    north = np.where(mutated, rng.random(240) < 0.85, rng.random(240) < 0.15)
    p = np.clip(np.where(north, 0.75, 0.25) + rng.normal(0, 0.1, 240), 0.01, 0.99)
    sited = table.assign(site=np.where(north, "north", "south"), p_mut=p, p_wt=1 - p)
    made = run(tmp_path, sited, splits)
    assert {"site-label", "site-carries"} <= set(rules(made))
    (carried,) = [f for f in made.findings if f.rule == "site-carries"]
    assert "within 2 sites" in carried.what
    assert "after Holm's correction" in carried.what


def test_probabilities_that_are_too_extreme_are_named_with_their_slope(tmp_path: Path) -> None:
    table, splits = honest(n=400, seed=3)
    odds = np.log(table["p_mut"] / table["p_wt"])
    p = 1 / (1 + np.exp(-4 * odds))
    made = run(tmp_path, table.assign(p_mut=p, p_wt=1 - p), splits)
    off = [f for f in made.findings if f.rule == "calibration-off"]
    assert any("too extreme" in f.what and "calibration slope" in f.what for f in off)
    tests = json.loads((tmp_path / "out" / "audit.json").read_text())["tests"]
    assert [t["name"] for t in tests] == ["calibration-off"] * 2 + ["pooling-inflates"]
    assert min(t["p_holm"] for t in tests) < 0.05
