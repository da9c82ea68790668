"""The search inside a fold: workflows on inner folds of the training patients, and the ensemble of the best.

The inner folds rank the workflows; the best are fitted again on all training units; their decisions on inner units they
did not see make them probabilities (Platt); one temperature of the mean is fitted on the tune split. Harmonisation and
the filling of absent parts, which read no label, are learnt once from all training units.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from phenolens.core.errors import ModelError
from phenolens.core.store import key_of
from phenolens.core.types import Example
from phenolens.models.columns import Matrix, TableModel
from phenolens.models.contract import Probabilities
from phenolens.models.determinism import one_thread
from phenolens.models.linear import log_loss, softmax
from phenolens.models.search.classifiers import KINDS, Decides, fit_classifier
from phenolens.models.search.prepare import Block, Preparation, Workbench
from phenolens.models.search.space import Workflow, draw_workflows
from phenolens.models.tabular import Reader, Table, Truth, fit_table
from phenolens.tasks._contract import Task

TEMPERATURES = tuple(2.0 ** (i / 10) for i in range(-10, 11))


@dataclass(frozen=True, kw_only=True)
class Member:
    """One fitted workflow; slope and offset (q,) turn its decisions into log odds."""

    workflow: Workflow
    preparation: Preparation
    classifier: Decides
    slope: Matrix
    offset: Matrix

    def probabilities(self, x: Matrix) -> Matrix:
        """Raw rows (n, m) to (n, k); with several classes one sigmoid a class, normalised (Zadrozny, Elkan 2002)."""
        decisions = self.classifier.decide(self.preparation.apply(x))
        p = 1 / (1 + np.exp(-np.clip(self.slope * decisions + self.offset, -30, 30)))
        if p.shape[1] == 1:
            return np.column_stack([1 - p, p])
        shares: Matrix = p / p.sum(1, keepdims=True)
        return shares

    def weights(self) -> dict[str, npt.NDArray[Any]]:
        parts = {**self.preparation.weights(), "slope": self.slope, "offset": self.offset}
        return {**parts, **{f"{self.classifier.kind}.{n}": w for n, w in self.classifier.weights().items()}}

    @classmethod
    def restore(cls, weights: Mapping[str, npt.NDArray[Any]], workflow: Mapping[str, Any]) -> Member:
        """From what `weights()` gave and the workflow as JSON."""
        kind = next(k for k in KINDS if any(n.startswith(f"{k}.") for n in weights))
        own = {n.removeprefix(f"{kind}."): w for n, w in weights.items() if n.startswith(f"{kind}.")}
        return cls(
            workflow=Workflow(**workflow),
            preparation=Preparation.restore(weights),
            classifier=KINDS[kind](**own),
            slope=weights["slope"],
            offset=weights["offset"],
        )


@dataclass(frozen=True, kw_only=True)
class FittedSearch:
    """The mean of the members' probabilities, sharpened or flattened by one temperature."""

    reader: Reader
    members: tuple[Member, ...]
    temperature: float
    scores: Matrix
    facts: Mapping[str, Any]

    def predict(self, examples: Sequence[Example]) -> Probabilities:
        """Probabilities (n, k); every row is computed alone."""
        with one_thread():
            return self.reader.predict(examples, lambda row: _mean(self.members, row[None], self.temperature)[0])

    def flags(self, examples: Sequence[Example]) -> list[str]:
        """What is to be said of each example's set of parts; empty where training had it."""
        return self.reader.flags(examples)

    def weights(self) -> dict[str, npt.NDArray[Any]]:
        own = {f"member{i:03d}.{n}": w for i, m in enumerate(self.members) for n, w in m.weights().items()}
        return {
            **self.reader.weights(),
            **own,
            "search.scores": self.scores,
            "search.temperature": np.array([self.temperature]),
        }

    def config(self) -> dict[str, Any]:
        """The table as training saw it, the members, and how the search went."""
        members = [m.workflow.to_json() for m in self.members]
        return {"table": self.reader.config(), "members": members, "search": dict(self.facts)}

    @classmethod
    def restore(
        cls, settings: TableModel, weights: Mapping[str, npt.NDArray[Any]], config: Mapping[str, Any]
    ) -> FittedSearch:
        """From what `weights()` and `config()` gave."""
        members = []
        for i, workflow in enumerate(config["members"]):
            start = f"member{i:03d}."
            own = {n.removeprefix(start): w for n, w in weights.items() if n.startswith(start)}
            members.append(Member.restore(own, workflow))
        return cls(
            reader=Reader.restore(settings, weights, config["table"]),
            members=tuple(members),
            temperature=float(weights["search.temperature"][0]),
            scores=weights["search.scores"],
            facts=config["search"],
        )


