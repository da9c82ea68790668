"""The audit of a study on disk: what it writes, what it says, and when it fails."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from auditdata import cohort

from phenolens.audit.study import Audited, audit_study, known_images, line
from phenolens.core.progress import Progress
from phenolens.core.types import Finding
from phenolens.report.build import build
from phenolens.run import run_study

QUIET = Progress("quiet")
CONFOUNDED = (0.1, 0.9)


def write(folder: Path, **changes: object) -> Path:
    """A study of a feature table: two sites that differ in their patients, and a scanner that is the label."""
    folder.mkdir()
    examples = cohort(60, prevalence=CONFOUNDED, d=6)
    who = [e.patient for e in examples]
    label = [e.targets["type"] for e in examples]
    site = [e.covariates["site"] for e in examples]
    scanner = ["X" if t == "A" else "Y" for t in label]
    people = pd.DataFrame({"patient": who, "site": site, "type": label, "scanner": scanner})
    people.to_csv(folder / "patients.csv", index=False)
    x = np.stack([e.instances()[0] for e in examples])
    table = pd.DataFrame(x, columns=[f"f{i}" for i in range(x.shape[1])])
    table.assign(patient=who).to_csv(folder / "features.csv", index=False)
    content = {"study": "audited", "features": {"table": "features.csv"}, "task": {"target": "type"},
               "models": ["mean_pool", {"forest": {"trees": 20}}], "validation": {"folds": 2},
               "audit": {"acquisition": ["scanner"]},
               **changes}  # fmt: skip
    (folder / "study.yaml").write_text(yaml.safe_dump(content))
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Audited]:
    """A study that was run and audited."""
    folder = write(tmp_path_factory.mktemp("audit") / "study")
    assert run_study(folder, workers=0, progress=QUIET).finished
    return folder, audit_study(folder, permutations=19, workers=0, progress=QUIET)


def test_an_audit_writes_tests_findings_and_drawn_values(finished):
    folder, audited = finished
    made = json.loads((folder / "results" / "audit.json").read_text())
    assert [t["model"] for t in made["permutation"]] == ["mean_pool", "forest"]
    assert made["permutation"][1]["refitted"].startswith("a linear head on the features of each part (logistic)")
    assert all(len(t["null"]["drawn"]) == 19 and len(t["null_run"]["drawn"]) == 20 for t in made["permutation"])
    assert [t["name"] for t in made["tests"]] == [
        "acquisition-shortcut", "missingness-shortcut", "size-alone", "site-confounding",
    ]  # fmt: skip
    assert {"name", "statistic", "p", "p_holm", "what", "who", "inflates", "todo"} <= set(made["tests"][0])
    assert {f["rule"] for f in made["findings"]} == {"acquisition-shortcut", "site-confounding"}
    assert [s["n"] for s in made["sites"]["shares"]] == [30, 30]
    assert audited.failed


def test_a_person_reads_what_who_how_much_and_what_to_do(finished):
    _, audited = finished
    said = next(text for text in audited.lines if "acquisition-shortcut" in text)
    for part in ("carried by scanner", "[P0", "could inflate the macro AUC up to", "to do: compare the classes"):
        assert part in said
    assert any(text == "missingness-shortcut: not tested: no part is missing" for text in audited.lines)


def test_the_report_shows_findings_histogram_and_sites_with_a_reading_each(finished):
    folder, _ = finished
    for pseudonyms in (False, True):
        page = build(folder, pseudonyms=pseudonyms).read_text("utf-8")
        shown = page[page.index('<section id="audit">') : page.index('<section id="settings">')]
        assert shown.count("data:image/svg+xml") == 2
        assert "carried by scanner" in shown
        assert "within a site (what the site alone gives stays in it)" in shown
        assert "knowing the hospital and nothing of the tumour" in shown
        assert ("P001" in shown) is not pseudonyms
    opening = page[: page.index('<section id="cohort">')]
    assert "carried by scanner" in opening


def test_a_signed_off_error_does_not_fail_and_keeps_its_reason():
    finding = Finding(rule="site-confounding", severity="error", what="w", todo="t")
    assert Audited(lines=(), findings=(finding,)).failed
    signed = Finding(rule="site-confounding", severity="error", what="w", todo="t", signed_off="matched later")
    assert not Audited(lines=(), findings=(signed,)).failed


def test_the_command_ends_with_two_where_a_finding_is_an_error(monkeypatch, capsys):
    from phenolens import cli

    finding = Finding(rule="null-run", severity="error", what="w", todo="t")
    for findings, code in (((finding,), 2), ((), 0)):
        monkeypatch.setattr(
            "phenolens.audit.study.audit_study", lambda *_, f=findings, **__: Audited(lines=("said",), findings=f)
        )
        monkeypatch.setattr("phenolens.report.build.build", lambda *_, **__: "report.html")
        monkeypatch.setattr("sys.argv", ["phenolens", "audit", "study", "--quiet"])
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert (end.value.code or 0) == code
        assert "said" in capsys.readouterr().out


def test_a_model_without_p_says_why():
    test = {"model": "cnn3d", "refitted": "", "p": None, "why": "not run: refits on volumes take minutes each"}
    assert line(test) == "cnn3d: no permutation p (not run: refits on volumes take minutes each); no null run"


def test_images_are_known_by_both_tables_and_by_the_size_of_their_files(tmp_path: Path):
    (tmp_path / "a.svs").write_bytes(b"12345")
    (tmp_path / "series").mkdir()
    (tmp_path / "series" / "1.dcm").write_bytes(b"123")
    images = pd.DataFrame({"patient": ["P1", "P2", "P3"], "image": ["a", "b", "c"],
                           "path": [tmp_path / "a.svs", tmp_path / "series", tmp_path / "gone"]})  # fmt: skip
    measured = pd.DataFrame({"patient": ["P1", "P2"], "image": ["a", "b"], "status": ["used", "quarantined"],
                             "mpp": [0.25, 0.5]})  # fmt: skip
    measured.to_csv(tmp_path / "images.csv", index=False)
    known = known_images(images, tmp_path / "images.csv").set_index("image")
    assert known["file_size"].tolist()[:2] == [5, 3]
    assert np.isnan(known.loc["c", "file_size"])
    assert known["mpp"].isna().tolist() == [False, True, True]
