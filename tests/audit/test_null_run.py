"""The permutation test: labels move as they may, the model is fitted again, and noise is not significant."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from phenolens.audit import null_run as audit
from phenolens.audit.null_run import null_run, one_repeat, permutation_p
from phenolens.audit.relabel import plan
from phenolens.core.errors import ModelError, SplitError
from phenolens.core.registry import Choice
from phenolens.core.types import Bag, Example, Frame, Loaded, Part, Split

HERE = Path(__file__).parent
RIDGE = Choice(kind="model", name="quick_models.py:Ridge", base=HERE)
SLOW = Choice(kind="model", name="quick_models.py:SlowRidge", base=HERE)
ROTTEN = Choice(kind="model", name="quick_models.py:Rotten", base=HERE)
FRAME = Frame(shape=(10, 10), spacing=(0.5, 0.5), origin=(0.0, 0.0), unit="um")


def _task(classes: str = "AB") -> Choice:
    return Choice(kind="task", name="classification", params={"target": "type", "classes": tuple(classes)})


def _cohort(n=40, classes="AB", *, signal=0.0, seed=0, units=1, sites=1, d=20, mixed=False) -> list[Example]:
    rng = np.random.default_rng(seed)
    found = []
    for i in range(n):
        for u in range(units):
            label = (i + (u if mixed else 0)) % len(classes)
            x = rng.normal(size=(3, d)).astype(np.float32)
            x[:, label] += signal
            bag = Bag(x=x, coords=np.zeros((3, 2)), extent=1.0, names=None, frame=FRAME, recipe="test")
            site = f"S{i // len(classes) % sites}"
            unit = f"P{i:03d}-{u}"
            part = Part(name="slide", image=unit, source=Loaded(bag=bag))
            example = Example(patient=f"P{i:03d}", unit_id=unit, parts=(part,), covariates={"site": site},
                              targets={"type": classes[label]})  # fmt: skip
            found.append(example)
    return found


def _splits(examples, folds=4, *, tune=True, scheme="patient_kfold", repeats=1) -> list[Split]:
    label = {e.patient: e.targets["type"] for e in examples}
    seen: dict[str, int] = {}
    place = {}
    for p in sorted(label):
        place[p] = seen.get(label[p], 0) % folds
        seen[label[p]] = seen.get(label[p], 0) + 1
    made = []
    for r in range(repeats):
        for f in range(folds):
            test = {p for p in label if place[p] == f}
            inner = {p for p in label if place[p] == (f + 1) % folds} if tune else set()
            rest = frozenset(set(label) - test - inner)
            made.append(Split(scheme=scheme, repeat=r, fold=f, train=rest, tune=frozenset(inner),
                              test=frozenset(test), seed=0))  # fmt: skip
    return made


def _p(examples, *, model=RIDGE, classes="AB", permutations=39, seed=0, **more):
    return permutation_p(examples, _splits(examples), model, _task(classes), permutations=permutations, seed=seed,
                         workers=0, **more)  # fmt: skip


def test_signal_is_significant_and_the_result_says_what_was_done():
    result = _p(_cohort(signal=2.0), permutations=99)
    assert result["observed"] > 0.9
    assert result["p"] == 0.01
    assert result["null"]["q025"] < 0.5 < result["null"]["q975"] < result["observed"]
    assert result["refitted"] == RIDGE.name
    assert (result["scheme"], result["repeat"], result["folds"], result["patients"]) == ("patient_kfold", 0, 4, 40)
    assert result["strata"] == "between all patients, within test fold"
    assert result["notes"] == []
    json.dumps(result, allow_nan=False)


def test_p_on_noise_is_spread_over_its_range():
    found = np.array([_p(_cohort(24, seed=s), permutations=19)["p"] for s in range(40)])
    assert (found <= 0.05).mean() <= 0.15
    assert 0.35 < found.mean() < 0.65
    assert found.min() < 0.3
    assert found.max() > 0.7


def test_the_null_is_centred_at_one_half():
    means = [_p(_cohort(32, "ABCD", seed=s), classes="ABCD", permutations=19)["null"]["mean"] for s in range(10)]
    assert np.mean(means) == pytest.approx(0.5, abs=0.03)


def test_the_same_seed_gives_the_same_result_on_any_number_of_workers():
    examples = _cohort(24, signal=0.5)
    splits = _splits(examples)
    runs = [permutation_p(examples, splits, RIDGE, _task(), permutations=19, seed=4, workers=w) for w in (0, 2)]
    assert runs[0] == runs[1]
    turned = [examples[i] for i in np.random.default_rng(0).permutation(len(examples))]
    assert permutation_p(turned, splits, RIDGE, _task(), permutations=19, seed=4, workers=0) == runs[0]
    other = permutation_p(examples, splits, RIDGE, _task(), permutations=19, seed=5, workers=0)
    assert other["null"] != runs[0]["null"]


def test_labels_stay_within_site_and_test_fold():
    examples = _cohort(48, "AB", sites=2)
    folds = _splits(examples)
    made = plan(examples, folds, "type", draws=199)
    assert made.how == "within site, within test fold"
    site = {e.patient: e.covariates["site"] for e in examples}
    moved = 0
    for b in range(20):
        drawn = made.draw(0, b)
        assert drawn.keys() == made.real.keys()
        for fold in folds:
            for s in ("S0", "S1"):
                keys = [k for k in drawn if k[0] in fold.test and site[k[0]] == s]
                assert sorted(drawn[k] for k in keys) == sorted(made.real[k] for k in keys)
        moved += sum(drawn[k] != made.real[k] for k in drawn)
    assert moved > 20 * 48 / 4


def test_a_site_with_one_label_keeps_it_and_labels_cross_sites_only_when_sites_cannot_hold_them():
    examples = [
        e for e in _cohort(60, "AB", sites=3) if not (e.covariates["site"] == "S2" and e.targets["type"] == "B")
    ]
    made = plan(examples, _splits(examples), "type", draws=39)
    fixed = [(e.patient, e.unit_id) for e in examples if e.covariates["site"] == "S2"]
    assert all(made.draw(0, b)[k] == "A" for b in range(5) for k in fixed)
    confounded = [e for e in _cohort(60, "AB", sites=2) if (e.covariates["site"] == "S0") == (e.targets["type"] == "A")]
    made = plan(confounded, _splits(confounded), "type", draws=39)
    assert made.how == "between all patients, within test fold"
    assert made.mixes_sites
    assert "between sites" in _p(confounded, permutations=5)["notes"][0]


def test_units_of_a_patient_keep_one_label_together():
    examples = [e for e in _cohort(24, units=3) if not (e.patient == "P003" and e.unit_id.endswith("2"))]
    made = plan(examples, _splits(examples), "type", draws=39)
    for b in range(10):
        drawn = made.draw(1, b)
        for patient in {e.patient for e in examples}:
            assert len({label for (p, _), label in drawn.items() if p == patient}) == 1
    assert any(made.draw(1, b)["P003", "P003-0"] != "B" for b in range(10))


def test_label_vectors_move_between_patients_with_equally_many_units():
    examples = [
        e for e in _cohort(40, units=2, mixed=True) if not (e.patient in ("P000", "P001") and e.unit_id[-1] == "1")
    ]
    made = plan(examples, _splits(examples), "type", draws=39)
    assert made.how.endswith("label vectors of patients with equally many units")
    drawn = made.draw(0, 0)
    for patient in {e.patient for e in examples} - {"P000", "P001"}:
        assert [drawn[patient, f"{patient}-{u}"] for u in (0, 1)] in (["A", "B"], ["B", "A"])


def test_one_patient_of_each_class_a_fold_keeps_every_fold_complete():
    examples = _cohort(40, "ABCD", signal=2.0)
    folds = _splits(examples, folds=10, scheme="one_patient_per_class")
    made = plan(examples, folds, "type", draws=199)
    drawn = made.draw(0, 3)
    for fold in folds:
        assert sorted(label for (p, _), label in drawn.items() if p in fold.test) == list("ABCD")


def test_every_training_set_keeps_every_class():
    examples = [e for e in _cohort(40, "ABC") if e.targets["type"] != "C" or e.patient < "P012"]
    folds = _splits(examples, folds=2, tune=False)
    made = plan(examples, folds, "type", draws=10**6)
    for b in range(30):
        drawn = made.draw(0, b)
        for fold in folds:
            assert {label for (p, _), label in drawn.items() if p in fold.train} == set("ABC")


def test_labels_that_cannot_be_permuted_are_refused():
    few = _cohort(4)
    with pytest.raises(ModelError, match="distinct ways"):
        plan(few, _splits(few, folds=2, tune=False), "type", draws=199)
    lonely = [e for e in _cohort(40, "AB") if e.targets["type"] == "A" or e.patient == "P001"]
    with pytest.raises(ModelError, match="missing in a training set"):
        plan(lonely, _splits(lonely, tune=False), "type", draws=19)


def test_one_repeat_of_the_main_scheme_is_used_and_the_holdout_is_not():
    examples = _cohort(24)
    holdout = Split(
        scheme="holdout", repeat=0, fold=0, train=frozenset("x"), tune=frozenset(), test=frozenset("y"), seed=0
    )
    splits = [holdout, *_splits(examples, repeats=3), *_splits(examples, scheme="leave_one_site_out")]
    assert [s.name for s in one_repeat(splits)] == [f"patient_kfold-0-{f}" for f in range(4)]
    with pytest.raises(SplitError):
        one_repeat([holdout])


def test_a_model_that_is_not_cheap_is_represented_and_labelled(monkeypatch):
    monkeypatch.setattr(audit, "STAND_IN", RIDGE)
    examples = _cohort(24, signal=1.0)
    shown = _p(examples, model=SLOW, permutations=5)
    assert shown["model"] == SLOW.name
    assert shown["refitted"] == f"a linear head on mean-pooled features ({RIDGE.name}) in place of {SLOW.name}"
    assert _p(examples, model=SLOW, permutations=5, refit_all=True)["refitted"] == SLOW.name


def test_the_stand_in_is_a_cheap_model_of_the_zoo_and_pools_once():
    result = permutation_p(_cohort(24, signal=2.0), _splits(_cohort(24)), audit.STAND_IN, _task(), permutations=9,
                           workers=0)  # fmt: skip
    assert result["refitted"] == "mean_pool"
    assert result["observed"] > 0.9
    assert result["p"] == 0.1


def test_features_are_held_in_memory_up_to_the_bound_and_left_in_place_above(monkeypatch):
    examples = _cohort(6)
    held = audit._held(examples)
    np.testing.assert_array_equal(held[3].instances(), examples[3].instances())
    monkeypatch.setattr(audit, "HELD_BYTES", 500)
    assert audit._held(examples) is examples


def test_the_null_run_flags_a_procedure_that_sees_test_labels_and_not_an_honest_one():
    examples = _cohort(40, signal=0.0)
    splits = _splits(examples)
    honest = null_run(examples, splits, RIDGE, _task(), workers=0)
    assert not honest["flagged"]
    assert honest["runs"] == 20
    assert abs(honest["mean"] - 0.5) <= honest["threshold"]
    rotten = null_run(examples, splits, ROTTEN, _task(), workers=0)
    assert rotten["flagged"]
    assert rotten["mean"] == 1.0


def test_no_permutations_are_refused():
    with pytest.raises(ValueError, match="1 or more"):
        _p(_cohort(24), permutations=0)