def fit_search(
    settings: TableModel,
    train: Sequence[Example],
    tune: Sequence[Example],
    task: Task,
    *,
    seed: int,
    workflows: int,
    inner_folds: int,
    ensemble: int,
) -> FittedSearch:
    """Search on `train`, fit one temperature on `tune`.

    Raises ModelError as `fit_table` does, or where inner folds cannot be made.
    """
    table = fit_table(settings, train, task)
    tune_x, tune_truth = table.held(tune, task)
    drawn = draw_workflows(workflows, seed=seed)
    k = len(table.class_weights)
    with one_thread():
        fold = inner_split(table, inner_folds, seed=seed)
        decisions = try_all(table, drawn, fold)
        scores = score(decisions, table.truth, fold, k)
        best = sorted(range(len(drawn)), key=lambda i: (-scores[i], i))[:ensemble]
        members = tuple(_refit(table, [drawn[i] for i in best], decisions[best]))
        tries = [log_loss(_mean(members, tune_x, t), tune_truth, table.class_weights) for t in TEMPERATURES]
    facts = {
        "workflows": len(drawn),
        "inner_folds": int(fold.max()) + 1,
        "inner_auc": [float(scores[i]) for i in best],
        "drawn": dict(sorted(Counter(w.classifier for w in drawn).items())),
        "kept": dict(sorted(Counter(drawn[i].classifier for i in best).items())),
        "temperature": TEMPERATURES[int(np.argmin(tries))],
    }
    return FittedSearch(
        reader=table.reader, members=members, temperature=facts["temperature"], scores=scores, facts=facts
    )


def inner_split(table: Table, folds: int, *, seed: int) -> npt.NDArray[np.intp]:
    """The inner fold of each training unit, (n,): patients whole, dealt out class by class in an order drawn by hash.

    Fewer folds are made where a class has fewer patients. Raises ModelError where a class has but one.
    """
    k = len(table.class_weights)
    own: dict[str, set[int]] = {}
    for patient, truth in zip(table.patients, table.truth, strict=True):
        own.setdefault(patient, set()).add(int(truth))
    having = [sum(c in classes for classes in own.values()) for c in range(k)]
    if min(having) < 2:
        raise ModelError(
            f"a class with {min(having)} training patient",
            expected="two or more patients of every class, to split them for the search",
            todo="choose model logistic or forest, or leave the class out with where: and task.classes",
        )
    count = min(folds, *having)
    held = np.zeros((count, k))
    order = sorted(own, key=lambda p: (min(having[c] for c in own[p]), sorted(own[p]), key_of(["inner", seed, p]), p))
    at: dict[str, int] = {}
    for patient in order:
        mine = np.isin(np.arange(k), list(own[patient]))
        load = [(int(held[f, mine].sum()), int(held[f].sum()), f) for f in range(count)]
        at[patient] = min(load)[2]
        held[at[patient], mine] += 1
    fold = np.array([at[p] for p in table.patients], dtype=np.intp)
    for f in range(count):
        if len(set(table.truth[fold != f].tolist())) < k:
            raise ModelError(
                "inner folds that leave a class out of a fit, since its patients have several classes",
                expected="every class in every inner fit",
                todo="use fewer inner_folds, or choose model logistic or forest",
            )
    return fold


def try_all(table: Table, drawn: Sequence[Workflow], fold: npt.NDArray[np.intp]) -> Matrix:
    """Decisions on every unit by fits that did not see its fold, (workflows, n, q).

    A preparation is learnt once a fold for all workflows that share it.
    """
    k = len(table.class_weights)
    out = np.empty((len(drawn), len(table.x), 1 if k == 2 else k))
    shared: dict[tuple[str, str, int, float], list[int]] = {}
    for i, workflow in enumerate(drawn):
        shared.setdefault(workflow.preparation, []).append(i)
    for f in range(int(fold.max()) + 1):
        seen, held = np.flatnonzero(fold != f), np.flatnonzero(fold == f)
        bench = Workbench(table.x[seen], table.truth[seen], k)
        for settings, members in shared.items():
            preparation = bench.prepare(*settings)
            block, rows = Block(preparation.apply(bench.x)), preparation.apply(table.x[held])
            for i in members:
                fitted = _fit(drawn[i], block, bench.truth, k)
                out[i, held] = fitted.decide(rows)
    return out


