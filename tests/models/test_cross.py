"""Cross-conformal sets: a hand-computed example, the guarantee over many draws, and what they may see in a fold."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from bagdata import CLASSES, bag, example, split_of
from safetensors.numpy import load

from phenolens.core import conformal as promise
from phenolens.core.errors import ModelError, StudyError
from phenolens.core.predictions import SET_GROUPS, SET_NONE, SET_PATIENTS
from phenolens.core.registry import MODELS, Choice
from phenolens.core.store import Store
from phenolens.core.types import Bag, Example, Loaded, Part, Split
from phenolens.models import fit as room
from phenolens.models.conformal import fit_conformal
from phenolens.models.cross import Cross, Refit, fit_cross
from phenolens.models.fit import FitJob, fit, fits_predictions, run_fold
from phenolens.models.guard import GuardSettings
from phenolens.models.predict import load_model, publish
from phenolens.models.refits import cross_splits
from phenolens.tasks.classification import Classification

TASK = Classification(target="subtype", classes=CLASSES)
ASKED = GuardSettings(conformal="cross", calibrate="none", out_of_distribution=False)


@dataclass(frozen=True)
class Says:
    """A fitted model that says one probability of class B of everyone."""

    b: float

    def predict(self, examples: Sequence[Example]) -> np.ndarray:
        return np.tile([1 - self.b, self.b], (len(examples), 1))

    def weights(self) -> dict[str, np.ndarray]:
        return {"b": np.array([self.b])}

    def config(self) -> dict[str, Any]:
        return {}


class SaysAgain:
    """What `Says` is restored by."""

    def restore(self, weights: Mapping[str, np.ndarray], config: Mapping[str, Any]) -> Says:
        assert config == {}
        return Says(b=float(weights["b"][0]))


def blurred(n: int, *, seed: int = 0) -> list[Example]:
    """Patients whose classes overlap."""
    draw = np.random.default_rng(seed)
    middles = [draw.normal(size=4) + 1.5 * (i % 2) * np.eye(4)[0] for i in range(n)]
    return [example(f"p{i:03d}", CLASSES[i % 2], m + draw.normal(0, 0.3, (3, 4))) for i, m in enumerate(middles)]


EXAMPLES = blurred(40)
SPLIT = split_of(EXAMPLES, tune=0.2, test=0.25)


def job(examples: Sequence[Example] = EXAMPLES, name: str = "mean_pool", split: Split | None = SPLIT) -> FitJob:
    return FitJob(
        model=Choice("model", name, {}),
        task=Choice("task", "classification", {"target": "subtype", "classes": CLASSES}),
        split=split,
        examples=tuple(examples),
        upstream={e.unit_id: f"key of {e.unit_id}" for e in examples},
        guard=ASKED,
    )


def test_a_hand_computed_example() -> None:
    """Ten patients in five groups of two, all of class A; the refits say p(B) = .10 .20 .30 .40 .50 of the new unit x.

    Scores (1 - p of A) by the refit that left a group out: (.05 .15) (.12 .22) (.20 .60) (.30 .70) (.35 .90).
    Class A of x scores .10 .20 .30 .40 .50 by the five; patients it exceeds: .05, .12, .20, .30, .35, so 5.
    Class B of x scores .90 .80 .70 .60 .50: .05 .15, .12 .22, .20 .60, .30, .35, so 8.
    (n + 1)(1 - alpha) is 9.9 and 8.8: both stay, 5 and 8 being less. Were .70 instead .55, B would exceed nine: it
    stays at alpha .1 and goes at .2.
    """
    scores = [(0.05, 0.15), (0.12, 0.22), (0.20, 0.60), (0.30, 0.70), (0.35, 0.90)]
    made = Cross(
        classes=CLASSES,
        refits=tuple(
            Refit(fitted=Says(b), scores=np.array(s)) for b, s in zip((0.1, 0.2, 0.3, 0.4, 0.5), scores, strict=True)
        ),
    )
    seen = made.looked_at(np.array([[0.5, 0.5]]), [EXAMPLES[0]])
    assert seen.shape == (5, 1, 2)
    assert made.column(seen, 0.1) == ["A|B"]
    assert made.column(seen, 0.2) == ["A|B"]
    lower = replace(
        made, refits=(*made.refits[:3], Refit(fitted=Says(0.4), scores=np.array([0.30, 0.55])), made.refits[4])
    )
    assert lower.column(seen, 0.1) == ["A|B"]
    assert lower.column(seen, 0.2) == ["A"]


def test_the_guarantee_is_that_of_theorem_four() -> None:
    """By hand, n 20 and K 5: 2 · 0.8 / 5 = 0.32 and 0.75 / 6 = 0.125, so 0.8 − 0.125; n 100: 1.6 / 21 and 0.95 / 6."""
    assert promise.cross_guarantee(20, 5, 0.1) == pytest.approx(0.675)
    assert promise.cross_guarantee(100, 5, 0.1) == pytest.approx(0.8 - 1.6 / 21)
    assert promise.cross_guarantee(20, 20, 0.1) == pytest.approx(0.8)
    with pytest.raises(ValueError, match="equal size"):
        promise.cross_guarantee(21, 5, 0.1)


def drawn(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    truth = rng.integers(0, 2, n)
    return rng.normal(size=(n, 3)) + 1.2 * truth[:, None] * [1, 0, 0], truth


def by_means(x: np.ndarray, truth: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Probabilities (m, 2) of a classifier of class means, the cheapest there is; sure of itself beyond reason."""
    b = (
        2
        * (new - (x[truth == 0].mean(0) + x[truth == 1].mean(0)) / 2)
        @ (x[truth == 1].mean(0) - x[truth == 0].mean(0))
    )
    p = 1 / (1 + np.exp(-b))
    return np.column_stack([1 - p, p])


