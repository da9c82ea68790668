"""What the label can be told from without tissue: metadata, missing parts, size; and who is shown to do better."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from auditdata import FRAME, cohort, evidence_of, tables

from phenolens.audit import shortcuts
from phenolens.audit.labels import relabelled
from phenolens.audit.look import look
from phenolens.audit.metadata import acquisition, natural
from phenolens.core.errors import StudyError
from phenolens.core.types import Bag, Loaded


def _labels(examples) -> np.ndarray:
    return np.array([e.targets["type"] == "B" for e in examples])


def test_the_column_that_carries_the_label_is_named_and_a_better_model_makes_it_a_warning():
    examples = cohort(100)
    rng = np.random.default_rng(5)
    noisy = _labels(examples) ^ (rng.random(100) < 0.3)
    table = pd.DataFrame({"scanner": np.where(noisy, "Y", "X"), "thickness": rng.normal(size=100)})
    bad = shortcuts.acquisition(evidence_of(examples, draws=199), table)
    assert (bad.p, bad.severity) == (0.005, "error")
    assert "carried by scanner; no model is shown to do better" in bad.what
    assert "one level of scanner" in bad.todo
    assert len(bad.who) > 50
    better = shortcuts.acquisition(evidence_of(examples, draws=199, skill=8.0), table)
    assert better.severity == "warning"
    assert "model shown to do better" in better.what


def test_columns_that_mean_nothing_are_no_finding_and_nobody_is_named():
    examples = cohort(100)
    table = pd.DataFrame({"scanner": np.random.default_rng(6).choice(["X", "Y"], 100)})
    test = shortcuts.acquisition(evidence_of(examples, draws=199), table)
    assert test.p > 0.05
    assert (test.who, test.severity, test.todo) == ((), None, "")


def test_a_sequence_that_is_missing_by_label_names_those_who_lack_it():
    examples = cohort(100, sequences=("T1", "DWI"))
    drop = _labels(examples) & (np.random.default_rng(7).random(100) < 0.6)
    examples = [
        replace(e, parts=(e.parts[0], replace(e.parts[1], source=None if d else e.parts[1].source)))
        for e, d in zip(examples, drop, strict=True)
    ]
    evidence = evidence_of(examples, draws=199)
    looked = look(evidence.examples)
    assert list(looked.present.columns) == ["DWI"]
    test = shortcuts.missingness(evidence, looked.present)
    assert test.p == 0.005
    assert set(test.who) == {e.patient for e, d in zip(examples, drop, strict=True) if d}
    whole = evidence_of(cohort(60), draws=19)
    assert "no part is missing" in shortcuts.missingness(whole, look(whole.examples).present).what


def _sized(examples, volumes):
    made = []
    for e, v in zip(examples, volumes, strict=True):
        x = np.concatenate([[[np.exp(v)]], e.parts[0].source.bag.x], axis=1).astype(np.float32)
        names = ("volume", *(f"f{i}" for i in range(x.shape[1] - 1)))
        bag = Bag(x=x, coords=np.zeros((1, 3)), extent=1.0, names=names, frame=FRAME, recipe="t")
        made.append(replace(e, parts=(replace(e.parts[0], source=Loaded(bag=bag)),)))
    return made


def test_size_alone_is_a_finding_where_it_is_predictive_and_nobody_does_better():
    plain = cohort(100)
    examples = _sized(plain, np.random.default_rng(8).normal(size=100) + 1.5 * _labels(plain))
    alone = evidence_of(examples, draws=199, skill=1.0)
    table = look(alone.examples).size
    assert list(table.columns) == ["volume of the region (log)"]
    test = shortcuts.size(alone, table)
    assert (test.p, test.severity) == (0.005, "warning")
    assert "nothing beyond size is shown" in test.what
    beaten = shortcuts.size(evidence_of(examples, draws=199, skill=12.0), table)
    assert (beaten.p, beaten.severity) == (0.005, None)


def test_metadata_are_read_from_both_tables_dates_as_days_and_ids_in_their_order():
    examples = cohort(12)
    patients, images = tables(examples, scanner=["X", "Y"] * 6)
    images = images.assign(format="dicom", acquired=[f"2020-01-{i + 1:02d}" for i in range(12)], file_size=range(12))
    table = acquisition(examples, look(examples).image, patients, images, ("scanner",))
    assert list(table.columns) == ["order of the patient ids", "scanner", "acquired", "file size"]
    assert np.diff(table["acquired"]).tolist() == [1.0] * 11
    with pytest.raises(StudyError, match="audit.acquisition: scaner"):
        acquisition(examples, look(examples).image, patients, images, ("scaner",))
    assert sorted(["P10", "P2", "P1a", "P1"], key=natural) == ["P1", "P1a", "P2", "P10"]


def test_several_images_of_a_unit_are_averaged_and_their_texts_joined():
    examples = cohort(6)
    patients, images = tables(examples)
    twice = pd.concat([images, images.assign(image=[f"{i}b" for i in images["image"]])], ignore_index=True)
    twice = twice.assign(mpp=np.arange(12.0), stain=["HE"] * 6 + ["HES", "HE"] * 3)
    lone = [replace(e, parts=(replace(e.parts[0], image="none of these"),)) for e in examples]
    table = acquisition(lone, look(lone).image, patients, twice)
    assert table["mpp"].tolist() == [3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
    assert table["stain"].tolist() == ["HE+HES", "HE"] * 3


def test_all_tests_share_relabellings_that_keep_the_counts_of_each_fold():
    examples = cohort(60)
    evidence = evidence_of(examples, draws=50)
    assert evidence.truth.shape == (51, 60)
    np.testing.assert_array_equal(evidence.truth[0], _labels(evidence.examples))
    for place in evidence.places:
        counts = evidence.truth[:, place.test].sum(1)
        assert (counts == counts[0]).all()
    assert len(np.unique(evidence.truth, axis=0)) > 45
    mixed = [replace(e, unit_id=f"{e.patient}-{u}", targets={"type": "AB"[(i + u) % 2]})
             for i, e in enumerate(examples) for u in range(2)]  # fmt: skip
    drawn = relabelled(mixed, evidence.folds, "type", ("A", "B"), draws=5, seed=0)
    pairs = drawn.reshape(6, 60, 2)
    assert (pairs.sum(2) == 1).all()
