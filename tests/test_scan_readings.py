"""Scans that phenolens disturbs and measures again: what follows the noise is dropped, in the fold, and only there."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from phenolens.cohort import split
from phenolens.core.errors import ModelError, StudyError
from phenolens.core.types import Bag, BagSource, Example, Loaded, Part
from phenolens.models.fit import Fold, run_fold
from phenolens.models.zoo.logistic import Logistic
from phenolens.report.build import build
from phenolens.run import check, run_study, stored_examples
from phenolens.steps.desk import Desk
from phenolens.study import Study
from phenolens.tasks.classification import Classification
from tests.small_encoder import write_encoder
from tests.small_scans import SEQUENCES, SHAPE, save, write_scan_study, write_scans
from tests.small_study import QUIET

PERTURB = ["rotation", {"contour": 0.5}, {"noise": 1.0}]
STABLE = {"logistic": {"missing": "impute", "stable": 0.75}}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_scans(tmp_path_factory.mktemp("disturbed"), patients=10, rough=0.0)
    features = {"encoder": write_encoder(folder), "perturb": PERTURB}
    write_scan_study(folder, features=features, models=[STABLE], scan={"sequences": list(SEQUENCES)})
    assert run_study(folder, workers=0, progress=QUIET).finished
    return folder


def told(folder: Path) -> list[dict]:  # type: ignore[type-arg]
    configs = sorted((folder / "results" / "models" / "logistic").glob("*/config.json"))
    return [json.loads(c.read_text("utf-8"))["fitted"]["table"] for c in configs]


def test_in_every_fold_roughness_is_dropped_since_noise_moves_it_and_volume_is_kept(finished: Path) -> None:
    fits = told(finished)
    assert len(fits) == 4
    for table in fits:
        assert (table["parts"], table["features"]) == (["T1", "T2"], ["volume", "mean", "roughness"])
        assert {0, 3} <= set(table["kept"])
        assert {2, 5}.isdisjoint(table["kept"])
        made = table["stable"]
        assert (made["readings"], made["of"], made["kept"]) == (1 + len(PERTURB), 6, len(table["kept"]))
        assert made["low"][0] > 0.75 > made["low"][2]


def test_readings_lie_beside_the_units_features_and_never_among_them(finished: Path) -> None:
    desk = Desk(study=Study.load(finished), workers=0, progress=QUIET)
    _, made = stored_examples(desk)
    for example in made:
        assert len(example.parts) == len(SEQUENCES)
        assert all(len(bag.x) == 1 for bag in example.bags())
        assert len(example.readings) == 1 + len(PERTURB)
        assert example.readings[0] == example.parts
        recipes = {p.load().recipe for r in example.readings for p in r if p.present}  # type: ignore[union-attr]
        assert len(recipes) == (1 + len(PERTURB)) * len(example.bags())


def absurd(part: Part, rng: np.random.Generator) -> Part:
    bag = part.load()
    if bag is None:
        return part
    x = (1e9 * rng.normal(size=bag.x.shape)).astype(np.float32)
    source: BagSource = Loaded(bag=Bag(**{**vars(bag), "x": x}))
    return replace(part, source=source)


def test_absurd_readings_of_test_and_tune_patients_change_nothing_fitted(finished: Path) -> None:
    desk = Desk(study=Study.load(finished), workers=0, progress=QUIET)
    ready, made = stored_examples(desk)
    first = split.read(finished / "results" / "splits.csv")[0]

    def fold(examples: list[Example]) -> Fold:
        model, task = Logistic(**STABLE["logistic"]), Classification(target="kind", classes=ready.classes)  # type: ignore[arg-type]
        return run_fold(model, task, first, examples, seed=0, name="logistic")

    def spoil(examples: list[Example], who: frozenset[str]) -> list[Example]:
        rng = np.random.default_rng(0)
        again = {e.unit_id: tuple(tuple(absurd(p, rng) for p in r) for r in e.readings) for e in examples}
        return [replace(e, readings=again[e.unit_id]) if e.patient in who else e for e in examples]

    before, after = fold(made), fold(spoil(made, first.test | first.tune))
    assert json.dumps(after.fitted.config()) == json.dumps(before.fitted.config())
    for name, weights in before.fitted.weights().items():
        assert after.fitted.weights()[name].tobytes() == weights.tobytes()
    pd.testing.assert_frame_equal(after.table, before.table)
    with pytest.raises(ModelError, match="no feature of 6 that repeated readings agree on"):
        fold(spoil(made, frozenset(sorted(first.train)[:3])))


def test_the_report_says_how_many_features_are_stable_and_which_are_not(finished: Path) -> None:
    page = build(finished).read_text("utf-8")
    part = page[page.index("Stable features of logistic") :]
    assert "of 6 features are kept in a fold" in part
    assert "read as they are and after rotation, contour and noise" in part
    assert part.index("T1/volume") < part.index("among the worst") < part.index("T1/roughness")


def test_running_again_measures_nothing_and_gives_the_same_bytes(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = ("predictions.csv", "estimates.csv", "images.csv", "findings.json")
    before = {f: (finished / "results" / f).read_bytes() for f in files}
    monkeypatch.setattr("phenolens.features.scans.open_scan", None)
    assert run_study(finished, workers=0, progress=QUIET).finished
    assert {f: (finished / "results" / f).read_bytes() for f in files} == before


def test_a_scan_that_cannot_be_disturbed_is_named_and_its_unit_says_nothing(tmp_path: Path) -> None:
    folder = write_scans(tmp_path, patients=6, rough=0.0, missing=0.0)
    ramp = np.broadcast_to(np.arange(SHAPE[2], dtype=np.float32), SHAPE)
    save(ramp, folder / "scans" / "P05" / "T2.nii.gz")
    features = {"encoder": write_encoder(folder), "perturb": ["noise"]}
    write_scan_study(
        folder, features=features, models=[STABLE], scan={"sequences": list(SEQUENCES)}, validation={"folds": 2}
    )
    assert run_study(folder, workers=0, progress=QUIET).finished
    found = json.loads((folder / "results" / "findings.json").read_text())
    (one,) = (f for f in found if f["rule"] == "scan-not-measured-again")
    assert one["who"] == ["P05"]
    assert "noise 1: found noise of 0" in one["what"]
    images = pd.read_csv(folder / "results" / "images.csv").set_index("image")
    assert images["not_measured_again"].notna().sum() == 1
    _, made = stored_examples(Desk(study=Study.load(folder), workers=0, progress=QUIET))
    assert [e.patient for e in made if not e.readings] == ["P05"]


def test_disturbances_that_no_scan_can_take_end_the_run(tmp_path: Path) -> None:
    folder = write_scans(tmp_path, patients=4)
    table = pd.read_csv(folder / "images.csv")
    table.assign(sequence=table["sequence"].map({"T1": "CT", "T2": "PET"})).to_csv(folder / "images.csv", index=False)
    features = {"encoder": write_encoder(folder), "perturb": ["bias"]}
    write_scan_study(folder, features=features, models=[STABLE], scan={}, validation={"folds": 2})
    with pytest.raises(StudyError, match="a bias field asked of"):
        run_study(folder, workers=0, progress=QUIET)


def test_check_says_how_often_each_scan_is_measured(finished: Path) -> None:
    assert any(
        "4 times: as it is, rotation, contour, noise" in s for s in check(finished, workers=0, progress=QUIET).summary
    )


@pytest.mark.parametrize(
    ("features", "models", "words"),
    [
        ({"encoder": "radiomics", "perturb": ["contours"]}, [STABLE], "did you mean 'contour'"),
        ({"encoder": "radiomics", "perturb": [{"noise": 0}]}, [STABLE], "perturb noise: 0"),
        ({"encoder": "radiomics", "perturb": ["noise", "noise"]}, [STABLE], "a disturbance twice"),
        ({"encoder": "radiomics", "perturb": ["noise"]}, ["logistic"], "which no model reads"),
        ({"encoder": "volume", "perturb": ["noise"]}, ["cnn3d"], "without features that are measured on scans"),
        ({"encoder": "radiomics"}, [STABLE], "without repeated readings"),
    ],
)
def test_what_does_not_go_together_is_refused(
    tmp_path: Path, features: dict[str, object], models: list[object], words: str
) -> None:
    write_scan_study(tmp_path, features=features, models=models)
    with pytest.raises(StudyError) as caught:
        Study.load(tmp_path)
    assert words in str(caught.value)
