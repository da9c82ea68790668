"""Site confounding takes two things at once: labels that follow the site, and features that tell it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from auditdata import cohort, evidence_of

from phenolens.audit.look import look
from phenolens.audit.site import confounding, robustness, within_sites
from phenolens.core.types import Split

CONFOUNDED = (0.2, 0.3, 0.5, 0.7, 0.8)


def _confounding(examples, within=None, **kind):
    evidence = evidence_of(examples, draws=199, **kind)
    return confounding(evidence, look(evidence.examples).pooled, within or {})


def test_the_finding_needs_labels_that_follow_the_site():
    test, facts = _confounding(cohort(150, prevalence=CONFOUNDED), {"model": 0.4})
    assert (test.p, test.severity) == (0.005, "error")
    assert "no model is shown to beat chance within sites" in test.what
    assert facts.site_only > 0.65
    assert facts.readable["auc"] > 0.95
    assert facts.readable["moved"] == "within label"
    assert [s["n"] for s in facts.shares] == [30] * 5
    balanced, _ = _confounding(cohort(150, seed=1))
    assert balanced.p > 0.05
    assert balanced.severity is None


def test_features_that_tell_the_label_alone_do_not_tell_the_site():
    p = []
    for seed in range(12):
        test, facts = _confounding(cohort(100, seed=seed, prevalence=CONFOUNDED, signature=0, biology=1.0), seed=seed)
        assert facts.label_p < 0.1
        p.append(test.p)
    assert np.mean(np.array(p) < 0.05) <= 2 / 12


def test_a_model_that_beats_chance_within_sites_makes_it_a_warning():
    test, _ = _confounding(cohort(100, prevalence=CONFOUNDED), {"good": 0.01, "other": None})
    assert test.severity == "warning"
    assert "good still beat chance" in test.what
    untested, _ = _confounding(cohort(100, prevalence=CONFOUNDED), {"model": None})
    assert untested.severity == "warning"


def test_sites_that_each_hold_one_label_are_the_worst_case_and_are_found():
    test, facts = _confounding(cohort(60, prevalence=(0.0, 1.0)))
    assert test.p == 0.005
    assert facts.readable["moved"].startswith("between all patients")
    assert facts.site_only == 1


def test_without_features_the_finding_rests_on_the_labels_and_says_so():
    evidence = evidence_of(cohort(100, prevalence=CONFOUNDED), draws=199)
    test, _ = confounding(evidence, None, {})
    assert test.p < 0.05
    assert "was not tested: the features are volumes" in test.what


def test_one_site_is_not_tested():
    test, facts = _confounding(cohort(60, prevalence=(0.5,)))
    assert test.p is None
    assert facts.why_not == "one site"


def test_where_folds_keep_sites_whole_folds_are_drawn_that_mix_them():
    examples = cohort(100, prevalence=CONFOUNDED)
    everyone = frozenset(e.patient for e in examples)
    made = []
    for f in range(5):
        test = frozenset(e.patient for e in examples if e.covariates["site"] == f"S{f}")
        made.append(Split(scheme="leave_one_site_out", repeat=0, fold=f, train=everyone - test, tune=frozenset(),
                          test=test, seed=0))  # fmt: skip
    evidence = replace(evidence_of(examples, draws=199), splits=tuple(made))
    test, facts = confounding(evidence, look(evidence.examples).pooled, {"model": 0.4})
    assert facts.folds_drawn
    assert test.p == 0.005
    assert test.severity == "warning"


def test_within_sites_only_pairs_of_one_site_and_fold_count():
    evidence = evidence_of(cohort(40, prevalence=(0.1, 0.9)), draws=19)
    table = evidence.predictions.table.copy()
    table["p_B"] = np.where(table["site"] == "S1", 0.9, 0.1)
    table["p_A"] = 1 - table["p_B"]
    by_site = replace(evidence, predictions=replace(evidence.predictions, table=table))
    assert within_sites(by_site) == {"model": 0.5}
    table["p_B"] = np.where(table["truth"] == "B", 0.9, 0.1)
    table["p_A"] = 1 - table["p_B"]
    known = replace(evidence, predictions=replace(evidence.predictions, table=table))
    assert within_sites(known) == {"model": 1.0}


def test_the_robustness_index_is_the_share_of_neighbours_of_the_label_over_those_of_the_site():
    examples = cohort(60, prevalence=(0.5, 0.5), signature=5.0, seed=3)
    evidence = evidence_of(examples, draws=19)
    led_by_site = robustness(evidence, look(evidence.examples).pooled)
    assert led_by_site["same_site"] == 1
    assert led_by_site["index"] == pytest.approx(led_by_site["same_label"])
    biology = evidence_of(cohort(60, prevalence=(0.5, 0.5), signature=0, biology=5.0), draws=19)
    assert robustness(biology, look(biology.examples).pooled)["index"] > 1.5


def test_the_nearest_are_counted_without_the_patient_and_in_order():
    evidence = evidence_of(cohort(24, prevalence=(0.5, 0.5), d=2), draws=19)
    label = evidence.truth[0]
    pooled = np.stack([np.where(label == 1, 1.0, -1.0), np.zeros(len(label))], axis=1)
    found = robustness(evidence, pooled, neighbours=3)
    assert found["same_label"] == 1
    site = np.array(evidence.sites)
    order = np.arange(len(label))
    near = [[j for j in order if j != i and label[j] == label[i]][:3] for i in order]
    assert found["same_site"] == pytest.approx(np.mean([[site[j] == site[i] for j in near[i]] for i in order]))
