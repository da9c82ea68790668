"""A study of survival from its tables to estimates, a stored model, an audit and new patients."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from phenolens.audit.study import audit_study
from phenolens.cli import app
from phenolens.core.errors import CohortError
from phenolens.core.predictions import SurvivalPredictions
from phenolens.core.types import Example
from phenolens.models.predict import load_model
from phenolens.predict import predict_images
from phenolens.report.build import build
from phenolens.run import check, run_study, stored_examples
from phenolens.steps.desk import Desk
from phenolens.study import Study
from tests.small_scans import write_scan_study, write_scans
from tests.small_study import QUIET
from tests.small_study import write_cohort as write_slides
from tests.small_study import write_study as write_slide_study
from tests.small_survival import write_cohort, write_study


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with a planted hazard that has run to its end."""
    folder = write_study(write_cohort(tmp_path_factory.mktemp("survival"), patients=150, effect=1.2))
    assert run_study(folder, workers=0, progress=QUIET).finished
    return folder


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished study to spoil."""
    return Path(shutil.copytree(finished, tmp_path / "copy"))


def concordance(folder: Path) -> float:
    table = pd.read_csv(folder / "results" / "estimates.csv")
    return float(table[(table["metric"] == "uno_c") & (table["subgroup"] == "all")]["value"].iloc[0])


def examples_of(folder: Path) -> list[Example]:
    return stored_examples(Desk(study=Study.load(folder), workers=0, progress=QUIET))[1]


def test_a_planted_hazard_is_found(finished: Path) -> None:
    assert 0.68 < concordance(finished) < 0.9
    weights = pd.read_csv(finished / "results" / "coefficients.csv")
    first = weights.iloc[0]
    assert (first["feature"], first["class"]) == ("features/x0", "risk")
    assert first["mean"] > 0


def test_without_a_hazard_nothing_is_found(tmp_path: Path) -> None:
    found = []
    for seed in range(4):
        folder = write_study(write_cohort(tmp_path / str(seed), patients=120, effect=0, seed=seed, features=3))
        run_study(folder, workers=0, until="models", progress=QUIET)
        found.append(concordance(folder))
    assert abs(np.mean(found) - 0.5) < 0.05


def test_the_predictions_are_a_table_of_survival(finished: Path) -> None:
    table = pd.read_csv(finished / "results" / "predictions.csv")
    times = tuple(float(c[2:]) for c in table if c.startswith("s_"))
    assert times[-1] == 1095
    made = SurvivalPredictions(table=table, times=times, horizons=(365, 1095))
    test = made.table[made.table["part"] == "test"]
    assert set(test.groupby("patient").size()) == {1}
    assert len(test) == 150
    assert "truth" not in table
    told = pd.read_csv(finished / "patients.csv").set_index("patient")
    assert (test.set_index("patient")["time"] == told["os_days"].reindex(test["patient"])).all()
    splits = pd.read_csv(finished / "results" / "splits.csv")
    with_it = set(told.index[told["os_event"] == 1])
    events = splits[splits["part"] == "test"].groupby("fold")["patient"].agg(lambda who: len(set(who) & with_it))
    assert events.max() - events.min() <= 1


def test_groups_are_those_of_the_fold_model_which_never_saw_the_patient(finished: Path) -> None:
    table = pd.read_csv(finished / "results" / "predictions.csv").query("part == 'test'")
    examples = {e.unit_id: e for e in examples_of(finished)}
    for fold, rows in table.groupby("fold"):
        stored = load_model(finished / "results" / "models" / "cox" / f"0-{fold}", base=finished)
        assert stored.seen(rows["patient"]) == []
        again = stored.predict([examples[u] for u in rows["unit_id"]])
        np.testing.assert_allclose(again[:, 0], rows["risk"], rtol=1e-12)
        assert [("low", "high")[int(g)] for g in again[:, 1]] == list(rows["group"])


def test_the_manifest_says_what_was_predicted(finished: Path) -> None:
    manifest = json.loads((finished / "results" / "manifest.json").read_text())
    assert manifest["classes"] == ["censored", "event"]
    assert sum(manifest["class_counts"].values()) == 150
    assert manifest["study"]["task"]["horizons"] == [365, 1095]
    assert json.loads((finished / "results" / "maps" / "index.json").read_text()) == []


def test_running_again_changes_no_byte(copy: Path) -> None:
    files = ("splits.csv", "predictions.csv", "estimates.csv", "manifest.json", "coefficients.csv")
    before = {name: (copy / "results" / name).read_bytes() for name in files}
    shutil.rmtree(copy / "artefacts")
    run_study(copy, workers=0, progress=QUIET)
    assert {name: (copy / "results" / name).read_bytes() for name in files} == before


def page_of(folder: Path, *, pseudonyms: bool = False) -> str:
    return build(folder, pseudonyms=pseudonyms).read_text("utf-8")


def test_the_report_reads_without_a_word_of_classes(copy: Path) -> None:
    page = page_of(copy)
    assert "The time to os was predicted for 150 patients from 3 sites, with 1 model." in page
    events = pd.read_csv(copy / "patients.csv")["os_event"].sum()
    assert f"{events} events were seen" in page
    assert f"cox {concordance(copy):.2f} (" in page
    assert "log hazard ratio" in page
    assert "Not audited: run phenolens audit" in page
    for word in ("ROC", "confusion", "macro AUC", "accuracy"):
        assert word not in page
    assert 'src="http' not in page
    assert page == page_of(copy)


def test_the_report_with_pseudonyms_names_no_patient_and_no_site(copy: Path) -> None:
    page = page_of(copy, pseudonyms=True)
    assert "site-A" not in page
    assert not re.findall(r"\bS\d{3}\b", page)


def test_estimates_by_horizon_and_site_are_in_the_report(copy: Path) -> None:
    page = page_of(copy)
    assert "At each horizon" in page
    table = pd.read_csv(copy / "results" / "estimates.csv")
    for part in ("horizon=365", "horizon=1095", "site=site-B"):
        assert table["subgroup"].str.startswith(part).any()
    assert "Survival by risk group" in page
    assert "Kaplan–Meier curves of the risk groups" in page


def test_subgroups_are_told_with_events_on_each_side_and_drawn_in_the_report(tmp_path: Path) -> None:
    folder = write_cohort(tmp_path, patients=150, effect=1.5)
    table = pd.read_csv(folder / "patients.csv")
    table = table.assign(sex=["f", "m", "m"] * 50, scanner=["Old" if i < 12 else "New" for i in range(150)])
    table.to_csv(folder / "patients.csv", index=False)
    x = pd.read_csv(folder / "features.csv")
    x.loc[table["sex"] == "f", "x0"] = np.random.default_rng(1).normal(size=50)
    x.to_csv(folder / "features.csv", index=False)
    write_study(folder, subgroups=["sex", "scanner"])
    assert run_study(folder, workers=0, progress=QUIET).finished
    told = pd.read_csv(folder / "results" / "subgroups.csv").set_index("level")
    assert told.loc["f", "difference"] < -0.1
    assert told.loc["f", "p_holm"] < 0.05
    early = table[(table["os_event"] == 1) & (table["os_days"] <= 1095)].groupby("sex").size()
    assert (told.loc["f", "n_events"], told.loc["f", "rest_events"]) == (early["f"], early["m"])
    assert told.loc["Old", "note"].endswith("(10 needed)")
    page = page_of(folder)
    assert "For sex f Uno&#39;s C is 0." in page
    assert "more than chance explains" in page
    assert "1 subgroup cannot be estimated: fewer than 10 patients with the event." in page
    assert "never as a verdict" in page


def test_a_column_that_orders_the_follow_up_stops_the_study_until_it_is_signed_off(copy: Path) -> None:
    told = pd.read_csv(copy / "patients.csv")["os_days"]
    table = pd.read_csv(copy / "features.csv").assign(late=np.log(told) + np.sin(np.arange(150)) / 20)
    table.to_csv(copy / "features.csv", index=False)
    (found,) = [f for f in check(copy, workers=0, progress=QUIET).findings if f.rule == "column-tells-target"]
    assert found.severity == "error"
    assert "1 column of 9 alone tells the os: late (C 0.9" in found.what
    write_study(copy, sign_offs={"column-tells-target": "measured at the start, by an oracle"})
    (found,) = [f for f in check(copy, workers=0, progress=QUIET).findings if f.rule == "column-tells-target"]
    assert (found.severity, found.signed_off) == ("warning", "measured at the start, by an oracle")


def sized(folder: Path, *, told_by: str) -> Path:
    """A finished study with the volume among its features and the baseline of size; `told_by` moves the hazard."""
    write_cohort(folder, patients=150, effect=1.5)
    table = pd.read_csv(folder / "features.csv").rename(columns={told_by: "volume"})
    table["volume"] = np.exp(table["volume"])
    table.to_csv(folder / "features.csv", index=False)
    write_study(folder, models=["volume_only", "cox"], validation={"folds": 5, "repeats": 2})
    assert run_study(folder, workers=0, progress=QUIET).finished
    return folder


def test_size_alone_stands_beside_the_model_and_is_compared_with_it(tmp_path: Path) -> None:
    page = page_of(sized(tmp_path / "size", told_by="x0"))
    assert "cox minus volume_only" in page
    assert "On these patients no model is shown to do better than volume_only (Uno&#39;s C 0." in page
    page = page_of(sized(tmp_path / "texture", told_by="x1"))
    assert "no model is shown to do better than volume_only" not in page
    card = json.loads((tmp_path / "texture" / "results" / "card.json").read_text())
    assert "Uno's C, cox minus volume_only: 0." in json.dumps(card, ensure_ascii=False)


def test_the_audit_comes_into_the_report(copy: Path) -> None:
    line, nothing, *untested = audit_study(copy, permutations=19, workers=0, progress=QUIET).lines
    assert nothing == "no finding in 2 tests of shortcuts and sites"
    assert [told.partition(":")[0] for told in untested] == ["missingness-shortcut", "size-alone"]
    assert line.startswith("cox: fold-mean of Uno's C 0.")
    assert "null run clean" in line
    (test,) = json.loads((copy / "results" / "audit.json").read_text())["permutation"]
    assert test["observed"] == pytest.approx(concordance(copy), abs=1e-12), "the audit measures as the estimates do"
    page = page_of(copy)
    assert "permutation p 0.050" in page
    assert "shuffled, time and event together" in page
    assert "Could the follow-up be told without looking at the tumour?" in page
    assert "Events by site, and what site and models tell" in page
    for word in ("macro AUC", "labels"):
        assert word not in page[page.index('<section id="audit">') : page.index('<section id="settings">')]


def test_a_scanner_that_is_the_prognosis_and_sites_that_differ_are_found_and_shown(copy: Path) -> None:
    told = pd.read_csv(copy / "features.csv")["x0"] > 0
    table = pd.read_csv(copy / "patients.csv").assign(scanner=np.where(told, "Old", "New"))
    table.to_csv(copy / "patients.csv", index=False)
    write_study(copy, audit={"acquisition": ["scanner"]})
    run_study(copy, workers=0, extend=True, progress=QUIET)
    done = audit_study(copy, permutations=19, workers=0, progress=QUIET)
    (found,) = [f for f in done.findings if f.rule == "acquisition-shortcut"]
    assert "carried by scanner" in found.what
    page = page_of(copy)
    assert "compare patients within one level of scanner" in page
    assert "how the images were made" in page


def test_too_few_events_for_a_concordance_are_said_and_nothing_is_refitted(tmp_path: Path) -> None:
    folder = write_cohort(tmp_path, patients=60)
    table = pd.read_csv(folder / "patients.csv")
    table["os_event"] = [int(i % 8 == 0) for i in range(60)]
    table.to_csv(folder / "patients.csv", index=False)
    write_study(folder)
    run_study(folder, workers=0, progress=QUIET)
    line, shortcuts = audit_study(folder, permutations=19, workers=0, progress=QUIET).lines
    assert line.startswith("cox: no permutation p (Uno's C not estimable: ")
    assert "patients with the event by 1095 (10 needed)); no null run" in line
    assert shortcuts == "shortcuts and sites: not tested, since too few patients have the event"
    assert "Uno&#39;s C not estimable" in page_of(folder)


def test_the_command_line_runs_a_study_of_survival_to_its_report(tmp_path: Path) -> None:
    folder = write_study(write_cohort(tmp_path, patients=60))
    for command in (["check"], ["run", "--workers", "1", "--quiet"], ["report"]):
        said = CliRunner().invoke(app, [*command, str(folder)])
        assert said.exit_code == 0, said.output
    assert (folder / "report.html").exists()


def test_a_changed_time_is_refused_until_told_what_to_do(copy: Path) -> None:
    table = pd.read_csv(copy / "patients.csv")
    table.loc[3, "os_days"] += 100
    table.to_csv(copy / "patients.csv", index=False)
    with pytest.raises(CohortError, match="patient S003: os_days changed"):
        run_study(copy, workers=0, progress=QUIET)
    before = (copy / "results" / "predictions.csv").read_bytes()
    assert run_study(copy, workers=0, extend=True, progress=QUIET).finished
    assert (copy / "results" / "predictions.csv").read_bytes() != before


def test_more_patients_keep_the_old_ones_in_their_folds(copy: Path) -> None:
    before = pd.read_csv(copy / "results" / "splits.csv").query("part == 'test'").set_index("patient")["fold"]
    for name, row in (("patients.csv", {"os_days": 50, "os_event": 1}), ("features.csv", {"x0": 0.5})):
        table = pd.read_csv(copy / name)
        table.loc[len(table)] = table.iloc[0].to_dict() | {"patient": "NEW"} | row
        table.to_csv(copy / name, index=False)
    run_study(copy, workers=0, until="models", extend=True, progress=QUIET)
    after = pd.read_csv(copy / "results" / "splits.csv").query("part == 'test'").set_index("patient")["fold"]
    assert "NEW" in after.index
    assert (after.drop("NEW") == before[after.drop("NEW").index]).all()


def test_the_follow_up_among_the_features_is_refused(copy: Path) -> None:
    table = pd.read_csv(copy / "features.csv").assign(os_days=1.5)
    table.to_csv(copy / "features.csv", index=False)
    with pytest.raises(Exception, match="the label, os_days, among the features"):
        run_study(copy, workers=0, progress=QUIET)


def test_check_speaks_of_events_and_of_patients_without_a_follow_up(tmp_path: Path) -> None:
    folder = write_study(write_cohort(tmp_path, patients=40))
    table = pd.read_csv(folder / "patients.csv").astype({"os_days": object})
    table.loc[[4, 5], "os_days"] = ""
    table.to_csv(folder / "patients.csv", index=False)
    task = {"kind": "survival", "target": "os", "time": "os_days", "event": "os_event", "horizons": [1e6]}
    write_study(folder, task=task)
    told = {f.rule: f for f in check(folder, workers=0, progress=QUIET).findings}
    assert told["patient-without-follow-up"].who == ("S004", "S005")
    assert "beyond the longest follow-up" in told["horizon-beyond-follow-up"].what
    assert "events among 38 patients" in told["events-few"].what
    assert not any("class" in f.what or "label" in f.what for f in told.values())


def test_a_harmonised_study_runs_and_harmonising_by_the_follow_up_is_refused(copy: Path) -> None:
    write_study(copy, models=[{"cox": {"combat": "site", "screen": 4}}])
    run_study(copy, workers=0, until="models", progress=QUIET)
    assert concordance(copy) > 0.65
    write_study(copy, models=[{"cox": {"combat": "os_event"}}])
    with pytest.raises(Exception, match="which is the target"):
        run_study(copy, workers=0, until="models", progress=QUIET)


FOLLOWED = {"kind": "survival", "target": "os", "time": "os_days", "event": "os_event", "horizons": [365, 1095]}


def give_follow_up(folder: Path) -> None:
    """Columns of time and event for every patient of a study: one in four is censored."""
    table = pd.read_csv(folder / "patients.csv")
    draw = np.random.default_rng(0)
    n = len(table)
    table = table.assign(os_days=draw.integers(20, 2000, n), os_event=(np.arange(n) % 4 > 0).astype(int))
    table.to_csv(folder / "patients.csv", index=False)


@pytest.mark.slow
def test_slides_are_read_to_a_report_without_maps_and_a_new_slide_gets_risk_group_and_survival(tmp_path: Path) -> None:
    folder = write_slides(tmp_path / "s", patients=3)
    give_follow_up(folder)
    write_slide_study(folder, task=FOLLOWED, models=["cox"])
    assert run_study(folder, workers=1, progress=QUIET).finished
    manifest = json.loads((folder / "results" / "manifest.json").read_text())
    assert any("no maps are drawn" in note for note in manifest["notes"])
    page = page_of(folder)
    assert "no maps are drawn" in page.lower()
    assert "is the tissue right?" in page
    model = folder / "results" / "models" / "cox" / "final"
    done = predict_images(model, [folder / "slides" / "P003-A.svs"], tmp_path / "out", workers=1, progress=QUIET)
    assert done.refused == 0
    row = pd.read_csv(tmp_path / "out" / "predictions.csv").iloc[0]
    assert row["group"] in ("low", "high")
    assert 1 >= row["s_365"] >= row["s_1095"] >= 0
    assert "predicted" not in row
    assert "risk (survival" in done.lines[0]
    assert not (tmp_path / "out" / "maps").exists()


@pytest.mark.slow
def test_scans_with_missing_sequences_are_read_and_new_patients_get_risk_and_group(tmp_path: Path) -> None:
    folder = write_scans(tmp_path / "s", patients=10)
    give_follow_up(folder)
    write_scan_study(folder, task=FOLLOWED, models=[{"cox": {"missing": "impute"}}])
    assert run_study(folder, workers=1, progress=QUIET).finished
    assert not (folder / "results" / "sequences.csv").exists()
    cases = pd.read_csv(folder / "images.csv").query("patient in ('P04', 'P05')")
    cases = cases.assign(**{c: [str(folder / p) for p in cases[c]] for c in ("path", "mask")})
    cases.drop(columns="image").to_csv(tmp_path / "new.csv", index=False)
    model = folder / "results" / "models" / "cox" / "final"
    done = predict_images(model, [tmp_path / "new.csv"], tmp_path / "out", progress=QUIET)
    rows = pd.read_csv(tmp_path / "out" / "predictions.csv").set_index("patient")
    assert done.refused == 0
    assert list(rows.columns[:4]) == ["risk", "group", "s_365", "s_1095"]
    predicted = load_model(model, base=folder).predict([e for e in examples_of(folder) if e.patient == "P05"])[0]
    assert rows.loc["P05", "risk"] == pytest.approx(predicted[0], abs=1e-5)


def test_sites_left_out_and_a_locked_holdout_are_predicted_too(tmp_path: Path) -> None:
    folder = write_cohort(tmp_path, patients=120, effect=1.2)
    write_study(folder, validation={"folds": 2, "also": ["leave_one_site_out"], "holdout": "site == 'site-C'"})
    assert run_study(folder, workers=0, progress=QUIET).finished
    table = pd.read_csv(folder / "results" / "predictions.csv").query("part == 'test'")
    assert set(table["scheme"]) == {"patient_kfold", "leave_one_site_out", "holdout"}
    assert set(table.query("scheme == 'holdout'")["site"]) == {"site-C"}
