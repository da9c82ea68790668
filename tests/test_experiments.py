"""Several studies in one study file: what runs, what is shared, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from phenolens.cli import app
from phenolens.core.errors import LeakError, StudyError
from phenolens.core.progress import Progress
from phenolens.experiments import experiments, merged, only
from phenolens.run import run_experiments, run_study
from phenolens.study import Study
from tests.small_study import write_cohort, write_study

QUIET = Progress("quiet")
ENCODER = '''
"""A lab's own encoder: the mean colour of a tile, times one number."""
from dataclasses import dataclass
from typing import ClassVar

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Colour:
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "colour"
    reads: ClassVar[str] = "slide"
    makes: ClassVar[str] = "bag"
    licence: ClassVar[str] = "Apache-2.0"
    place: ClassVar[str] = "cpu"
    mpp: ClassVar = None
    size_px: ClassVar = None
    names: ClassVar = ("red", "green", "blue")

    architecture: str = "plain"

    def load(self, device):
        def encode(tiles, mpp):
            mean = tiles.mean((1, 2)).astype(np.float32)
            return mean * (0 if self.architecture == "blind" else 1)
        return encode


plugin = Colour
'''
FINE = {"tiles": {"mpp": 0.5}}
COARSE = {"tiles": {"mpp": 1.0, "size_px": 64}}


def write(folder: Path, asked: dict[str, object], **changes: object) -> Path:
    (folder / "colour.py").write_text(ENCODER)
    plain = {"features": {"encoder": "colour.py:Colour"}, "models": ["mean_pool"]}
    return write_study(folder, **{**plain, "experiments": asked, **changes})


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cohort(tmp_path_factory.mktemp("cohort"))


@pytest.fixture(scope="module")
def ran(cohort: Path) -> Path:
    write(cohort, {"fine": FINE, "coarse": COARSE})
    result = CliRunner().invoke(app, ["run", str(cohort), "--workers", "1", "--quiet"])
    assert result.exit_code == 0, result.output
    return cohort


def test_every_experiment_is_a_study_with_results_and_a_report_of_its_own(ran: Path) -> None:
    for name in ("fine", "coarse"):
        folder = ran / "experiments" / name
        assert (folder / "report.html").exists()
        assert (folder / "results" / "estimates.csv").exists()
        assert not (folder / "artefacts").exists()
        study = Study.load(folder)
        assert study.base == ran.resolve()
        assert study.path(study.patients) == (ran / "patients.csv").resolve()
    assert Study.load(ran / "experiments" / "coarse").tiles.spacing == 1.0


def test_patients_keep_their_folds_from_one_experiment_to_the_next(ran: Path) -> None:
    held = [(ran / "experiments" / name / "results" / "splits.csv").read_bytes() for name in ("fine", "coarse")]
    assert held[0] == held[1]


def test_the_report_sets_the_experiments_side_by_side_and_leads_to_each(ran: Path) -> None:
    page = (ran / "report.html").read_text()
    assert 'href="experiments/fine/report.html"' in page
    assert "coarse minus fine" in page
    table = pd.read_csv(ran / "results" / "experiments.csv")
    assert set(table["experiment"]) == {"fine", "coarse"}
    assert {"all", "site=north", "site=south"} == set(table["subgroup"])
    assert "By site" in page
    assert {"accuracy", "macro_precision", "macro_recall"} <= set(table["metric"])
    pairs = pd.read_csv(ran / "results" / "experiments_compared.csv")
    assert set(pairs["model_a"]) == {"coarse"}
    assert (pairs["n_units"] == table["n_patients"].max()).all()


def test_running_again_does_nothing_twice_and_changes_no_byte(ran: Path) -> None:
    made = [p for kind in ("features", "fits", "predictions") for p in (ran / "artefacts" / kind).rglob("*.*")]
    kept = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in made}
    assert len(made) > 20
    tables = {p: p.read_bytes() for p in sorted((ran / "experiments").rglob("*.csv"))}
    result = CliRunner().invoke(app, ["run", str(ran), "--workers", "1", "--quiet"])
    assert result.exit_code == 0, result.output
    assert {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in kept} == kept
    assert {p: p.read_bytes() for p in tables} == tables


def test_one_experiment_can_be_run_alone_and_another_name_is_refused(ran: Path) -> None:
    done = [one.name for one, _ in run_experiments(ran, name="coarse", workers=0, progress=QUIET)]
    assert done == ["coarse"]
    with pytest.raises(StudyError, match="--only coars") as error:
        list(run_experiments(ran, name="coars", workers=0, progress=QUIET))
    assert "coarse" in error.value.todo


def test_only_in_a_study_without_experiments_is_refused() -> None:
    with pytest.raises(StudyError, match="without experiments"):
        only([], "fine")


def test_a_command_for_one_study_names_the_experiments(ran: Path) -> None:
    with pytest.raises(StudyError, match=r"several experiments \(fine, coarse\)"):
        run_study(ran, workers=0, progress=QUIET)


def test_a_fault_within_an_experiment_is_named_with_its_line(cohort: Path, tmp_path: Path) -> None:
    asked = {"fine": FINE, "wrong": {"tiles": {"mp": 1.0}, "models": ["mean_poool"]}}
    folder = tmp_path / "faulty"
    folder.mkdir()
    write(folder, asked)
    lines = (folder / "study.yaml").read_text().splitlines()
    with pytest.raises(StudyError, match="experiment wrong") as error:
        experiments(folder)
    assert str(next(i for i, line in enumerate(lines, 1) if "mp: 1.0" in line)) in str(error.value)


def test_an_experiment_that_comes_later_cannot_be_named(tmp_path: Path) -> None:
    asked = {"second": {"transfer": {"start": "third"}}, "third": {}}
    write(tmp_path, asked)
    with pytest.raises(StudyError, match="experiment third named in second"):
        experiments(tmp_path)


def test_a_list_of_encoders_makes_arms_on_equal_splits(cohort: Path, tmp_path: Path) -> None:
    arms = [{"colour.py:Colour": {"architecture": name}} for name in ("plain", "blind")]
    write(tmp_path, {"compare": {"features": {"encoder": arms}}}, features=None)
    made = experiments(tmp_path)
    assert [(e.name, e.family, e.arm) for e in made] == [
        ("compare-plain", "compare", "plain"),
        ("compare-blind", "compare", "blind"),
    ]
    assert [e.study.features.params for e in made] == [{"architecture": "plain"}, {"architecture": "blind"}]


def test_merging_takes_out_what_is_null_and_keeps_the_rest() -> None:
    assert merged({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"c": None, "e": 4}, "d": None}) == {"a": {"b": 1, "e": 4}}


def test_the_best_encoder_may_not_have_been_chosen_on_the_same_patients(ran: Path) -> None:
    text = yaml.safe_load((ran / "study.yaml").read_text())
    from phenolens.steps import across
    from phenolens.steps.desk import Desk

    made = experiments(ran)
    from dataclasses import replace

    taken = replace(made[1], chosen_from="fine")
    arms = [replace(made[0], arm="plain"), taken]
    with pytest.raises(LeakError, match="on whom its encoder was chosen"):
        across.refuse_chosen_on(Desk(study=taken.study, workers=0, progress=QUIET), taken, arms)
    assert text["experiments"]


def test_an_overview_of_an_edited_result_is_refused(ran: Path) -> None:
    path = ran / "experiments" / "fine" / "results" / "estimates.csv"
    before = path.read_text()
    try:
        path.write_text(before.replace("accuracy", "Accuracy", 1))
        result = CliRunner().invoke(app, ["report", str(ran)])
        assert result.exit_code != 0
    finally:
        path.write_text(before)
    assert json.loads((ran / "results" / "experiments.json").read_text())["waiting"] == []
