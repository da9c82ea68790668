"""The signal: at 0 nothing but the label column knows the label, at 1 the tissue shows it."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phenolens.synth.arrangement import Extent
from phenolens.synth.cohort import Design, design_for, make
from phenolens.synth.marks import Kind, Marks
from phenolens.synth.patterns import PATTERNS, Body
from phenolens.synth.people import draw

RECIPES = ("sts-subtypes", "stt-phenotypes", "crlm-hgp")


def other_patterns(design: Design) -> Design:
    """The same design with the patterns dealt to other classes."""
    labels, patterns = zip(*design.classes, strict=True)
    return replace(design, classes=tuple(zip(labels, (*patterns[1:], patterns[0]), strict=True)))


@given(seed=st.integers(0, 10_000), recipe=st.sampled_from(RECIPES))
@settings(max_examples=15, deadline=None)
def test_without_signal_no_patient_depends_on_the_pattern_of_its_class(seed: int, recipe: str) -> None:
    design = design_for(recipe, signal=0.0, seed=seed, patients_per_class=4)
    assert draw(design) == draw(other_patterns(design))


@given(seed=st.integers(0, 10_000), recipe=st.sampled_from(RECIPES))
@settings(max_examples=15, deadline=None)
def test_with_signal_only_the_mixture_and_what_is_read_off_it_depend_on_the_class(seed: int, recipe: str) -> None:
    design = design_for(recipe, signal=1.0, seed=seed, patients_per_class=4)
    for one, other in zip(draw(design), draw(other_patterns(design)), strict=True):
        assert one.mixture != other.mixture
        columns = one.columns if recipe == "crlm-hgp" else other.columns
        slides = tuple(
            replace(b, plan=replace(b.plan, mixture=a.plan.mixture))
            for a, b in zip(one.slides, other.slides, strict=True)
        )
        assert replace(other, mixture=one.mixture, columns=columns, slides=slides) == one


def test_slides_without_signal_are_the_same_bytes_whatever_the_classes_patterns(tmp_path: Path) -> None:
    design = design_for("crlm-hgp", patients_per_class=1, slide_px=500, faults=False, signal=0.0)
    cohorts = {
        "none": make(tmp_path / "a", design, workers=0),
        "none, dealt otherwise": make(tmp_path / "b", other_patterns(design), workers=0),
        "full": make(tmp_path / "c", replace(design, signal=1.0), workers=0),
    }
    slides = {name: [p.read_bytes() for p in sorted(c.glob("slides/*"))] for name, c in cohorts.items()}
    assert slides["none"] == slides["none, dealt otherwise"]
    assert slides["none"] != slides["full"]


@given(seed=st.integers(0, 10_000), recipe=st.sampled_from(RECIPES))
@settings(max_examples=25, deadline=None)
def test_sites_are_balanced_over_the_classes(seed: int, recipe: str) -> None:
    design = design_for(recipe, seed=seed, faults=False)
    counts = Counter((p.label, p.site) for p in draw(design))
    assert set(counts.values()) == {design.patients_per_class // 2}


@pytest.mark.parametrize("signal", [0.0, 1.0])
def test_order_pen_size_and_number_of_slides_are_alike_in_every_class(signal: float) -> None:
    seen: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for seed in range(60):
        for rank, person in enumerate(draw(design_for("sts-subtypes", signal=signal, seed=seed))):
            first = person.slides[0].plan
            for name, value in {
                "order": rank,
                "pen": first.pen is not None,
                "slides": len(person.slides),
                "area": first.width * first.height,
                "share": first.share,
                "age": person.columns["age"],
                "sex": person.columns["sex"] == "F",
            }.items():
                seen[name][person.label].append(float(value))
    for name, by_label in seen.items():
        everyone = np.concatenate([*map(np.asarray, by_label.values())])
        for label, values in by_label.items():
            z = (np.mean(values) - everyone.mean()) / (everyone.std() / len(values) ** 0.5)
            assert abs(z) < 4, (name, label)


@pytest.mark.parametrize("recipe", RECIPES)
def test_at_full_signal_the_pattern_of_the_class_leads_in_most_patients(recipe: str) -> None:
    design = design_for(recipe)
    own = dict(design.classes)
    leads = [max(p.mixture, key=lambda m: m[1])[0] == own[p.label] for p in draw(design)]
    assert np.mean(leads) > 0.85


def drawn(name: str) -> Marks:
    return PATTERNS[name](Extent(0, 0, 600, 600), Body(), np.random.default_rng(5))


def shapes(name: str) -> dict[str, float]:
    table = drawn(name)
    nuclei = table.keep(table.kind >= Kind.OVAL)
    return {
        "long": float(np.median(nuclei.length / nuclei.width)),
        "count": len(nuclei) / 0.36,
        "spread": float(np.std(np.log(nuclei.length * nuclei.width))),
    }


def test_patterns_differ_in_nuclear_shape_size_and_density() -> None:
    found = {name: shapes(name) for name in ("fascicles", "storiform", "biphasic", "herringbone")}
    assert found["fascicles"]["long"] > 3 > found["biphasic"]["long"] > found["storiform"]["long"]
    assert found["storiform"]["spread"] > 1.5 * max(
        found[n]["spread"] for n in ("fascicles", "biphasic", "herringbone")
    )
    assert found["biphasic"]["count"] > 1.2 * max(found[n]["count"] for n in ("fascicles", "storiform", "herringbone"))
    assert set(drawn("herringbone").kind) == {Kind.FIBRE, Kind.WAVY}


def test_straight_bands_differ_from_herringbone_in_the_shape_of_nuclei_alone() -> None:
    straight, wavy = drawn("straight_bands"), drawn("herringbone")
    assert set(straight.kind) == {Kind.FIBRE, Kind.CIGAR}
    for column in ("x", "y", "theta", "length", "width", "strength"):
        np.testing.assert_array_equal(getattr(straight, column), getattr(wavy, column))


def test_growth_patterns_differ_in_lymphocytes() -> None:
    def small(name: str) -> int:
        table = drawn(name)
        return int(((table.kind == Kind.OVAL) & (table.length < 7.5) & (table.length < 1.4 * table.width)).sum())

    assert small("regular_glands") > 1.5 * small("irregular_glands")
