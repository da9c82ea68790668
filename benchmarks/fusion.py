"""Does `sequence_fusion` beat imputation and complete cases where sequences of a synthetic liver are missing?

python benchmarks/fusion.py --keep FOLDER     (an hour on two cores; the features of a seed are kept in FOLDER)

Ten listed cohorts of the generator `liver-mri` (240 patients, four classes, three sites), radiomics features, five
folds by patient with a fifth of the training side as tune. 40% of the sequences are taken out at random, and none.
Every model sees the same splits. The macro AUC is that of all test predictions of a cohort, in brackets that of the
patients who have every sequence; differences are paired by cohort, with a t-interval over the ten. The defaults of the
model were chosen on the cohorts of seeds 901 to 906 (120 patients) and 911 to 916.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import stats
from sklearn.model_selection import StratifiedKFold, train_test_split

from phenolens.core.errors import ModelError
from phenolens.core.registry import ENCODERS, METRICS, MODELS
from phenolens.core.types import Bag, Example, Frame, Loaded, Part, Split
from phenolens.models.contract import Fitted
from phenolens.models.fit import run_fold
from phenolens.models.linear import log_loss
from phenolens.scans.geometry import Crop, cropped, roi_of
from phenolens.scans.intensity import IntensitySettings, apply, measure
from phenolens.synth import liver
from phenolens.synth.scan_design import ScanDesign, scan_design_for
from phenolens.synth.scan_people import ScanPatient, draw, present
from phenolens.tasks.classification import Classification

SEEDS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
PER_CLASS = 60
FOLDS = 5
NEVER_WORSE = 0.01
"""With none missing, a mean loss against concatenation beyond this macro AUC would be called worse."""
MODELS_ASKED = {
    "fusion": ("sequence_fusion", {}),
    "imputation": ("logistic", {"missing": "impute"}),
    "complete cases": ("logistic", {"missing": "complete", "fallback": "prior"}),
    "fusion, screen: 0": ("sequence_fusion", {"screen": 0.0}),
}
SINGLE = "best single sequence"
_INTENSITY = IntensitySettings(scale="zscore", over="body")
_FRAME = Frame(shape=(64, 64, 24), spacing=(3.0, 3.0, 5.0), origin=(0.0, 0.0, 0.0), unit="mm")


@dataclass(frozen=True, kw_only=True)
class Cohort:
    """Features x (n, s, d) of every sequence of every patient, classes (n,), sites (n,)."""

    design: ScanDesign
    x: npt.NDArray[np.float32]
    truth: npt.NDArray[np.int64]
    site: npt.NDArray[np.int64]

    @property
    def task(self) -> Classification:
        return Classification(target=self.design.target, classes=tuple(label for label, _ in self.design.classes))

    def examples(self, missing: float) -> list[Example]:
        """The patients, with a share of the sequences taken out as the generator does."""
        there = present(replace(self.design, missing=missing), [int(s) for s in self.site])
        return [self._example(i, held) for i, held in enumerate(there)]

    def _example(self, i: int, held: Sequence[str]) -> Example:
        patient = f"P{i + 1:03d}"
        parts = [
            Part(name=s, image=f"{patient}-{s}", source=Loaded(bag=_bag(self.x[i, j])) if s in held else None)
            for j, s in enumerate(self.design.sequences)
        ]
        label = self.task.classes[self.truth[i]]
        site = self.design.sites[self.site[i]]
        targets, covariates = {self.task.target: label}, {"site": site}
        return Example(patient=patient, unit_id=patient, parts=tuple(parts), covariates=covariates, targets=targets)

    def splits(self) -> Iterator[Split]:
        """Five folds of patients, by class; the same whatever is missing."""
        ids = np.array([f"P{i + 1:03d}" for i in range(len(self.truth))])
        folds = StratifiedKFold(FOLDS, shuffle=True, random_state=self.design.seed)
        for k, (rest, test) in enumerate(folds.split(ids, self.truth)):
            train, tune = train_test_split(
                rest, test_size=0.2, stratify=self.truth[rest], random_state=self.design.seed
            )
            sets = {name: frozenset(ids[rows]) for name, rows in (("train", train), ("tune", tune), ("test", test))}
            yield Split(scheme="patient_kfold", repeat=0, fold=k, seed=self.design.seed, **sets)


def _bag(row: npt.NDArray[np.float32]) -> Bag:
    return Bag(x=row[None], coords=np.zeros((1, 3)), extent=1.0, names=None, frame=_FRAME, recipe="benchmark")


def cohort(seed: int, keep: Path | None, per_class: int = PER_CLASS, workers: int = 2) -> Cohort:
    """Draw a cohort and measure it; features that were kept are read."""
    design = scan_design_for("liver-mri", seed=seed, missing=0.0, faults=False, patients_per_class=per_class)
    people = draw(design)
    kept = None if keep is None else keep / f"liver-{seed}-{per_class}.npy"
    if kept is not None and kept.exists():
        x = np.load(kept)
    else:
        with ProcessPoolExecutor(workers) as pool:
            x = np.stack(list(pool.map(partial(measured, design), people, chunksize=4)))
        if kept is not None:
            kept.parent.mkdir(parents=True, exist_ok=True)
            np.save(kept, x)
    truth, site = (np.array([getattr(p, name) for p in people], dtype=np.int64) for name in ("label", "site"))
    return Cohort(design=design, x=x, truth=truth, site=site)


@dataclass(frozen=True, kw_only=True)
class _Held:
    """A picture in memory, as a scan is read."""

    x: npt.NDArray[np.float32]
    frame: Frame

    def read(self, lo: tuple[int, int, int], shape: tuple[int, int, int]) -> npt.NDArray[np.float32]:
        (x, y, z), (w, h, d) = lo, shape
        return self.x[z : z + d, y : y + h, x : x + w]


def measured(design: ScanDesign, person: ScanPatient) -> npt.NDArray[np.float32]:
    """The radiomics features (s, d) of all lesions of a patient together, in every sequence."""
    encoder = ENCODERS.create("radiomics", {"spacing_mm": 2.0})
    known, encode, rows = liver.liver_patient(design, person), encoder.load("cpu"), []
    for sequence in design.sequences:
        picture = liver.paint(design, person, known, sequence)
        stored = np.clip(np.round(picture.x), 0, 32767).astype(np.float32)
        scan, roi = _Held(x=stored, frame=picture.frame), roi_of(picture.mask > 0, picture.frame)
        assert roi is not None
        lo, shape = roi.box(encoder.margin_mm)
        frame = cropped(picture.frame, lo, shape)
        x = apply(scan.read(lo, shape), frame, measure(scan, roi, _INTENSITY), _INTENSITY)
        rows.append(encode(Crop(x=x, inside=roi.within(lo, shape), frame=frame, sequence=sequence))[0])
    return np.stack(rows)


def predicted(held: Cohort, name: str, examples: Sequence[Example], split: Split) -> npt.NDArray[np.float64]:
    """Probabilities of the test patients, in the order of their ids; even ones where the model cannot be fitted."""
    if name == SINGLE:
        return _single(held, examples, split)
    model, params = MODELS_ASKED[name]
    try:
        return _fold(held, MODELS.create(model, params), examples, split, "test")[1]
    except ModelError as fault:
        if name != "complete cases":
            raise
        print(f"    {name} cannot be fitted: {fault.found}")
        return np.full((len(split.test), len(held.task.classes)), 1 / len(held.task.classes))


def _fold(
    held: Cohort, model: object, examples: Sequence[Example], split: Split, part: str
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    task = held.task
    table = run_fold(model, task, split, examples, seed=0, name="model").table  # type: ignore[arg-type]
    rows = table[table["part"] == part].sort_values("patient")
    truth = np.array([task.classes.index(t) for t in rows["truth"]])
    return truth, rows[list(task.columns)].to_numpy(dtype=float)


def _single(held: Cohort, examples: Sequence[Example], split: Split) -> npt.NDArray[np.float64]:
    """One sequence alone, that with the least tune loss; who lacks it gets even probabilities."""
    task, best, chosen = held.task, np.inf, None
    model = MODELS.create("logistic", {"by_part": True})
    for sequence in held.design.sequences:
        alone = [replace(e, parts=tuple(p for p in e.parts if p.name == sequence)) for e in examples]
        train, tune, test = ([e for e in alone if e.patient in s] for s in (split.train, split.tune, split.test))
        fitted = model.fit(_having(train), _having(tune), task, seed=0)
        truth = np.array([task.truth(e) for e in tune], dtype=np.intp)
        loss = log_loss(_or_even(fitted, tune, task), truth, task.weights(train))
        if loss < best:
            best, chosen = loss, _or_even(fitted, test, task)
    assert chosen is not None
    return chosen


def _having(examples: Sequence[Example]) -> list[Example]:
    return [e for e in examples if e.parts[0].present]


def _or_even(fitted: Fitted, examples: Sequence[Example], task: Classification) -> npt.NDArray[np.float64]:
    p = np.full((len(examples), len(task.classes)), 1 / len(task.classes))
    there = [i for i, e in enumerate(examples) if e.parts[0].present]
    p[there] = fitted.predict([examples[i] for i in there])
    return p


def areas(held: Cohort, missing: float, names: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Macro AUC of each model over all test patients, and over those who have every sequence."""
    examples = held.examples(missing)
    whole = np.array([all(p.present for p in e.parts) for e in examples])
    macro, found = METRICS.create("macro_auc"), {}
    for name in names:
        p = np.empty((len(examples), len(held.task.classes)))
        for split in held.splits():
            rows = [i for i, e in enumerate(examples) if e.patient in split.test]
            p[rows] = predicted(held, name, examples, split)
        classes = held.task.classes
        every, complete = (macro.compute(held.truth[m], p[m], classes) for m in (whole | True, whole))
        found[name] = (float(every), float(complete))
    return found


