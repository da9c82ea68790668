"""A network that stayed at guessing on the patients it stops on is named, and only such a one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.small_study import QUIET, write_cohort, write_study

from phenolens.core.progress import Progress
from phenolens.core.registry import Choice
from phenolens.core.types import Split
from phenolens.run import run_study
from phenolens.steps.desk import Desk
from phenolens.steps.learnt import not_learnt
from phenolens.steps.models import Fit
from phenolens.study import Study


def fits(desk: Desk, model: str, *told: dict[str, object]) -> list[Fit]:
    made = []
    for fold, one in enumerate(told):
        key = f"{model}{fold}".encode().hex()[:24].ljust(24, "0")
        with desk.store.write("fits", key, ".safetensors", {"fitted": one}) as part:
            part.write_bytes(b"")
        split = Split(
            scheme="patient_kfold",
            repeat=0,
            fold=fold,
            train=frozenset({"A"}),
            tune=frozenset({"B"}),
            test=frozenset({"C"}),
            seed=0,
        )
        made.append(Fit(model=Choice("model", model), split=split, key=key))
    return made


def epoch(loss: float) -> dict[str, object]:
    return {"kept_epoch": 4, "tune_loss": loss}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    write_study(tmp_path)
    return Desk(study=Study.load(tmp_path), workers=0, progress=Progress("quiet"))


def test_a_network_that_stayed_at_guessing_in_half_of_its_fits_is_named_with_both_numbers(desk: Desk) -> None:
    made = fits(desk, "abmil", epoch(0.694), epoch(0.40), epoch(0.699), epoch(0.50))
    (found,) = not_learnt(desk, made, ("A", "B"))
    assert (found.rule, found.severity, found.where) == ("not-learnt", "warning", "models: abmil")
    assert "in 2 of 4 fits: log loss 0.694 at the least, where guessing has 0.693" in found.what
    assert "lower" in found.todo


@pytest.mark.parametrize(
    "told",
    [
        [epoch(0.60), epoch(0.70), epoch(0.40)],
        [{"tune_loss": [0.7, 0.9]}] * 3,
        [{"epochs": 3}] * 3,
    ],
    ids=["most fits learnt", "a search over penalties", "no tune loss"],
)
def test_others_are_not_named(desk: Desk, told: list[dict[str, object]]) -> None:
    assert not_learnt(desk, fits(desk, "abmil", *told), ("A", "B")) == []


def test_more_classes_make_guessing_worse(desk: Desk) -> None:
    made = fits(desk, "abmil", epoch(1.0), epoch(1.05))
    assert not_learnt(desk, made, ("A", "B", "C")) == []
    assert not_learnt(desk, made, ("A", "B"))


def test_a_run_whose_network_hardly_moves_warns_and_one_that_learns_does_not(tmp_path: Path) -> None:
    write_cohort(tmp_path, patients=6)
    still = {"abmil": {"learning_rate": 1e-9, "epochs": 1}}
    for model, named in ((still, True), ({"abmil": {"epochs": 40, "patience": 40}}, False)):
        write_study(tmp_path, models=[model])
        run_study(tmp_path, workers=0, progress=QUIET, until="models")
        rules = [f["rule"] for f in json.loads((tmp_path / "results" / "findings.json").read_text())]
        assert ("not-learnt" in rules) == named
