"""Units as rows: columns by named part, and absent parts refused, imputed or left out, never filled with zeros."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from bagdata import CLASSES, shifted
from tabledata import cohort, unit, without

from phenolens.core.errors import ModelError, PluginError
from phenolens.core.registry import MODELS
from phenolens.core.types import Example
from phenolens.models.columns import TableModel
from phenolens.models.fit import run_fold
from phenolens.models.tabular import fit_table
from phenolens.tasks.classification import Classification

TASK = Classification(target="subtype", classes=CLASSES)
TWO = [unit("a", "A", T1=[1, 2], T2=[3, 4]), unit("b", "B", T1=[5, 6], T2=[7, 8])]
GAP = [*TWO, unit("c", "A", T1=[9, 10], T2=None)]
IMPUTE = TableModel(missing="impute")


def test_parts_that_recur_are_columns_of_their_own() -> None:
    table = fit_table(TableModel(), TWO, TASK)
    assert table.reader.names == ("T1/size", "T1/shape", "T2/size", "T2/shape")
    np.testing.assert_array_equal(table.x, [[1, 2, 3, 4], [5, 6, 7, 8]])


def test_a_part_with_several_instances_counts_with_their_mean() -> None:
    table = fit_table(TableModel(), [TWO[0], unit("b", "B", T1=np.array([[1, 2], [5, 4]]), T2=[0, 0])], TASK)
    np.testing.assert_array_equal(table.x[1], [3, 3, 0, 0])


def test_parts_whose_names_no_two_patients_share_are_pooled() -> None:
    slides = [
        unit("a", "A", slide1=np.array([[1, 2], [3, 4]]), slide2=[8, 9]),
        unit("b", "B", slide3=[5, 6]),
    ]
    table = fit_table(TableModel(), slides, TASK)
    assert table.reader.names == ("size", "shape")
    np.testing.assert_array_equal(table.x, [[4, 5], [5, 6]])
    np.testing.assert_array_equal(table.reader.row(unit("new", None, other=[1, 1])), [1, 1])


def test_the_order_of_parts_does_not_matter() -> None:
    turned = replace(TWO[0], parts=TWO[0].parts[::-1])
    table = fit_table(TableModel(), TWO, TASK)
    np.testing.assert_array_equal(table.reader.row(turned), table.reader.row(TWO[0]))


def test_an_absent_part_is_refused_unless_it_is_declared() -> None:
    with pytest.raises(ModelError, match="part 'T2' of unit 'c' absent, with missing: refuse"):
        fit_table(TableModel(), GAP, TASK)
    reader = fit_table(TableModel(), TWO, TASK).reader
    with pytest.raises(ModelError, match="part 'T1' of unit 'd' absent"):
        reader.row(unit("d", None, T1=None, T2=[0, 0]))
    with pytest.raises(ModelError, match="part 'T1' of unit 'd' absent"):
        reader.row(unit("d", None, T2=[0, 0]))


def test_an_absent_part_is_filled_with_the_median_of_training_and_marked() -> None:
    table = fit_table(IMPUTE, [*GAP, unit("d", "B", T1=[0, 0], T2=[100, 5])], TASK)
    assert table.reader.names[-1] == "T2/absent"
    np.testing.assert_array_equal(table.x[2], [9, 10, 7, 5, 1])
    np.testing.assert_array_equal(table.x[0], [1, 2, 3, 4, 0])


def test_the_medians_are_those_of_training_units_alone() -> None:
    train = cohort(30, absent=0.3)
    tune = cohort(20, seed=1, absent=0.3)
    far = [replace(e, parts=tuple(p for p in e.parts)) for e in cohort(20, seed=2, absent=0.3, signal=1e6)]
    fills = [MODELS.create("logistic", {"missing": "impute"}).fit(train, t, TASK, seed=0) for t in (tune, far)]
    np.testing.assert_array_equal(fills[0].weights()["table.fill"], fills[1].weights()["table.fill"])


def test_zeros_are_not_offered_for_what_is_absent() -> None:
    with pytest.raises(PluginError, match="a zero is a measurement"):
        MODELS.create("logistic", {"missing": "zero"})


def test_a_part_in_no_training_unit_is_refused_by_name_when_fitting_and_when_predicting() -> None:
    with pytest.raises(ModelError, match="part 'PET' absent in all 2 training units"):
        fit_table(IMPUTE, [unit("a", "A", T1=[1], PET=None), unit("b", "B", T1=[2], PET=None)], TASK)
    with pytest.raises(ModelError, match="part 'PET' of unit 'n', which no training unit had"):
        fit_table(IMPUTE, GAP, TASK).reader.row(unit("n", None, T1=[1, 2], PET=[3, 4]))


def test_every_subset_of_parts_predicts_and_one_unknown_to_training_is_flagged() -> None:
    train = [e if i % 2 else without(e, "T2") for i, e in enumerate(cohort(40))]
    model = MODELS.create("logistic", {"missing": "impute"})
    fitted = model.fit(train, cohort(20, seed=1), TASK, seed=0)
    whole = cohort(4, seed=3)
    subsets = [*whole, without(whole[0], "T1"), without(whole[1], "T2")]
    assert np.isfinite(fitted.predict(subsets)).all()
    assert fitted.flags(subsets) == ["", "", "", "", "the parts T2, which no training unit had", ""]


def test_a_subset_unknown_to_training_is_refused_where_that_is_declared() -> None:
    reader = fit_table(TableModel(missing="impute", new_subset="refuse"), GAP, TASK).reader
    with pytest.raises(ModelError, match="the parts T2, which no training unit had; expected .*: T1; T1[+]T2"):
        reader.row(unit("n", None, T1=None, T2=[1, 2]))


def test_complete_cases_train_without_incomplete_units_and_refuse_them() -> None:
    table = fit_table(TableModel(missing="complete"), GAP, TASK)
    assert table.patients == ("a", "b")
    with pytest.raises(ModelError, match="part 'T2' of unit 'c' absent, with missing: complete without a fallback"):
        table.reader.row(GAP[2])


def test_complete_cases_give_incomplete_units_the_prior_where_that_is_declared() -> None:
    train = [unit(f"u{i}", "AAB"[i % 3], T1=[i, 1], T2=[0, i * i]) for i in range(12)]
    for balanced, prior in ((True, [0.5, 0.5]), (False, [2 / 3, 1 / 3])):
        params = {"missing": "complete", "fallback": "prior", "balanced": balanced}
        fitted = MODELS.create("logistic", params).fit(train, train, TASK, seed=0)
        np.testing.assert_allclose(fitted.predict([GAP[2]])[0], prior, atol=1e-12)
        assert fitted.flags([GAP[2], GAP[0]]) == ["T2 absent: the shares of the classes in training", ""]


def test_no_complete_unit_is_said() -> None:
    halves = [unit("a", "A", T1=[1], T2=None), unit("b", "B", T1=None, T2=[2])]
    with pytest.raises(ModelError, match="no complete unit among 2 training units"):
        fit_table(TableModel(missing="complete"), halves, TASK)


def test_a_mean_over_all_parts_is_refused_where_parts_are_absent() -> None:
    with pytest.raises(ModelError, match="part 'T2' absent in training units, with by_part: false"):
        fit_table(TableModel(by_part=False), GAP, TASK)
    table = fit_table(TableModel(by_part=False), TWO, TASK)
    np.testing.assert_array_equal(table.x, [[2, 3], [6, 7]])
    with pytest.raises(ModelError, match="part 'T2' of unit 'c' absent"):
        table.reader.row(GAP[2])


def test_a_unit_without_any_part_is_named() -> None:
    with pytest.raises(ModelError, match="no instance in unit 'n'"):
        fit_table(IMPUTE, GAP, TASK).reader.row(unit("n", None, T1=None, T2=None))


def test_the_label_as_covariate_of_combat_is_refused() -> None:
    with pytest.raises(ModelError, match="ComBat by 'subtype', which is the label"):
        fit_table(TableModel(combat="subtype"), TWO, TASK)


def test_the_label_under_another_name_as_covariate_of_combat_is_refused() -> None:
    def read(e: Example, by: str) -> Example:
        return replace(e, covariates={"reader": by})

    named = [read(e, f"reader of {e.targets['subtype']}") for e in cohort(20)]
    with pytest.raises(ModelError, match="ComBat by 'reader', which is the label under another name in all 20"):
        fit_table(TableModel(combat="reader"), named, TASK)
    one_other = [read(named[0], "reader of B"), *named[1:]]
    assert fit_table(TableModel(combat="reader"), one_other, TASK).reader.combat is not None


def test_a_unit_without_the_covariate_is_named_with_what_is_there() -> None:
    with pytest.raises(ModelError, match=r"no 'scanner' for unit 'a'.*there: site"):
        fit_table(TableModel(combat="scanner"), TWO, TASK)


def test_a_site_unknown_to_training_is_refused_or_left_as_it_is() -> None:
    train = cohort(30, absent=0.2)
    new = replace(without(cohort(1)[0], "T2"), covariates={"site": "elsewhere"})
    refusing = fit_table(TableModel(missing="impute", combat="site"), train, TASK).reader
    with pytest.raises(ModelError, match="batch 'elsewhere', which training did not know.*combat_unseen: pool"):
        refusing.row(new)
    pooling = fit_table(TableModel(missing="impute", combat="site", combat_unseen="pool"), train, TASK).reader
    row = pooling.row(new)
    assert row is not None
    np.testing.assert_array_equal(row[:5], new.parts[0].load().x[0])  # type: ignore[union-attr]


def test_sites_that_differ_alike_in_every_part_are_brought_together() -> None:
    def moved(e: Example, i: int) -> Example:
        x = [np.asarray(p.load().x[0], dtype=float) * (1 + i % 3) + 10 * (i % 3) for p in e.parts]  # type: ignore[union-attr]
        return unit(e.patient, e.targets["subtype"], f"s{i % 3}", T1=x[0], T2=None if i % 5 == 0 else x[1])

    train = [moved(e, i) for i, e in enumerate(cohort(90, signal=0))]
    x = fit_table(TableModel(missing="impute", combat="site"), train, TASK).x
    site = np.arange(90) % 3
    assert max(np.ptp([x[site == s, :5].mean(0) for s in range(3)], axis=0)) < 0.8
    assert max(np.ptp([x[site == s, :5].std(0) for s in range(3)], axis=0)) < 0.8


@pytest.mark.parametrize("name", ["logistic", "forest", "search"])
def test_a_fold_with_absent_parts_runs_and_learns(name: str) -> None:
    from bagdata import split_of
    from sklearn.metrics import roc_auc_score

    examples = cohort(120, absent=0.3, signal=3)
    params = {"missing": "impute"} | ({"workflows": 30} if name == "search" else {})
    model = MODELS.create(name, params)
    fold = run_fold(model, TASK, split_of(examples), examples, seed=0, name=name)
    test = fold.table[fold.table["part"] == "test"]
    assert roc_auc_score(test["truth"] == "B", test["p_B"]) > 0.9


def test_features_without_names_are_numbered() -> None:
    assert fit_table(TableModel(), shifted(6), TASK).reader.names[:2] == ("part0/f0", "part0/f1")
