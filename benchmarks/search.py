"""Time of the workflow search on a table of 246 × 560, and its AUC beside plain scikit-learn pipelines.

python benchmarks/search.py [--splits 3] [--workflows 1000] [--plain 40] [--table FILE.csv --label COLUMN]

The default table is synthetic and has the size of the published GIST set (246 patients × 560 features). Each split
keeps 20% of the patients for testing, as WORC does 100 times; here a fifth of the others is the tune part. The plain
search draws the same workflows, fits each as a pipeline of scikit-learn with cross_val_score, and averages the
calibrated best.
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist
from scipy.special import expit
from sklearn.calibration import CalibratedClassifierCV
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.feature_selection import SelectKBest, VarianceThreshold
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, StratifiedShuffleSplit, cross_val_score
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, RobustScaler, StandardScaler
from sklearn.svm import SVC
from threadpoolctl import threadpool_limits

from phenolens.core.registry import MODELS
from phenolens.core.types import Bag, Example, Frame, Loaded, Part
from phenolens.models.search import prepare
from phenolens.models.search.space import Workflow, draw_workflows
from phenolens.tasks.classification import Classification

TASK = Classification(target="label", classes=("0", "1"))
FRAME = Frame(shape=(1, 1, 1), spacing=(1.0, 1.0, 1.0), origin=(0.0, 0.0, 0.0), unit="mm")
ENSEMBLE = 10


def synthetic(n: int = 246, m: int = 560) -> tuple[np.ndarray, np.ndarray]:
    """Features of 40 hidden factors with skewed scales, as radiomics have; three factors carry some of the label."""
    draw = np.random.default_rng(0)
    hidden = draw.normal(size=(n, 40))
    x = hidden @ (draw.normal(size=(40, m)) * (draw.random((40, m)) < 0.15)) + 0.7 * draw.normal(size=(n, m))
    x[:, ::3] = np.exp(x[:, ::3] / 2)
    label = draw.random(n) < expit(hidden[:, 0] + 0.8 * hidden[:, 1] - 0.6 * hidden[:, 2])
    return (x * 10.0 ** draw.integers(-3, 5, size=m)).astype(np.float32), label.astype(int)


def examples(x: np.ndarray, y: np.ndarray) -> list[Example]:
    """One unit a row."""
    made = []
    for i, (row, label) in enumerate(zip(x, y, strict=True)):
        bag = Bag(x=row[None], coords=np.zeros((1, 3)), extent=1.0, names=None, frame=FRAME, recipe="benchmark")
        part = Part(name="table", image=f"p{i:04d}", source=Loaded(bag=bag))
        made.append(Example(patient=f"p{i:04d}", unit_id=f"p{i:04d}", parts=(part,), targets={"label": str(label)}))
    return made


class Gaussian(SVC):
    """SVC whose gamma is a width over the median squared distance of the training rows, as the search has it."""

    def __init__(self, width: float = 1.0, C: float = 1.0, class_weight: str | None = None, max_iter: int = -1) -> None:
        super().__init__(C=C, class_weight=class_weight, max_iter=max_iter)
        self.width = width

    def fit(self, x: np.ndarray, y: np.ndarray) -> Gaussian:
        self.gamma = self.width / max(float(np.median(cdist(x, x, "sqeuclidean"))), 1e-12)
        return super().fit(x, y)


def classifier(w: Workflow) -> object:
    """What a user of scikit-learn would write for the same settings."""
    s, weight = w.settings, "balanced" if w.weighted else None
    trees = {"n_estimators": int(s.get("trees", 1)), "max_depth": int(s.get("depth", 1)), "max_features": "sqrt"}
    trees |= {"min_samples_leaf": int(s.get("leaf", 1)), "random_state": w.seed}
    made = {
        "logistic": lambda: LogisticRegression(C=s["c"], class_weight=weight, max_iter=2000),
        "svm_linear": lambda: SVC(kernel="linear", C=s["c"], class_weight=weight, max_iter=20_000),
        "svm_rbf": lambda: Gaussian(s["width"], C=s["c"], class_weight=weight, max_iter=20_000),
        "lda": lambda: LinearDiscriminantAnalysis(solver="lsqr", shrinkage=s["shrinkage"]),
        "naive_bayes": lambda: GaussianNB(var_smoothing=s["smoothing"]),
        "forest": lambda: RandomForestClassifier(class_weight=weight, n_jobs=1, **trees),
        "boosting": lambda: GradientBoostingClassifier(learning_rate=s["rate"], **trees),
    }
    return made[w.classifier]()


def scores(name: str):  # type: ignore[no-untyped-def]
    """A ranking of columns as SelectKBest wants it."""
    rank = {"anova": prepare.anova, "ranks": prepare.kruskal, "relief": prepare.relief}[name]
    return lambda x, y: rank(x, y, 2)


def pipeline(w: Workflow, m: int) -> object:
    """The workflow as one pipeline."""
    scaler = {"zscore": StandardScaler, "robust": RobustScaler, "minmax": MinMaxScaler}[w.scaling]()
    steps = [VarianceThreshold(), scaler]
    if w.selection != "all":
        steps.append(SelectKBest(scores(w.selection), k=min(w.keep, m)))
    if w.components:
        most = w.keep if w.selection != "all" else m
        steps.append(PCA(w.components if w.components < 1 else min(int(w.components), most)))
    return make_pipeline(*steps, classifier(w))


def plain(x: np.ndarray, y: np.ndarray, test: np.ndarray, drawn: list[Workflow]) -> tuple[np.ndarray, float]:
    """Probabilities of test rows by the plain search, and its CPU seconds."""
    start = time.process_time()
    inner = StratifiedKFold(5, shuffle=True, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = [cross_val_score(pipeline(w, x.shape[1]), x, y, cv=inner, scoring="roc_auc").mean() for w in drawn]
        best = np.argsort(-np.array(found), kind="stable")[:ENSEMBLE]
        fitted = [CalibratedClassifierCV(pipeline(drawn[i], x.shape[1]), cv=inner, ensemble=False) for i in best]
        p = np.mean([f.fit(x, y).predict_proba(test)[:, 1] for f in fitted], axis=0)
    return p, time.process_time() - start


def ours(units: list[Example], train: np.ndarray, tune: np.ndarray, test: np.ndarray, count: int, seed: int):  # type: ignore[no-untyped-def]
    """Probabilities of test rows by the model `search`, its CPU seconds, and what it kept."""
    model = MODELS.create("search", {"workflows": count, "ensemble": min(ENSEMBLE, count)})
    start = time.process_time()
    fitted = model.fit([units[i] for i in train], [units[i] for i in tune], TASK, seed=seed)
    p = fitted.predict([units[i] for i in test])[:, 1]
    return p, time.process_time() - start, fitted.config()["search"]


def main() -> None:
    parser = argparse.ArgumentParser()
    for name, default in (("splits", 3), ("workflows", 1000), ("plain", 40)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--table")
    parser.add_argument("--label")
    given = parser.parse_args()
    x, y = synthetic()
    if given.table:
        frame = pd.read_csv(given.table)
        y = pd.factorize(frame.pop(given.label), sort=True)[0]
        x = frame.select_dtypes("number").dropna(axis=1).to_numpy(dtype=np.float32)
    units = examples(x, y)
    print(f"{x.shape[0]} units × {x.shape[1]} features, {int(y.sum())} positive; {given.workflows} workflows × 5 folds")
    ours(units, np.arange(len(y)), np.arange(len(y)), np.arange(1), 50, 1)  # compiles
    spent: dict[str, list[float]] = {"ours": [], "ours_few": [], "plain": []}
    aucs: dict[str, list[float]] = {"ours": [], "ours_few": [], "plain": []}
    outer = StratifiedShuffleSplit(given.splits, test_size=0.2, random_state=0)
    for seed, (rest, test) in enumerate(outer.split(x, y)):
        train, tune = (
            rest[i] for i in next(StratifiedShuffleSplit(1, test_size=0.2, random_state=0).split(rest, y[rest]))
        )
        results = {"ours": ours(units, train, tune, test, given.workflows, seed)[:2]}
        if given.plain:
            results["ours_few"] = ours(units, train, tune, test, given.plain, seed)[:2]
            drawn = draw_workflows(given.plain, seed=seed)
            with threadpool_limits(limits=1):
                results["plain"] = plain(x[train], y[train], x[test], drawn)
        for name, (p, seconds) in results.items():
            spent[name].append(seconds)
            aucs[name].append(float(roc_auc_score(y[test], p)))
        print(seed, {n: (round(aucs[n][-1], 3), f"{spent[n][-1]:.1f} s") for n in results}, flush=True)
    mean = np.mean(spent["ours"])
    print(f"search: {mean:.1f} CPU s a split; 100 splits on 2 cores: {mean * 100 / 2 / 60:.1f} min")
    if given.plain:
        each = np.mean(spent["plain"]) / given.plain
        print(
            f"plain scikit-learn: {each:.2f} CPU s a workflow; {given.workflows} workflows × 100 splits on 2 cores: "
            f"{each * given.workflows * 100 / 2 / 3600:.0f} h; {each * given.workflows / mean:.0f} times ours"
        )
        off = np.array(aucs["ours_few"]) - np.array(aucs["plain"])
        error = off.std(ddof=1) / len(off) ** 0.5
        print(f"paired test AUC, {given.plain} workflows, ours − plain: {off.mean():+.3f} (standard error {error:.3f})")


if __name__ == "__main__":
    main()
