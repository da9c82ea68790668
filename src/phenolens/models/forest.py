"""Random forests on a table: grown by scikit-learn, kept as plain arrays, asked without it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from phenolens.core.types import Example
from phenolens.models.columns import Matrix, TableModel
from phenolens.models.contract import Probabilities
from phenolens.models.determinism import one_thread
from phenolens.models.tabular import Reader, Table, fit_table
from phenolens.tasks._contract import Task

Places = npt.NDArray[np.int32]


@dataclass(frozen=True, kw_only=True)
class Trees:
    """Binary trees one after another in flat arrays over their nodes.

    A row goes left where its value in `feature` is at most `threshold`; a leaf has left = right = itself. `value` is
    (nodes, q); `roots` (trees,) is where each tree starts; `depth` is the most steps from a root to a leaf.
    """

    feature: Places
    threshold: Matrix
    left: Places
    right: Places
    value: Matrix
    roots: Places
    depth: int

    def leaves(self, row: npt.NDArray[Any]) -> Places:
        """The leaf of every tree in which one row (m,) ends, (trees,)."""
        at = self.roots
        for _ in range(self.depth):
            at = np.where(row[self.feature[at]] <= self.threshold[at], self.left[at], self.right[at])
        return at

    def weights(self) -> dict[str, npt.NDArray[Any]]:
        names = ("feature", "threshold", "left", "right", "value", "roots")
        return {**{f"trees.{n}": getattr(self, n) for n in names}, "trees.depth": np.array([self.depth])}

    @classmethod
    def restore(cls, weights: Mapping[str, npt.NDArray[Any]]) -> Trees:
        """From what `weights()` gave."""
        names = ("feature", "threshold", "left", "right", "value", "roots")
        return cls(**{n: weights[f"trees.{n}"] for n in names}, depth=int(weights["trees.depth"][0]))


@dataclass(frozen=True, kw_only=True)
class FittedForest:
    """Trees whose leaves hold the shares of the classes. importance is (m,), not negative, summing to one."""

    reader: Reader
    trees: Trees
    importance: Matrix
    facts: Mapping[str, Any]

    def predict(self, examples: Sequence[Example]) -> Probabilities:
        """Probabilities (n, k): the mean over trees of the shares in the leaf; every row is computed alone."""
        return self.reader.predict(examples, self._one)

    def _one(self, row: Matrix) -> Matrix:
        shares = self.trees.value[self.trees.leaves(row.astype(np.float32))]
        mean = shares.mean(0)
        share: Matrix = mean / mean.sum()
        return share

    def coefficients(self) -> dict[str, Matrix]:
        """Of each column, (k,): its importance, the same for every class and without a sign.

        It is the mean decrease of Gini impurity (Breiman, Random forests, 2001) in the training units, which favours
        columns with many values: it says what the trees used, not what holds elsewhere.
        """
        k = len(self.reader.prior)
        return {name: np.full(k, share) for name, share in zip(self.reader.names, self.importance, strict=True)}

    def flags(self, examples: Sequence[Example]) -> list[str]:
        """What is to be said of each example's set of parts; empty where training had it."""
        return self.reader.flags(examples)

    def weights(self) -> dict[str, npt.NDArray[Any]]:
        return {**self.reader.weights(), **self.trees.weights(), "importance": self.importance}

    def config(self) -> dict[str, Any]:
        """The table as training saw it, and the size of the forest."""
        return {"table": self.reader.config(), "forest": dict(self.facts)}

    @classmethod
    def restore(
        cls, settings: TableModel, weights: Mapping[str, npt.NDArray[Any]], config: Mapping[str, Any]
    ) -> FittedForest:
        """From what `weights()` and `config()` gave."""
        return cls(
            reader=Reader.restore(settings, weights, config["table"]),
            trees=Trees.restore(weights),
            importance=weights["importance"],
            facts=config["forest"],
        )


def fit_forest(
    settings: TableModel,
    train: Sequence[Example],
    task: Task,
    *,
    seed: int,
    trees: int,
    leaf: int,
    depth: int | None,
) -> FittedForest:
    """Grow on `train` alone. Raises ModelError as `fit_table` does."""
    table = fit_table(settings, train, task)
    with one_thread():
        grown = grow(table, seed=seed, trees=trees, leaf=leaf, depth=depth)
    stored = stack(grown)
    facts = {"trees": len(stored.roots), "nodes": len(stored.feature), "depth": stored.depth}
    return FittedForest(reader=table.reader, trees=stored, importance=grown.feature_importances_, facts=facts)


def grow(table: Table, *, seed: int, trees: int, leaf: int, depth: int | None) -> Any:
    """scikit-learn's forest, fitted on the table with its class weights."""
    from sklearn.ensemble import RandomForestClassifier

    forest = RandomForestClassifier(
        n_estimators=trees, min_samples_leaf=leaf, max_depth=depth, max_features="sqrt", random_state=seed, n_jobs=1
    )
    return forest.fit(table.x, table.truth, sample_weight=table.class_weights[table.truth])


def stack(forest: Any) -> Trees:
    """The trees of a fitted forest of scikit-learn as flat arrays; leaves hold shares that sum to one."""
    held = [e.tree_ for e in forest.estimators_]
    starts = np.cumsum([0, *(t.node_count for t in held)])
    own = [np.arange(t.node_count) for t in held]
    leaves = [t.children_left < 0 for t in held]

    def children(which: str) -> Places:
        parts = (
            np.where(leaf, me, getattr(t, which)) + start
            for t, leaf, me, start in zip(held, leaves, own, starts, strict=False)
        )
        return np.concatenate(list(parts)).astype(np.int32)

    leaf = np.concatenate(leaves)
    value = np.concatenate([t.value[:, 0, :] for t in held])
    return Trees(
        feature=np.where(leaf, 0, np.concatenate([t.feature for t in held])).astype(np.int32),
        threshold=np.where(leaf, 0.0, np.concatenate([t.threshold for t in held])),
        left=children("children_left"),
        right=children("children_right"),
        value=value / value.sum(1, keepdims=True),
        roots=starts[:-1].astype(np.int32),
        depth=max(t.max_depth for t in held),
    )