def score(decisions: Matrix, truth: Truth, fold: npt.NDArray[np.intp], k: int) -> Matrix:
    """Mean over inner folds of the macro one-vs-rest AUC of each workflow, (workflows,)."""
    found = []
    for f in range(int(fold.max()) + 1):
        held = fold == f
        for column, c in enumerate([1] if k == 2 else range(k)):
            positive = truth[held] == c
            n, m = int(positive.sum()), int((~positive).sum())
            if n and m:
                ranks = rankdata(decisions[:, held, column], axis=1)
                found.append((ranks[:, positive].sum(1) - n * (n + 1) / 2) / (n * m))
    aucs: Matrix = np.mean(found, axis=0)
    return aucs


def _fit(workflow: Workflow, block: Block, truth: Truth, k: int) -> Decides:
    counts = np.bincount(truth, minlength=k)
    weights = len(truth) / (k * counts) if workflow.weighted else np.ones(k)
    return fit_classifier(workflow.classifier, block, truth, weights, workflow.settings, seed=workflow.seed)


def _refit(table: Table, chosen: Sequence[Workflow], decisions: Matrix) -> list[Member]:
    k = len(table.class_weights)
    bench = Workbench(table.x, table.truth, k)
    blocks: dict[tuple[str, str, int, float], tuple[Preparation, Block]] = {}
    members = []
    for workflow, seen in zip(chosen, decisions, strict=True):
        if workflow.preparation not in blocks:
            preparation = bench.prepare(*workflow.preparation)
            blocks[workflow.preparation] = preparation, Block(preparation.apply(table.x))
        preparation, block = blocks[workflow.preparation]
        slope, offset = platt(seen, table.truth, table.class_weights)
        fitted = _fit(workflow, block, table.truth, k)
        member = Member(workflow=workflow, preparation=preparation, classifier=fitted, slope=slope, offset=offset)
        members.append(_as_stored(member))
    return members


def _as_stored(member: Member) -> Member:
    """The member with its arrays laid out as they come back from a file: sums are taken in the order of memory."""
    weights = {name: np.ascontiguousarray(w) for name, w in member.weights().items()}
    return Member.restore(weights, member.workflow.to_json())


def platt(decisions: Matrix, truth: Truth, class_weights: Matrix) -> tuple[Matrix, Matrix]:
    """Slope and offset (q,) of a logistic curve from decisions (n, q) to being of the class, class-weighted.

    Targets are drawn in as in Platt, Probabilistic outputs for support vector machines, 1999; a slope below zero, of
    decisions worse than chance, becomes zero.
    """
    q = decisions.shape[1]
    slope, offset = np.zeros(q), np.zeros(q)
    w = class_weights[truth]
    for column, c in enumerate([1] if q == 1 else range(q)):
        d, spread = decisions[:, column], max(float(decisions[:, column].std()), 1e-12)
        z, positive = (d - d.mean()) / spread, truth == c
        target = np.where(positive, (positive.sum() + 1) / (positive.sum() + 2), 1 / ((~positive).sum() + 2))
        x, b = np.column_stack([z, np.ones_like(z)]), np.zeros(2)
        for _ in range(50):
            p = 1 / (1 + np.exp(-np.clip(x @ b, -30, 30)))
            bend = (x.T * (w * p * (1 - p))) @ x + 1e-6 * np.eye(2)
            step = np.linalg.solve(bend, x.T @ (w * (p - target)))
            b = b - np.clip(step, -2, 2)
            if np.abs(step).max() < 1e-8:
                break
        if b[0] <= 0:
            share = float((w * target).sum() / w.sum())
            b = np.array([0.0, np.log(share / (1 - share))])
        slope[column], offset[column] = b[0] / spread, b[1] - b[0] * d.mean() / spread
    return slope, offset


def _mean(members: Sequence[Member], x: Matrix, temperature: float) -> Matrix:
    """The members' mean probabilities (n, k), their logarithms divided by the temperature."""
    p = np.mean([m.probabilities(x) for m in members], axis=0)
    return softmax(np.log(np.maximum(p, 1e-12)) / temperature)
