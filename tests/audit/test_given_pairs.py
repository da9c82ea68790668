"""Pairs of one site and of two: p is spread over its range by chance, and small where the site carries the scores."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from phenolens.audit.given_pairs import p_of_folds, p_of_sites
from phenolens.evaluate.folds import Fold, Group


def _group(seed: int, *, n: int = 60, folds: int = 1, site: float = 0.0, fold: float = 0.0) -> Group:
    """Scores of which `site` and `fold` are read; two thirds of one site, and of the even folds, are of the class."""
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < 0.5
    north = rng.random(n) < np.where(truth, 0.67, 0.33)
    of = np.where(rng.random(n) < np.where(truth, 0.67, 0.33), 0, 1) if folds == 2 else np.zeros(n, dtype=int)
    z = rng.normal(size=n) + site * north + fold * (of == 0)
    p = 1 / (1 + np.exp(-z))
    made = []
    for f in range(folds):
        own = of == f
        names = np.array([f"u{i}" for i in np.flatnonzero(own)], dtype=object)
        where = np.where(north[own], "north", "south").astype(object)
        made.append(
            Fold(name=(0, f, ""), patient=np.flatnonzero(own), unit_id=names, site=where,
                 truth=truth[own].astype(np.int64), p=np.column_stack([1 - p, p])[own])
        )  # fmt: skip
    key = dict.fromkeys(("experiment", "scheme", "target"), "x") | {"model": str(seed)}
    return Group(key=key, folds=tuple(made), ratio=None, classes=("no", "yes"))


def test_p_is_spread_over_its_range_where_scores_do_not_know_the_block() -> None:
    sites = np.array([p_of_sites(_group(s), "yes", 99) for s in range(100)])
    folds = np.array([p_of_folds(_group(s, folds=2), "yes", 99) for s in range(100)])
    for found in (sites, folds):
        assert 0.4 < found.mean() < 0.6
        assert (found <= 0.05).mean() <= 0.11
        assert (found <= 0.2).mean() > 0.08


def test_p_is_small_where_the_site_or_the_fold_carries_the_scores() -> None:
    assert p_of_sites(_group(1, n=200, site=3.0), "yes", 199) == 1 / 200
    assert p_of_folds(_group(1, n=200, folds=2, fold=3.0), "yes", 199) == 1 / 200


def test_p_is_the_same_each_time_and_absent_where_no_pair_lies_in_one_block() -> None:
    assert p_of_sites(_group(3), "yes", 99) == p_of_sites(_group(3), "yes", 99)
    (fold,) = _group(3, n=6).folds
    alone = replace(fold, site=np.array([f"S{i}" for i in range(6)], dtype=object))
    assert math.isnan(p_of_sites(replace(_group(3, n=6), folds=(alone,)), "yes", 9))