@dataclass(frozen=True)
class Means:
    """A refit by hand: it was fitted on `x` and `truth`, and reads the first row of an example."""

    x: np.ndarray
    truth: np.ndarray

    def predict(self, examples: Sequence[Example]) -> np.ndarray:
        return by_means(self.x, self.truth, np.stack([e.instances()[0] for e in examples]))


@pytest.mark.parametrize("n", [20, 60])
def test_a_thousand_draws_are_covered_by_more_than_is_guaranteed_and_near_the_aim(n: int) -> None:
    found: dict[float, list[float]] = {0.1: [], 0.2: []}
    for seed in range(1000):
        rng = np.random.default_rng(seed)
        x, truth = drawn(rng, n)
        new, right = drawn(rng, 100)
        refits, seen = [], []
        for k in range(5):
            out = np.arange(n) % 5 == k
            p = by_means(x[~out], truth[~out], x[out])
            score = np.sort(1 - p[np.arange(out.sum()), truth[out]])
            refits.append(Refit(fitted=Means(x[~out], truth[~out]), scores=score))
            seen.append(by_means(x[~out], truth[~out], new))
        made = Cross(classes=CLASSES, refits=tuple(refits))
        for alpha, held in found.items():
            held.append(made.inside(np.stack(seen), alpha)[np.arange(100), right].mean())
    told = {alpha: float(np.mean(held)) for alpha, held in found.items()}
    print(f"n {n}: mean coverage {told}")  # noqa: T201  (the figure of docs/honesty.md)
    for alpha, mean in told.items():
        assert mean >= 1 - 2 * alpha
        assert mean >= promise.cross_guarantee(n, 5, alpha)
        assert mean == pytest.approx(1 - alpha, abs=0.05)


def test_a_patient_with_several_units_gives_one_score_the_worst() -> None:
    rows = [("p1", "u1", 0.9), ("p1", "u2", 0.4), ("p2", "u3", 0.8)]
    table = pd.DataFrame([{"part": "test", "patient": w, "unit_id": u, "truth": "A", "p_A": p, "p_B": 1 - p}
                          for w, u, p in rows])  # fmt: skip
    other = table.assign(patient=["q1", "q2", "q3"])
    made = fit_cross([(Says(0.5), table), (Says(0.5), other)], CLASSES)
    assert made.refits[0].scores == pytest.approx([0.2, 0.6])
    assert made.patients == 5
    with pytest.raises(ModelError, match="left out of two refits"):
        fit_cross([(Says(0.5), table), (Says(0.5), table)], CLASSES)


def test_groups_are_equal_disjoint_and_blind_to_labels_and_the_rest_trains_every_refit() -> None:
    splits = cross_splits(SPLIT, EXAMPLES, TASK, groups=4, tunes=True)
    inside = SPLIT.train | SPLIT.tune
    assert [len(s.test) for s in splits] == [7] * 4
    assert len(frozenset().union(*(s.test for s in splits))) == 28 == len(inside) - 2
    for split in splits:
        assert split.train | split.tune | split.test == inside
        assert len(split.tune) == pytest.approx(len(SPLIT.tune) / len(inside) * 23, abs=1)
    other = [replace(e, targets={"subtype": CLASSES[i % 3 == 0]}) for i, e in enumerate(EXAMPLES)]
    again = cross_splits(SPLIT, other, TASK, groups=4, tunes=True)
    assert [s.test for s in again] == [s.test for s in splits]
    assert all(not s.tune for s in cross_splits(SPLIT, EXAMPLES, TASK, groups=4, tunes=False))


