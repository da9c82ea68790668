"""Convolutions that give the region's box and nothing more, from an image that holds the margin they need."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from phenolens.features.radiomics._compiled import compiled

Values = npt.NDArray[np.float64]
Taps = npt.NDArray[np.float64]
"""The 2r + 1 values of a kernel at offsets -r to r; the response to an impulse is the kernel itself."""
Margin = tuple[int, int, int]
"""Voxels around the box on every side, along z, y and x."""


def separable(x: Values, margin: Margin, kernels: Sequence[Taps]) -> Values:
    """x convolved along z, y and x with one kernel each, on the box that lies `margin` inside x.

    No kernel may reach further than the margin.
    """
    made = x
    for axis in range(3):
        made = along(made, axis, margin[axis], kernels[axis])
    return made


def along(x: Values, axis: int, margin: int, kernel: Taps) -> Values:
    """x convolved along one axis, without the `margin` voxels at either end of that axis."""
    reach = len(kernel) // 2
    if len(kernel) % 2 == 0 or reach > margin:
        raise ValueError(f"a kernel of {len(kernel)} values needs an odd number and a margin of {reach}, not {margin}")
    cut = [slice(None)] * 3
    cut[axis] = slice(margin - reach, x.shape[axis] - margin + reach)
    part = np.ascontiguousarray(x[tuple(cut)])
    shape = list(part.shape)
    shape[axis] -= 2 * reach
    outer = int(np.prod(shape[:axis]))
    inner = int(np.prod(shape[axis + 1 :]))
    out = np.zeros((outer, shape[axis], inner))
    weights = np.ascontiguousarray(kernel[::-1])
    if inner == 1:
        _rows(part.reshape(outer, -1), weights, out[..., 0])
    else:
        _planes(part.reshape(outer, -1, inner), weights, out)
    return out.reshape(shape)


@compiled
def _planes(x: Any, weights: Any, out: Any) -> None:
    """out[:, i] = the weighted sum of x[:, i:i + taps]; the last axis runs along."""
    for o in range(out.shape[0]):
        for i in range(out.shape[1]):
            for t in range(len(weights)):
                w = weights[t]
                if w != 0.0:
                    for k in range(out.shape[2]):
                        out[o, i, k] += w * x[o, i + t, k]


@compiled
def _rows(x: Any, weights: Any, out: Any) -> None:
    """The same along the last axis."""
    for o in range(out.shape[0]):
        for t in range(len(weights)):
            w = weights[t]
            if w != 0.0:
                for i in range(out.shape[1]):
                    out[o, i] += w * x[o, i + t]
