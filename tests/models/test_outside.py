"""Who is unlike the training patients: where the threshold comes from, and what is seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from bagdata import example
from sklearn.covariance import ledoit_wolf
from volumedata import rimmed

from phenolens.core.types import Example, Part
from phenolens.models.likeness import LEADING, fit_likeness
from phenolens.models.look import INSTANCES, intensities, look
from phenolens.models.outside import Outside, fit_outside
from phenolens.models.ruler import fit_ruler


def people(n: int, seed: int, *, d: int = 30, shift: float = 0.0, sites: int = 0, first: int = 0) -> list[Example]:
    """Patients with three tiles of correlated features; with `sites`, each site has a shift of its own."""
    rng, mixing = np.random.default_rng(seed), np.random.default_rng(99).normal(size=(6, d))
    made = []
    for i in range(n):
        own = rng.normal(size=6) @ mixing + rng.normal(0, 0.4, d) + shift
        site = f"S{i % sites}" if sites else "unknown"
        own = own + (np.random.default_rng(i % sites).normal(0, 0.5, d) if sites else 0)
        made.append(example(f"p{first + i:03d}", "AB"[i % 2], own + rng.normal(0, 0.3, (3, d)), site=site))
    return made


def share(found: Outside, examples: list[Example]) -> float:
    return float(np.mean([found.distance(e) > 1 for e in examples]))


def test_patients_like_the_training_stay_inside_and_others_do_not() -> None:
    inside, outside = [], []
    for seed in range(10):
        found = fit_outside(people(60, seed), people(20, 100 + seed, first=100))
        assert isinstance(found, Outside)
        inside.append(share(found, people(60, 200 + seed)))
        outside.append(share(found, people(60, 200 + seed, shift=4)))
    assert np.mean(inside) <= 0.10
    assert np.mean(outside) >= 0.95


def test_a_unit_that_breaks_the_correlations_of_training_is_outside_though_no_feature_is_unusual() -> None:
    found = fit_outside(people(80, 0), people(30, 1, first=100))
    assert isinstance(found, Outside)
    new = people(40, 2)
    order = np.random.default_rng(0).permutation(30)
    mixed = [example(e.patient, None, e.instances()[:, order]) for e in new]
    assert share(found, new) <= 0.1
    assert share(found, mixed) >= 0.9


def test_three_sites_set_the_threshold_and_leave_a_new_site_like_them_inside() -> None:
    train = people(90, 0, sites=6)
    of_sites = fit_outside(train, people(20, 1, first=100, sites=6))
    assert isinstance(of_sites, Outside)
    assert of_sites.record["threshold_from"] == "held-out sites of the training patients"
    assert of_sites.record["patients"] == 90
    known = [replace(e, covariates={"site": "unknown"}) for e in train]
    of_tune = fit_outside(known, people(20, 1, first=100, sites=6))
    assert isinstance(of_tune, Outside)
    assert of_tune.record["threshold_from"] == "tune patients"
    assert of_tune.record["patients"] == 20
    assert of_sites.threshold > of_tune.threshold


@pytest.mark.parametrize(
    ("train", "tune", "words"),
    [(9, 20, "9 training patients (10 needed)"), (30, 8, "8 patients to set the threshold on (9 needed)")],
)
def test_too_few_patients_give_a_reason(train: int, tune: int, words: str) -> None:
    assert fit_outside(people(train, 0), people(tune, 1, first=100)) == words


def test_a_patient_counts_once_for_the_threshold_with_the_worst_unit() -> None:
    tune = [replace(e, unit_id=f"{e.patient}-{i}") for e in people(5, 1, first=100) for i in range(4)]
    assert fit_outside(people(30, 0), tune) == "5 patients to set the threshold on (9 needed)"


def test_parts_that_are_absent_are_left_out_and_a_unit_of_unknown_parts_is_infinitely_far() -> None:
    def two(e: Example, *, gone: bool) -> Example:
        first, shifted = e.instances(), e.instances() + 50
        second = example(e.patient, None, shifted).parts[0].source
        parts = (
            Part(name="T1", image="a", source=example(e.patient, None, first).parts[0].source),
            Part(name="T2", image="b", source=None if gone else second),
        )
        return replace(e, parts=parts)

    train = [two(e, gone=i % 3 == 0) for i, e in enumerate(people(60, 0))]
    found = fit_outside(train, [two(e, gone=i % 3 == 0) for i, e in enumerate(people(20, 1, first=100))])
    assert isinstance(found, Outside)
    assert found.parts == ("T1", "T2")
    new = people(40, 2)
    assert share(found, [two(e, gone=True) for e in new]) <= 0.2
    assert share(found, [two(e, gone=False) for e in new]) <= 0.1
    other = replace(new[0], parts=(replace(two(new[0], gone=False).parts[0], name="DWI"),))
    assert found.distance(other) == np.inf


def test_the_look_of_a_bag_is_its_instances_evenly_spaced_where_they_are_many() -> None:
    one = example("p", "A", np.array([[1.0, 2.0], [3.0, 6.0]]), np.array([[5.0, 1.0]]))
    np.testing.assert_allclose(look(one).of("part0"), [[1, 2], [3, 6]])
    np.testing.assert_allclose(look(one).of(None), [[1, 2], [3, 6], [5, 1]])
    assert look(one).of("part2") is None
    many = look(example("p", "A", np.arange(500.0)[:, None])).of(None)
    assert many is not None
    assert len(many) == INSTANCES
    assert (many[0, 0], many[-1, 0]) == (0, 499)
    assert set(np.diff(many[:, 0])) <= {16, 17}


def test_volumes_are_seen_by_their_intensities() -> None:
    examples = rimmed(40)
    found = fit_outside(examples[:28], examples[28:])
    assert isinstance(found, Outside)
    volume = examples[0].parts[0].volume()
    assert volume is not None
    told = intensities(volume)
    channels = len(volume.x) - int(volume.mask_channel)
    assert told.shape == (14 * channels + 1,)
    assert told[7] == pytest.approx(float(volume.x[0].mean()), rel=1e-5)
    assert found.distance(examples[0]) < np.inf


def test_the_distances_are_those_of_the_shrunk_covariance_without_the_leading_components() -> None:
    rows = np.random.default_rng(0).normal(size=(60, 12)) * np.arange(1, 13)
    z = rows[:40]
    made = fit_likeness(z, rows)
    for new in np.random.default_rng(1).normal(size=(5, 12)) * 20:
        size, axes = np.linalg.eigh(ledoit_wolf(z)[0])
        first = axes[:, ::-1][:, :4].T @ (new - z.mean(0))
        assert made.components == 4
        assert made.distances(new)[1] == pytest.approx(np.sqrt((first**2 / size[::-1][:4]).mean()), rel=1e-5)
        size, axes = np.linalg.eigh(ledoit_wolf(rows)[0])
        share = np.cumsum(size[::-1]) / size.sum()
        leading = int(np.argmax(share >= LEADING))
        rest = axes[:, ::-1][:, leading:].T @ (new - z.mean(0))
        assert int(made.leading[0]) == leading
        assert made.distances(new)[2] == pytest.approx(np.sqrt((rest**2 / size[::-1][leading:]).mean()), rel=1e-5)


def test_with_more_features_than_instances_directions_that_none_shows_count_all_the_same() -> None:
    rows = np.random.default_rng(0).normal(size=(20, 60))
    made = fit_likeness(rows, rows)
    size, axes = np.linalg.eigh(ledoit_wolf(rows)[0])
    moved = np.random.default_rng(1).normal(size=60) * 5
    first = int(made.leading[0])
    rest = axes[:, ::-1][:, first:].T @ moved
    told = np.sqrt((rest**2 / size[::-1][first:]).mean())
    assert made.distances(moved + rows.mean(0))[2] == pytest.approx(told, rel=1e-4)


def test_a_feature_with_extreme_values_does_not_hide_what_all_others_do() -> None:
    """One feature is a thousand times itself in a tenth of the tiles; two others, equal in training, are opposed."""
    rng = np.random.default_rng(0)

    def person(i: int, sign: float = 1.0) -> Example:
        x = rng.normal(size=(10, 8))
        x[:, 1] = sign * x[:, 0] + rng.normal(0, 0.05, 10)
        x[:, 0] += (own := rng.choice([-1.5, 1.5]))
        x[:, 1] += sign * own
        x[:, 2] *= np.where(rng.random(10) < 0.1, 1000, 1)
        return example(f"p{i:03d}", "AB"[i % 2], x)

    found = fit_outside([person(i) for i in range(45)], [person(100 + i) for i in range(20)])
    assert isinstance(found, Outside)
    assert share(found, [person(200 + i) for i in range(60)]) <= 0.15
    assert share(found, [person(300 + i, -1.0) for i in range(60)]) >= 0.9


def test_the_ruler_leaves_the_middle_as_it_is_and_takes_logarithms_far_out() -> None:
    rows = np.random.default_rng(0).normal(3.0, 2.0, size=(4000, 1))
    made = fit_ruler([rows[i::40] for i in range(40)])
    assert made.middle == pytest.approx(3.0, abs=0.1)
    assert made.spread == pytest.approx(2.0, abs=0.1)
    squashed = made.apply(np.array([[3.0], [5.0], [2003.0], [20003.0]]))[:, 0] * made.scale + made.mean
    assert squashed[:2] == pytest.approx([0, np.arcsinh(1)], abs=0.05)
    assert squashed[3] - squashed[2] == pytest.approx(np.log(10), abs=1e-3)
    constant = fit_ruler([np.full((3, 1), 7.0)] * 5)
    assert constant.apply(np.array([[7.0]])) == pytest.approx(0)


def test_it_is_the_same_in_whatever_order_examples_come_and_restored_exactly() -> None:
    train, tune = people(30, 0), people(12, 1, first=100)
    made, again = fit_outside(train, tune), fit_outside(train[::-1], tune[::-1])
    assert isinstance(made, Outside)
    assert isinstance(again, Outside)
    restored = Outside.restore(made.weights(), made.config())
    for e in people(5, 2):
        assert made.distance(e) == again.distance(e) == restored.distance(e)
