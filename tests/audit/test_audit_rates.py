"""How often the audit is right, over 200 cohorts each (minutes; `make slow`); a few seeds run every time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from auditdata import TASK, audited, cohort, folds
from test_null_run import RIDGE

from phenolens.audit.null_run import null_run

CONFOUNDED = (0.2, 0.3, 0.5, 0.7, 0.8)
BALANCED = (0.5,) * 5
SEEDS = 200


def _rules(judged) -> set[str]:
    return {f.rule for f in judged.findings}


def _confounded(prevalence, seeds) -> float:
    found = [
        "site-confounding" in _rules(audited(cohort(150, seed=s, prevalence=prevalence), seed=s)) for s in range(seeds)
    ]
    return float(np.mean(found))


def _scanner(seed: int):
    """A scanner that is the label but for one patient in ten, and one that is anything."""
    examples = cohort(100, seed=seed)
    rng = np.random.default_rng(seed + 10_000)
    flips = rng.random(len(examples)) < 0.1
    scanner = ["XY"[(e.targets["type"] == "B") ^ bool(f)] for e, f in zip(examples, flips, strict=True)]
    return audited(examples, seed=seed, scanner=scanner, field=rng.choice([1.5, 3.0], len(examples)).tolist())


def _missing(seed: int):
    """DWI is missing in half of the patients of B and in 10% of those of A; T2 in 20% of anyone."""
    return audited(lacking(seed, {"A": 0.1, "B": 0.5}), seed=seed)


def lacking(seed: int, share: dict[str, float], n: int = 120, **kind):
    rng = np.random.default_rng(seed + 20_000)
    made = []
    for e in cohort(n, seed=seed, sequences=("T1", "T2", "DWI"), **kind):
        gone = {"T2": 0.2, "DWI": share[e.targets["type"]]}
        parts = tuple(replace(p, source=None) if rng.random() < gone.get(p.name, 0.0) else p for p in e.parts)
        made.append(replace(e, parts=parts))
    return made


def _honest(seed: int):
    """Biology, balanced sites that can be read, scanners and missing scans by chance, and the null run of a ridge."""
    examples = lacking(seed, {"A": 0.2, "B": 0.2}, biology=0.2)
    rng = np.random.default_rng(seed + 30_000)
    run = null_run([_whole(e) for e in examples], folds(examples, seed=seed), RIDGE, TASK, seed=seed, workers=0)
    return audited(
        examples,
        seed=seed,
        skill=1.5,
        null_runs=[{**run, "model": "ridge"}],
        scanner=rng.choice(["X", "Y", "Z"], len(examples)).tolist(),
        thickness=rng.normal(3, 1, len(examples)).tolist(),
    )


def _whole(example):
    """The example without its absent parts, which the quick ridge cannot read."""
    return replace(example, parts=tuple(p for p in example.parts if p.present))


def test_few_cohorts_of_every_kind_are_judged_rightly():
    assert _confounded(CONFOUNDED, 3) == 1
    assert _confounded(BALANCED, 3) == 0
    assert not _rules(_honest(0))
    for s in range(2):
        shortcut = next(f for f in _scanner(s).findings if f.rule == "acquisition-shortcut")
        assert "carried by scanner; no model is shown to do better" in shortcut.what
        assert shortcut.severity == "error"
        missing = next(f for f in _missing(s).findings if f.rule == "missingness-shortcut")
        assert "carried by DWI;" in missing.what


@pytest.mark.slow
def test_confounded_sites_are_flagged_in_95_percent_and_balanced_ones_in_5_percent():
    confounded, balanced = _confounded(CONFOUNDED, SEEDS), _confounded(BALANCED, SEEDS)
    assert confounded >= 0.95
    assert balanced <= 0.05


@pytest.mark.slow
def test_a_scanner_that_is_the_label_and_a_sequence_missing_by_label_are_flagged():
    scanner = np.mean(["acquisition-shortcut" in _rules(_scanner(s)) for s in range(SEEDS)])
    missing = np.mean(["missingness-shortcut" in _rules(_missing(s)) for s in range(SEEDS)])
    assert scanner >= 0.95
    assert missing >= 0.95


@pytest.mark.slow
def test_an_honest_study_has_any_finding_in_at_most_5_percent():
    found = [sorted(_rules(_honest(s))) for s in range(SEEDS)]
    rate = np.mean([bool(f) for f in found])
    assert rate <= 0.05, found
