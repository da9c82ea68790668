"""The command line as a user meets it: one readable block, an exit code, nothing lost."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from phenolens import cli
from phenolens.core.errors import CohortError, StoreError
from phenolens.core.store import study_lock
from phenolens.run import run_study
from phenolens.slides import prepare
from tests.small_study import QUIET, write_cohort, write_study

RECIPES = ("crlm-hgp", "sts-subtypes", "stt-phenotypes")
Call = Callable[..., tuple[int, str, str]]
COMMAND = [sys.executable, "-m", "phenolens.cli"]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run the command line in this process: exit code, what it said, what it complained of."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["phenolens", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        said = capsys.readouterr()
        return int(end.value.code or 0), said.out, said.err

    return run


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One patient a class."""
    return write_cohort(tmp_path_factory.mktemp("cohort"), patients=1)


@pytest.fixture
def study(cohort: Path, tmp_path: Path) -> Path:
    """A study over a copy of the cohort."""
    return write_study(Path(shutil.copytree(cohort, tmp_path / "study")), models=["mean_pool"])


def test_an_error_is_one_block_with_found_expected_and_what_to_do(call: Call, tmp_path: Path) -> None:
    code, out, complaint = call("check", str(tmp_path / "nowhere"))
    assert (code, out) == (2, "")
    assert complaint.startswith("phenolens cannot go on (StudyError)\n")
    assert "found:    no folder" in complaint
    assert "to do:    make one with: phenolens new" in complaint
    assert "Traceback" not in complaint


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "argv", ["phenolens", "run", str(tmp_path / "nowhere"), "--debug"])
    with pytest.raises(Exception, match="no folder"):
        cli.main()


@pytest.mark.parametrize("recipe", RECIPES)
def test_an_untouched_template_says_which_rows_to_replace(call: Call, tmp_path: Path, recipe: str) -> None:
    code, out, _ = call("new", recipe, str(tmp_path / "study"))
    assert code == 0
    assert "phenolens check" in out
    code, _, complaint = call("check", str(tmp_path / "study"))
    assert code == 2
    assert "example rows of the template (EXAMPLE-1, EXAMPLE-2)" in complaint
    assert "README.md" in complaint


def test_new_never_writes_over_a_study(call: Call, tmp_path: Path) -> None:
    (tmp_path / "patients.csv").write_text("mine")
    code, _, complaint = call("new", "crlm-hgp", str(tmp_path))
    assert code == 2
    assert "patients.csv already there" in complaint
    assert (tmp_path / "patients.csv").read_text() == "mine"
    assert not (tmp_path / "study.yaml").exists()


def test_an_unknown_recipe_names_the_nearest(call: Call, tmp_path: Path) -> None:
    code, _, complaint = call("new", "crlm-hpg", str(tmp_path / "x"))
    assert code == 2
    assert "did you mean 'crlm-hgp'" in complaint


def test_list_names_what_stands_behind_every_door(call: Call) -> None:
    from phenolens.core.registry import DOORS

    for kind, door in DOORS.items():
        code, out, _ = call("list", kind)
        assert code == 0
        assert all(name in out for name in door.names())
    assert all(recipe in call("list", "recipes")[1] for recipe in RECIPES)
    assert "did you mean 'models'" in call("list", "model")[2]
    assert "phenolens list models" in call("list")[2]


def test_doctor_tells_versions_and_devices(call: Call) -> None:
    code, out, _ = call("doctor")
    assert code == 0
    for word in ("torch", "OpenSlide library", "processors", "devices for encoders"):
        assert word in out


def test_predict_with_a_folder_that_is_no_model_is_refused(call: Call, tmp_path: Path) -> None:
    code, _, complaint = call("predict", str(tmp_path), str(tmp_path / "a.svs"), "--out", str(tmp_path / "out"))
    assert code == 2
    assert "phenolens cannot go on (ModelError)" in complaint


def test_ctrl_c_ends_with_one_line_and_the_next_run_goes_on(tmp_path: Path) -> None:
    study = write_study(write_cohort(tmp_path / "study", patients=4), models=["mean_pool"])
    arguments = [*COMMAND, "run", str(study), "--workers", "1", "--until", "tiles"]
    process = subprocess.Popen(arguments, start_new_session=True, stderr=subprocess.PIPE, text=True)
    prepared = study / "artefacts" / "prepared"
    until = time.monotonic() + 30
    while not list(prepared.rglob("*.json")) and process.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    _, complaint = process.communicate(timeout=30)
    assert process.returncode in (130, -signal.SIGINT), complaint  # a shell tells 130 of both
    assert complaint.rstrip().endswith("the same command goes on from there")
    assert "Traceback" not in complaint
    run_study(study, workers=0, until="tiles", progress=QUIET)
    assert not list(study.rglob("*.part"))


def test_a_full_disk_stops_the_run_and_quarantines_no_slide(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    def no_room(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(prepare, "save_jpeg", no_room)
        with pytest.raises(StoreError, match="a full disk"):
            run_study(study, workers=0, until="tiles", progress=QUIET)
    assert not (study / "results" / "quarantine.csv").exists()
    run_study(study, workers=0, until="tiles", progress=QUIET)
    assert "full disk" not in (study / "results" / "quarantine.csv").read_text()


def test_a_study_in_use_is_refused(study: Path) -> None:
    with study_lock(study), pytest.raises(StoreError, match=r"in use by process \d+"):
        run_study(study, workers=0, until="tiles", progress=QUIET)


def test_a_few_slides_can_be_looked_at_though_no_split_can_be_made(study: Path) -> None:
    write_study(study, validation={"folds": 40})
    assert run_study(study, workers=0, until="tiles", progress=QUIET).said.startswith("tiles")
    with pytest.raises(CohortError, match="no split can be made"):
        run_study(study, workers=0, progress=QUIET)
