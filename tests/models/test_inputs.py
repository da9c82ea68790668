"""What a fit remembers of its inputs: volumes of one grid, or of any size where that is asked for."""

from __future__ import annotations

import json

import numpy as np
import pytest
from volumedata import example, volume

from phenolens.core.errors import ModelError
from phenolens.models.inputs import as_config, checked_inputs, from_config, inputs_of

FIRST = example("p0", "A", {"T1": None, "T2": volume(np.zeros((6, 7, 8)))})
LARGER = example("p1", "A", {"T1": volume(np.zeros((6, 7, 9))), "T2": None})


def test_volumes_of_another_size_are_refused_when_read_unless_any_size_is_asked_for() -> None:
    (checked,) = checked_inputs([LARGER], inputs_of(FIRST))
    with pytest.raises(ModelError, match="9 x 7 x 6 voxels in image 'p1-T1' of unit 'p1' and 8 x 7 x 6 in unit 'p0'"):
        checked.parts[0].volume()
    assert not checked.parts[1].present
    (free,) = checked_inputs([LARGER], inputs_of(FIRST, any_shape=True))
    assert free.parts[0].volume().x.shape == (1, 6, 7, 9)


@pytest.mark.parametrize("any_shape", [False, True])
def test_what_is_stored_of_the_inputs_comes_back(any_shape: bool) -> None:
    inputs = inputs_of(FIRST, any_shape=any_shape)
    back = from_config(json.loads(json.dumps(as_config(inputs))))
    assert as_config(back) == as_config(inputs)
    (checked,) = checked_inputs([FIRST], back)
    assert checked.parts[1].volume().x.shape == (1, 6, 7, 8)
    with pytest.raises(ModelError, match="and 1 in the training of this model"):
        checked_inputs([example("p", "A", {"T1": volume(np.zeros((2, 6, 7, 8)))})], back)[0].parts[0].volume()