def test_too_few_patients_are_refused_with_what_is_needed() -> None:
    few = split_of(EXAMPLES[:10], tune=0.2, test=0.2)
    with pytest.raises(StudyError, match="found 8 training and tune patients in .* expected 10 or more for 5 equal"):
        cross_splits(few, EXAMPLES[:10], TASK, groups=5, tunes=True)
    with pytest.raises(StudyError, match="8 training and tune patients"):
        run_fold(MODELS.create("mean_pool"), TASK, few, EXAMPLES, seed=0, name="mean_pool", guard=ASKED)


def test_a_class_that_a_refit_would_lack_is_refused_by_name() -> None:
    one = [replace(e, targets={"subtype": "B" if e.patient == "p030" else "A"}) for e in EXAMPLES]
    with pytest.raises(StudyError, match="class B of .* without a patient in one of the refits, of 1 train"):
        cross_splits(SPLIT, one, TASK, groups=5, tunes=True)


@dataclass
class Counted:
    """A source that writes down when it is read."""

    held: Bag
    unit: str
    log: list[str]

    def load(self) -> Bag:
        self.log.append(self.unit)
        return self.held


@pytest.mark.parametrize("name", ["mean_pool", "forest"])
def test_no_test_patient_is_read_by_any_refit(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []
    fits: list[tuple[int, set[str]]] = []
    given = [replace(e, parts=tuple(replace(p, source=Counted(p.load(), e.unit_id, log)) for p in e.parts))  # type: ignore[arg-type]
             for e in EXAMPLES]  # fmt: skip
    model = MODELS.create(name)
    plain = type(model).fit

    def watched(self: Any, train: Any, tune: Any, task: Any, *, seed: int) -> Any:
        fitted = plain(self, train, tune, task, seed=seed)
        fits.append((len(log), {e.patient for e in (*train, *tune)}))
        return fitted

    monkeypatch.setattr(type(model), "fit", watched)
    fold = run_fold(model, TASK, SPLIT, given, seed=0, name=name, guard=ASKED)
    assert len(fits) == 6
    assert not SPLIT.test & set(log[: fits[-1][0]])
    assert all(seen <= SPLIT.train | SPLIT.tune for _, seen in fits)
    assert {len(seen) for _, seen in fits[1:]} == {24}
    assert fold.guard is not None
    assert isinstance(fold.guard.conformal, Cross)
    assert fold.guard.conformal.patients == 30


def changed(value: float, patients: frozenset[str]) -> list[Example]:
    def one(e: Example) -> Example:
        x = np.full_like(e.instances(), value)
        return replace(e, parts=(Part(name="part0", image=f"{e.unit_id}-0", source=Loaded(bag=bag(x))),))

    return [one(e) if e.patient in patients else e for e in EXAMPLES]


def stored_bytes(root: Path, of: FitJob) -> bytes:
    return Store(root).path("fits", fit(of, root), ".safetensors").read_bytes()


def test_test_features_of_a_thousand_million_leave_every_refit_identical(tmp_path: Path) -> None:
    plain = stored_bytes(tmp_path / "a", job())
    assert plain == stored_bytes(tmp_path / "b", job(changed(1e9, SPLIT.test)))
    wrong = [replace(e, targets={"subtype": "A"}) if e.patient in SPLIT.test else e for e in EXAMPLES]
    assert plain == stored_bytes(tmp_path / "c", job(wrong))
    assert plain != stored_bytes(tmp_path / "d", job(changed(0.5, frozenset([min(SPLIT.train)]))))
    assert sum(name.startswith("guard.cross.4.") for name in load(plain)) > 0


def test_sets_are_the_same_in_the_fold_after_store_and_load_and_without_a_store(tmp_path: Path) -> None:
    key = fit(job(), tmp_path)
    publish(Store(tmp_path), key, tmp_path / "final")
    stored = load_model(tmp_path / "final")
    rows = fits_predictions(Store(tmp_path), key)
    test, tune = rows[rows["part"] == "test"], rows[rows["part"] == "tune"]
    assert len(test) == len(SPLIT.test)
    assert set(test["set_90"]) - {SET_NONE}
    assert set(tune["set_90"]) == {SET_NONE}
    assert set(test[SET_PATIENTS]) == {30.0}
    assert set(test[SET_GROUPS]) == {5.0}
    assert tune[[SET_PATIENTS, SET_GROUPS]].isna().all(axis=None)
    by_id = {e.unit_id: e for e in EXAMPLES}
    for row in test.to_dict("records"):
        one = by_id[row["unit_id"]]
        judged = stored.judge(stored.predict([one])[0], one)
        assert judged is not None
        assert (row["set_90"], row["set_80"]) == tuple("|".join(judged.sets[c] or ()) for c in ("set_90", "set_80"))
    plain = run_fold(MODELS.create("mean_pool"), TASK, SPLIT, EXAMPLES, seed=0, name="mean_pool", guard=ASKED)
    pd.testing.assert_frame_equal(plain.table.reset_index(drop=True), rows)


def test_what_is_stored_tells_the_guarantee_and_that_it_is_exact(tmp_path: Path) -> None:
    path = Store(tmp_path).path("fits", fit(job(), tmp_path), ".safetensors").with_suffix(".json")
    told = json.loads(path.read_text())["guard"]
    assert told["promise"].startswith("exact: no refit saw")
    assert told["conformal"]["promises"][0] == {"alpha": 0.1, "refused": "", "at_least": pytest.approx(0.8 - 5 / 36)}
    assert "Theorem 4" in told["conformal"]["source"]


def test_a_run_that_was_killed_goes_on_with_the_refits_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = stored_bytes(tmp_path / "whole", job())
    done: list[str] = []
    plain = room.run_fold

    def counting(*args: Any, **more: Any) -> Any:
        if len(done) == 3:
            raise KeyboardInterrupt
        fold = plain(*args, **more)
        done.append(args[2].name)
        return fold

    monkeypatch.setattr(room, "run_fold", counting)
    with pytest.raises(KeyboardInterrupt):
        fit(job(), tmp_path / "killed")
    first = list(done)
    assert first == [f"{SPLIT.name}-cross-0-{k}" for k in range(3)]
    monkeypatch.setattr(room, "run_fold", lambda *args, **more: done.append(args[2].name) or plain(*args, **more))
    assert stored_bytes(tmp_path / "killed", job()) == whole
    assert [name for name in done[3:] if "cross" in name] == [f"{SPLIT.name}-cross-0-{k}" for k in (3, 4)]


def test_twenty_patients_have_sets_where_split_calibration_is_refused(tmp_path: Path) -> None:
    """Of 20 patients four are kept for the choice of a penalty: too few for a split set at alpha 0.1."""
    few = blurred(20, seed=1)
    cross = load_of(tmp_path, replace(job(few, split=None), tune=0.2))
    split = load_of(tmp_path, replace(job(few, split=None), guard=replace(ASKED, conformal="split")))
    new = blurred(30, seed=2)
    said = {"cross": cross, "split": split}
    sets = {name: [m.judge(m.predict([e])[0], e).sets["set_90"] for e in new] for name, m in said.items()}
    assert set(sets["split"]) == {None}
    assert "4 calibration patients at alpha 0.1 (9 needed)" in split.guard.unfitted()[0]
    assert cross.guard.unfitted() == []
    assert None not in sets["cross"]
    assert any(len(s) == 1 for s in sets["cross"])
    right = [e.targets["subtype"] in s for e, s in zip(new, sets["cross"], strict=True)]
    assert np.mean(right) >= promise.cross_guarantee(20, 5, 0.1)


def load_of(root: Path, of: FitJob) -> Any:
    key = fit(of, root)
    publish(Store(root), key, root / key)
    return load_model(root / key)


def test_with_one_model_that_never_changes_cross_sets_are_the_split_sets_of_all_scores() -> None:
    rng = np.random.default_rng(0)
    p = rng.dirichlet([1, 1], 25)
    truth, new = rng.integers(0, 2, 25), rng.dirichlet([1, 1], 200)
    split = fit_conformal(p, truth, [f"p{i}" for i in range(25)], CLASSES, kind="split")
    scores = 1 - p[np.arange(25), truth]
    refits = tuple(Refit(fitted=Says(0.5), scores=np.sort(scores[k::5])) for k in range(5))
    made = Cross(classes=CLASSES, refits=refits)
    for alpha in (0.1, 0.2):
        assert made.sets(np.stack([new] * 5), alpha) == split.sets(new, alpha)


def test_it_is_restored_exactly() -> None:
    refits = tuple(Refit(fitted=Says(0.1 * k), scores=np.array([0.1, 0.2 + 0.1 * k])) for k in range(5))
    made = Cross(classes=CLASSES, refits=refits)
    again = Cross.restore(made.weights(), made.config(), CLASSES, SaysAgain())  # type: ignore[arg-type]
    assert again.config() == made.config()
    assert [r.fitted for r in again.refits] == [r.fitted for r in made.refits]
    assert all((a.scores == b.scores).all() for a, b in zip(again.refits, made.refits, strict=True))


def test_a_lesser_number_of_patients_than_a_set_needs_is_refused_and_told() -> None:
    made = Cross(classes=CLASSES, refits=tuple(Refit(fitted=Says(0.5), scores=np.array([0.1])) for _ in range(5)))
    assert made.refused(0.1) == "5 calibration patients at alpha 0.1 (9 needed)"
    assert made.column(np.full((5, 2, 2), 0.5), 0.1) == [SET_NONE] * 2
    assert made.refused(0.2) == ""