def interval(differences: Sequence[float]) -> tuple[float, float, float]:
    """Mean and two-sided 95% t-limits."""
    d = np.asarray(differences)
    half = float(stats.t.ppf(0.975, len(d) - 1) * d.std(ddof=1) / np.sqrt(len(d)))
    return float(d.mean()), float(d.mean() - half), float(d.mean() + half)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, default=None, help="a folder for the features of each cohort")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--features-only", action="store_true")
    told = parser.parse_args()
    names = (*MODELS_ASKED, SINGLE)
    found: dict[float, list[dict[str, tuple[float, float]]]] = {0.4: [], 0.0: []}
    for seed in told.seeds:
        start = time.perf_counter()
        held = cohort(seed, told.keep, workers=told.workers)
        print(f"seed {seed}: {held.x.shape} features in {time.perf_counter() - start:.0f} s", flush=True)
        for missing in () if told.features_only else found:
            start = time.perf_counter()
            found[missing].append(areas(held, missing, names))
            shown = ", ".join(f"{n} {v[0]:.3f} ({v[1]:.3f})" for n, v in found[missing][-1].items())
            print(f"  {missing:.0%} missing: {shown}; {time.perf_counter() - start:.0f} s", flush=True)
    if not told.features_only:
        summary(found, names)


def summary(found: dict[float, list[dict[str, tuple[float, float]]]], names: Sequence[str]) -> None:
    """Means, and fusion against each other model; in brackets patients who have every sequence."""
    for missing, rows in found.items():
        print(f"\n{missing:.0%} of sequences missing, {len(rows)} cohorts")
        for name in names:
            every, complete = np.mean([r[name] for r in rows], axis=0)
            print(f"  {name:22s} macro AUC {every:.4f} ({complete:.4f})")
        for name in names[1:]:
            mean, low, high = interval([r["fusion"][0] - r[name][0] for r in rows])
            verdict = "beats" if low > 0 else "is worse than" if high < 0 else "does not beat"
            print(f"  fusion - {name}: {mean:+.4f} ({low:+.4f} to {high:+.4f}): fusion {verdict} it")
            if not missing and name == "imputation":
                print(
                    f"    (with none missing this is concatenation: not worse by {NEVER_WORSE}: {low > -NEVER_WORSE})"
                )


if __name__ == "__main__":
    main()
