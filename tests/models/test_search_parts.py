"""The pieces of the search against scikit-learn: rankings, components, classifiers and trees."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.feature_selection import f_classif
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.svm import SVC

from phenolens.models.search.classifiers import fit_classifier
from phenolens.models.search.prepare import Block, Workbench, anova, kruskal, relief

Matrix = npt.NDArray[np.float64]


def rows(n: int, p: int, k: int, seed: int = 0) -> tuple[Matrix, npt.NDArray[np.intp]]:
    """Standard normal columns; the first tells the classes apart."""
    draw = np.random.default_rng(seed)
    x, truth = draw.normal(size=(n, p)), np.arange(n) % k
    x[:, 0] += truth
    return x, truth


@pytest.mark.parametrize("k", [2, 3])
def test_rankings_are_those_of_the_tests_they_are_named_after(k: int) -> None:
    x, truth = rows(40, 12, k)
    np.testing.assert_allclose(anova(x, truth, k), f_classif(x, truth)[0])
    p = [stats.kruskal(*(column[truth == c] for c in range(k))).pvalue for column in x.T]
    assert np.argsort(-kruskal(x, truth, k)).tolist() == np.argsort(p).tolist()


def test_relief_is_what_is_worked_by_hand() -> None:
    """Each unit has one hit and two misses, fewer than the neighbours asked for, so all of them count."""
    x = np.array([[0.0, 0], [0.1, 1], [1.0, 0], [0.9, 1]])
    truth = np.array([0, 0, 1, 1])
    weights = relief(x, truth, 2)
    hit, miss = np.array([0.1, 1.0]), np.array([(1 + 0.9 + 0.8 + 0.9) / 4, 0.5])
    np.testing.assert_allclose(weights, miss - hit)


@pytest.mark.parametrize("components", [0.9, 4.0])
def test_components_are_the_principal_ones(components: float) -> None:
    x, truth = rows(30, 50, 2)
    made = Workbench(x, truth, 2).prepare("zscore", "all", 0, components)
    z = (x - x.mean(0)) / x.std(0)
    full = PCA(n_components=components if components < 1 else int(components), svd_solver="full").fit(z)
    got, expected = made.apply(x), full.transform(z)
    assert got.shape == expected.shape
    np.testing.assert_allclose(np.abs(got), np.abs(expected), atol=1e-8)


def test_a_preparation_keeps_the_best_columns_and_never_a_constant_one() -> None:
    x, truth = rows(40, 12, 2)
    x[:, 3] = 5
    bench = Workbench(x, truth, 2)
    for selection in ("anova", "ranks", "relief"):
        kept = bench.prepare("robust", selection, 5, 0.0).columns
        assert len(kept) == 5
        assert 0 in kept
        assert 3 not in kept
    assert len(bench.prepare("minmax", "all", 0, 0.0).columns) == 11


@pytest.mark.parametrize("p", [8, 90])
@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("balanced", [False, True])
def test_linear_classifiers_are_those_of_scikit_learn(p: int, k: int, balanced: bool) -> None:
    x, truth = rows(60, p, k)
    x, truth = x[5:], truth[5:]
    weights = len(truth) / (k * np.bincount(truth)) if balanced else np.ones(k)
    name = "balanced" if balanced else None
    z = np.random.default_rng(1).normal(size=(10, p))

    logistic = fit_classifier("logistic", Block(x), truth, weights, {"c": 0.3}, seed=0).decide(z)
    full = LogisticRegression(C=0.3, class_weight=name, tol=1e-10, max_iter=10_000).fit(x, truth).decision_function(z)
    np.testing.assert_allclose(logistic - logistic.mean(1, keepdims=True) * (k > 2), full.reshape(10, -1), atol=5e-3)

    lda = fit_classifier("lda", Block(x), truth, weights, {"shrinkage": 0.2}, seed=0).decide(z)
    prior = np.full(k, 1 / k) if balanced else None
    theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.2, priors=prior).fit(x, truth).decision_function(z)
    np.testing.assert_allclose(lda, theirs.reshape(10, -1), atol=1e-8)


@pytest.mark.parametrize("name", ["svm_linear", "svm_rbf"])
def test_support_vector_machines_are_those_of_libsvm(name: str) -> None:
    x, truth = rows(60, 20, 2)
    block, z = Block(x), np.random.default_rng(1).normal(size=(10, 20))
    settings = {"c": 0.7} | ({"width": 0.5} if name == "svm_rbf" else {})
    mine = fit_classifier(name, block, truth, np.array([1.0, 2.0]), settings, seed=0).decide(z)
    gamma = 0.5 / np.median(block.squares)
    kernel = "linear" if name == "svm_linear" else "rbf"
    full = SVC(C=0.7, kernel=kernel, gamma=gamma, class_weight={0: 1, 1: 2}).fit(x, truth).decision_function(z)
    np.testing.assert_allclose(mine[:, 0], full, atol=2e-3)


@pytest.mark.parametrize("k", [2, 3])
def test_naive_bayes_is_that_of_scikit_learn(k: int) -> None:
    x, truth = rows(60, 5, k)
    z = np.random.default_rng(1).normal(size=(10, 5))
    mine = fit_classifier("naive_bayes", Block(x), truth, np.ones(k), {"smoothing": 0.01}, seed=0).decide(z)
    full = GaussianNB(var_smoothing=0.01).fit(x, truth).predict_joint_log_proba(z)
    full = full + 2.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(mine, full[:, 1:] - full[:, :1] if k == 2 else full, atol=1e-6)


def test_boosted_trees_are_those_of_scikit_learn_where_every_value_is_a_possible_cut() -> None:
    draw = np.random.default_rng(0)
    x = draw.integers(0, 12, size=(200, 1)).astype(float)
    truth = (x[:, 0] * 0.3 + draw.normal(size=200) > 1.5).astype(np.intp)
    settings = {"trees": 20, "depth": 2, "leaf": 3, "rate": 0.3}
    mine = fit_classifier("boosting", Block(x), truth, np.ones(2), settings, seed=0).decide(x)
    full = GradientBoostingClassifier(n_estimators=20, max_depth=2, min_samples_leaf=3, learning_rate=0.3)
    np.testing.assert_allclose(mine[:, 0], full.fit(x, truth).decision_function(x), atol=1e-6)


@pytest.mark.parametrize("name", ["forest", "boosting"])
@pytest.mark.parametrize("k", [2, 3])
def test_trees_learn_what_no_line_can_and_depend_on_their_seed_alone(name: str, k: int) -> None:
    draw = np.random.default_rng(0)
    x = draw.normal(size=(400, 4))
    truth = (x[:, 0] * x[:, 1] > 0).astype(np.intp) + (k == 3) * (x[:, 2] > 1)
    settings = {"trees": 100, "depth": 5, "leaf": 2} | ({"rate": 0.2} if name == "boosting" else {})
    a, b, c = (
        fit_classifier(name, Block(x[:300]), truth[:300], np.ones(k), settings, seed=s).decide(x[300:])
        for s in (1, 1, 2)
    )
    guess = (a[:, 0] > (0.5 if name == "forest" else 0)).astype(int) if k == 2 else a.argmax(1)
    assert (guess == truth[300:]).mean() > 0.75
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)
    if name == "forest":
        assert a.min() >= 0
        assert a.max() <= 1 + 1e-12


def test_a_leaf_is_never_smaller_than_asked_for() -> None:
    x, truth = rows(50, 4, 2)
    grown = fit_classifier(
        "boosting", Block(x), truth, np.ones(2), {"trees": 1, "depth": 8, "leaf": 9, "rate": 0.1}, seed=0
    )
    decisions = grown.decide(x)[:, 0]
    assert np.unique(decisions, return_counts=True)[1].min() >= 9
