"""One small study from slides to report, and what happens when it is run again, changed, audited and asked."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from phenolens.audit.study import audit_study
from phenolens.core.errors import CohortError, ModelError, PhenolensError, SplitError, StudyError
from phenolens.predict import predict_images
from phenolens.report.build import build
from phenolens.run import check, run_study
from tests.small_study import QUIET, write_cohort, write_study


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study that has run to its end."""
    folder = write_study(write_cohort(tmp_path_factory.mktemp("study")))
    assert run_study(folder, workers=1, progress=QUIET).finished
    return folder


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished study to spoil."""
    return Path(shutil.copytree(finished, tmp_path / "copy"))


def results(folder: Path) -> dict[str, bytes]:
    files = ("splits.csv", "predictions.csv", "estimates.csv", "images.csv", "quarantine.csv", "manifest.json")
    return {name: (folder / "results" / name).read_bytes() for name in files}


def made(folder: Path) -> dict[Path, int]:
    """When each artefact that costs time was written."""
    kinds = ("prepared", "features", "fits", "predictions")
    files = [p for kind in kinds for p in (folder / "artefacts" / kind).rglob("*") if p.is_file()]
    return {p: p.stat().st_mtime_ns for p in files}


def test_every_usable_patient_is_predicted_once_a_model_by_a_model_that_never_saw_them(finished: Path) -> None:
    table = pd.read_csv(finished / "results" / "predictions.csv")
    test = table[table["part"] == "test"]
    assert set(test.groupby(["model", "patient"]).size()) == {1}
    assert test["patient"].nunique() == 12
    splits = pd.read_csv(finished / "results" / "splits.csv")
    for (fold,), rows in test.groupby(["fold"]):
        inside = splits[(splits["fold"] == fold) & (splits["part"] != "test")]
        assert not set(rows["patient"]) & set(inside["patient"])


def test_what_was_planted_is_found_and_named(finished: Path) -> None:
    out = pd.read_csv(finished / "results" / "quarantine.csv").set_index("image")
    planted = json.loads((finished / "truth.json").read_text())["faults"]
    assert planted
    assert {fault["image"] for fault in planted} == set(out.index)
    reasons = " ".join(out["reason"])
    assert "broke off" in reasons
    assert "declare it in the column mpp" in reasons
    assert set(out["status"]) == {"quarantined", "excluded"}


def test_models_weights_maps_and_manifest_are_there(finished: Path) -> None:
    folder = finished / "results"
    for model in ("mean_pool", "abmil"):
        for place in ("final", "0-0", "0-1"):
            assert (folder / "models" / model / place / "weights.safetensors").exists()
            config = json.loads((folder / "models" / model / place / "config.json").read_text())
            assert config["classes"] == ["DDLPS", "LMS", "MPNST", "SS"]
    maps = json.loads((folder / "maps" / "index.json").read_text())
    assert {m["method"] for m in maps} == {"attention", "occlusion"}
    assert all((finished / m["picture"]).exists() and m["tiles"] for m in maps)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert [step["n"] for step in manifest["flow"]][-1] == 12


def test_running_again_changes_no_byte_and_fits_nothing(copy: Path) -> None:
    before, stamps = results(copy), made(copy)
    run_study(copy, workers=1, progress=QUIET)
    assert results(copy) == before
    assert made(copy) == stamps


def test_another_number_of_workers_gives_the_same_bytes(copy: Path) -> None:
    before = results(copy)
    shutil.rmtree(copy / "artefacts")
    shutil.rmtree(copy / "results")
    run_study(copy, workers=2, progress=QUIET)
    assert results(copy) == before


def test_artefacts_lost_or_half_written_are_made_again(copy: Path) -> None:
    before = results(copy)
    lost = sorted((copy / "artefacts" / "features").rglob("*.h5"))[0]
    lost.rename(lost.with_name(f".{lost.name}.123.part"))
    for weights in (copy / "artefacts" / "fits").rglob("*.safetensors"):
        weights.unlink()
    run_study(copy, workers=1, progress=QUIET)
    assert results(copy) == before
    assert not list((copy / "artefacts").rglob("*.part"))


def test_the_report_is_written_and_offline(finished: Path) -> None:
    page = build(finished).read_text("utf-8")
    assert "DDLPS" in page
    assert 'src="http' not in page
    assert 'href="http' not in page


def test_with_pseudonyms_no_id_is_left(copy: Path) -> None:
    page = build(copy, pseudonyms=True).read_text("utf-8")
    images = pd.read_csv(copy / "results" / "images.csv")
    for name in {*images["patient"], *images["image"]}:
        assert name not in page


def test_a_changed_cohort_is_named_and_refused_until_told_what_to_do(copy: Path) -> None:
    table = pd.read_csv(copy / "patients.csv")
    who = table.loc[0, "patient"]
    old = table.loc[0, "subtype"]
    table.loc[0, "subtype"] = next(c for c in table["subtype"] if c != old)
    table.to_csv(copy / "patients.csv", index=False)
    with pytest.raises(CohortError, match=str(who)):
        run_study(copy, workers=1, progress=QUIET)
    run_study(copy, workers=1, until="splits", new_splits=True, progress=QUIET)
    assert (copy / "results-1" / "predictions.csv").exists()


def test_extending_keeps_patients_in_their_folds(copy: Path, tmp_path: Path) -> None:
    before = pd.read_csv(copy / "results" / "splits.csv")
    patients, images = pd.read_csv(copy / "patients.csv"), pd.read_csv(copy / "images.csv")
    donor = pd.read_csv(write_cohort(tmp_path / "other", patients=1, seed=5) / "images.csv").iloc[0]
    where = {c: f"{Path(donor[c]).parent}/NEW{Path(donor[c]).suffix}" for c in ("path", "annotation")}
    for column, place in where.items():
        shutil.copy(tmp_path / "other" / donor[column], copy / place)
    patients.loc[len(patients)] = patients[patients["patient"] == "P002"].iloc[0].to_dict() | {"patient": "PNEW"}
    images.loc[len(images)] = donor.to_dict() | {"patient": "PNEW", "image": "NEW", **where}
    patients.to_csv(copy / "patients.csv", index=False)
    images.to_csv(copy / "images.csv", index=False)
    run_study(copy, workers=1, until="splits", extend=True, progress=QUIET)
    after = pd.read_csv(copy / "results" / "splits.csv")
    kept = after[after["patient"] != "PNEW"]
    key = ["scheme", "repeat", "fold", "patient", "part"]
    merged = before[key].merge(kept[key], how="outer", indicator=True)
    assert set(merged["_merge"]) == {"both"}
    assert "PNEW" in set(after["patient"])


def test_changed_validation_is_refused(copy: Path) -> None:
    write_study(copy, validation={"folds": 3})
    with pytest.raises(SplitError, match="--new-splits"):
        run_study(copy, workers=1, progress=QUIET)


def test_an_audit_of_few_patients_says_why_it_gives_no_p(copy: Path) -> None:
    audited = audit_study(copy, permutations=19, workers=1, progress=QUIET)
    assert "no permutation p (AUC not estimable: 3 patients with" in audited.lines[0]
    assert not audited.failed
    tests = json.loads((copy / "results" / "audit.json").read_text())["permutation"]
    assert [test["p"] for test in tests] == [None, None]
    assert all("10 needed" in test["why"] and test["null_run"]["runs"] == 20 for test in tests)
    assert tests[1]["refitted"] != "abmil"
    assert "permut" in build(copy).read_text("utf-8").lower()


def test_predict_gives_probabilities_and_a_map_for_a_new_slide(finished: Path, tmp_path: Path) -> None:
    model = finished / "results" / "models" / "abmil" / "final"
    done = predict_images(model, [finished / "slides" / "P003-A.svs"], tmp_path / "out", workers=1, progress=QUIET)
    assert done.refused == 0
    row = pd.read_csv(tmp_path / "out" / "predictions.csv").iloc[0]
    assert row[["p_DDLPS", "p_LMS", "p_MPNST", "p_SS"]].sum() == pytest.approx(1, abs=1e-5)
    assert "annotations" in row["notes"]
    assert row["set_90"] == "-"
    assert any("calibration patients at alpha 0.1 (9 needed)" in line for line in done.lines)
    for name in row["maps"].split():
        assert (tmp_path / "out" / name).exists()


def test_nothing_of_an_earlier_setting_is_left_beside_the_results(copy: Path) -> None:
    audit_study(copy, permutations=19, workers=1, progress=QUIET)
    (copy / "results" / ".estimates.csv.123.part").write_text("half")
    (copy / ".holdout_reads.csv.123.part").write_text("half")
    write_study(copy, models=["mean_pool"], seed=7)
    with pytest.raises(StudyError, match="changed since its run"):
        audit_study(copy, permutations=19, workers=1, progress=QUIET)
    run_study(copy, workers=1, until="models", progress=QUIET)
    assert not list(copy.rglob("*.part"))
    assert [p.name for p in (copy / "results" / "models").iterdir()] == ["mean_pool"]
    with pytest.raises(StudyError, match="no manifest.json"):
        build(copy)
    run_study(copy, workers=1, progress=QUIET)
    assert "Not audited: run phenolens audit" in build(copy).read_text("utf-8")


def test_predict_keeps_two_slides_of_one_file_name_apart(finished: Path, tmp_path: Path) -> None:
    slides = []
    for i, name in enumerate(("P003-A.svs", "P004-A.svs")):
        (tmp_path / str(i)).mkdir()
        slides.append(Path(shutil.copy(finished / "slides" / name, tmp_path / str(i) / "slide.svs")))
    model = finished / "results" / "models" / "mean_pool" / "final"
    predict_images(model, slides, tmp_path / "out", workers=1, progress=QUIET)
    made = pd.read_csv(tmp_path / "out" / "predictions.csv")
    assert not set(made["maps"][0].split()) & set(made["maps"][1].split())
    assert (
        "looks like image 'P003-A' of patient 'P003' (similarity 1.00), whom the model was trained" in made["notes"][0]
    )


def test_predict_refuses_what_does_not_fit_and_goes_on(finished: Path, tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (600, 600), (90, 60, 20)).save(tmp_path / "brown.png")
    (tmp_path / "broken.svs").write_text("not a slide")
    model = finished / "results" / "models" / "mean_pool" / "final"
    images = [tmp_path / "broken.svs", tmp_path / "brown.png", finished / "slides" / "P003-A.svs"]
    done = predict_images(model, images, tmp_path / "out", mpp=0.5, workers=1, progress=QUIET)
    assert done.refused == 2
    assert "REFUSED" in done.lines[0]
    assert len(pd.read_csv(tmp_path / "out" / "predictions.csv")) == 3
    slide = finished / "slides" / "P003-A.svs"
    coarse = predict_images(model, [slide], tmp_path / "coarse", mpp=4.0, workers=1, progress=QUIET)
    assert coarse.refused == 1
    assert "mpp" in coarse.lines[0]


def test_predict_refuses_an_encoder_that_is_not_the_one_of_the_model(copy: Path, tmp_path: Path) -> None:
    config = copy / "results" / "models" / "mean_pool" / "final" / "config.json"
    content = json.loads(config.read_text())
    content["context"]["encoder"]["version"] += 1
    config.write_text(json.dumps(content))
    with pytest.raises(ModelError, match="encoder"):
        predict_images(config.parent, [copy / "slides" / "P003-A.svs"], tmp_path / "out", workers=1, progress=QUIET)


def test_check_names_single_files_and_costs_without_writing(copy: Path) -> None:
    shutil.rmtree(copy / "results")
    found = check(copy, workers=1, progress=QUIET)
    assert any(f.rule == "image-unusable" for f in found.findings)
    assert any("of encoding with" in line for line in found.summary)
    assert not (copy / "results").exists()


def test_a_study_by_image_predicts_images_and_splits_patients(tmp_path: Path) -> None:
    folder = write_cohort(tmp_path / "s")
    patients, images = pd.read_csv(folder / "patients.csv"), pd.read_csv(folder / "images.csv")
    images["grade"] = images["patient"].map(dict(zip(patients["patient"], patients["subtype"], strict=True)))
    images.to_csv(folder / "images.csv", index=False)
    write_study(folder, task={"target": "grade", "unit": "image"}, models=["mean_pool"], explain={"slides": 0})
    assert run_study(folder, workers=1, progress=QUIET).finished
    test = pd.read_csv(folder / "results" / "predictions.csv").query("part == 'test'")
    assert len(test) > test["patient"].nunique() == 12
    assert set(test["unit"]) == {"image"}
    assert (test.groupby("patient")["fold"].nunique() == 1).all()


def test_check_says_that_the_weights_of_an_encoder_are_missing(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "empty"))
    write_study(copy, features={"encoder": "uni2-h"})
    (finding,) = [f for f in check(copy, workers=1, progress=QUIET).findings if f.rule == "encoder-unusable"]
    assert finding.severity == "error"
    assert "UNI2-h" in finding.what + finding.todo


def test_an_unknown_step_is_refused(finished: Path) -> None:
    with pytest.raises(PhenolensError, match="did you mean 'features'"):
        run_study(finished, until="feature", progress=QUIET)


def test_a_locked_holdout_is_predicted_once_and_counted_when_read_again(tmp_path: Path) -> None:
    folder = write_cohort(tmp_path / "s", patients=4)
    table = pd.read_csv(folder / "patients.csv")
    table["set"] = ["test" if n else "dev" for n in table.groupby("subtype").cumcount() < 1]
    table.to_csv(folder / "patients.csv", index=False)
    validation = {"folds": 2, "holdout": "set == 'test'"}
    write_study(folder, validation=validation, models=[{"abmil": {"epochs": 2}}], explain={"slides": 0})
    run_study(folder, workers=1, progress=QUIET)
    held = set(table.loc[table["set"] == "test", "patient"])
    predictions = pd.read_csv(folder / "results" / "predictions.csv")
    assert set(predictions.query("scheme == 'holdout' and part == 'test'")["patient"]) <= held
    assert not set(predictions.query("scheme != 'holdout'")["patient"]) & held
    config = json.loads((folder / "results" / "models" / "abmil" / "final" / "config.json").read_text())
    assert not set(config["training_patients"]) & held
    findings = json.loads((folder / "results" / "findings.json").read_text())
    assert not any(f["rule"] == "holdout-read-again" for f in findings)
    write_study(folder, validation=validation, models=[{"abmil": {"epochs": 3}}], explain={"slides": 0})
    run_study(folder, workers=1, progress=QUIET)
    findings = json.loads((folder / "results" / "findings.json").read_text())
    assert any(f["rule"] == "holdout-read-again" for f in findings)
