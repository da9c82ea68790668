"""Units and bags to examples."""

from __future__ import annotations

import numpy as np
import pandas as pd

from phenolens.core.types import Bag, Frame, Loaded
from phenolens.features.examples import examples, slide_parts


def bag(value: float) -> Loaded:
    frame = Frame(shape=(10, 10), spacing=(0.5, 0.5), origin=(0.0, 0.0), unit="um")
    x = np.full((2, 3), value, np.float32)
    return Loaded(bag=Bag(x=x, coords=np.zeros((2, 2)), extent=1.0, names=None, frame=frame, recipe=""))


UNITS = pd.DataFrame(
    {
        "unit_id": ["p1", "p2", "p3"],
        "patient": ["p1", "p2", "p3"],
        "site": ["A", "B", "A"],
        "truth": ["LMS", "SS", "LMS"],
        "images": [("i1", "i2"), ("i3",), ("i4", "i5")],
    }
)


def test_an_example_holds_all_bags_of_its_unit_in_order() -> None:
    made, without = examples(
        UNITS, slide_parts(UNITS, {"i2": bag(2), "i1": bag(1), "i3": bag(3), "i5": bag(5)}), "subtype"
    )
    assert without == []
    assert [e.unit_id for e in made] == ["p1", "p2", "p3"]
    assert [[p.name for p in e.parts] for e in made] == [["i1", "i2"], ["i3"], ["i5"]]
    assert made[0].instances()[:, 0].tolist() == [1, 1, 2, 2]
    assert made[1].covariates == {"site": "B"}
    assert made[1].targets == {"subtype": "SS"}


def test_a_unit_without_any_bag_is_named_not_filled() -> None:
    made, without = examples(UNITS, slide_parts(UNITS, {"i3": bag(3)}), "subtype")
    assert [e.patient for e in made] == ["p2"]
    assert without == ["p1", "p3"]
