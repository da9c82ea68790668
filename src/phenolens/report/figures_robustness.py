"""Dose and response: what a model says of the true class as its images grow worse, one panel a fault."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from phenolens.report.figures import COLOURS, GRID, STYLES, _svg, shorten

_DOWNWARDS = ("jpeg",)
"""Faults whose dose is a quality: less is worse. They are drawn from 100, which is the tile as it was read."""
_ACROSS = 3
"""Panels beside each other."""
_SHIFT = 0.02
"""How far the points of models beside each other are moved apart, as a share of the panel's width."""


def dose_response(rows: pd.DataFrame, faults: Sequence[str], titles: Sequence[str], models: Sequence[str]) -> bytes:
    """Lines over doses with their intervals; rows has model, fault, dose, value, low, high, of one measure.

    The row of fault "none" is the left end of every line.
    """

    down = -(-len(faults) // _ACROSS)

    def draw(figure: Figure) -> None:
        grid = figure.subplots(down, _ACROSS, sharey=True, squeeze=False)
        for axes, fault, title in zip(grid.flat, faults, titles, strict=False):
            of = rows[rows["fault"].isin(["none", fault])]
            for i, model in enumerate(models):
                _line(axes, of[of["model"] == model], fault, i, len(models), shorten(model, 28))
            _dress(axes, sorted(set(rows.loc[rows["fault"] == fault, "dose"])), fault, title)
        for axes in list(grid.flat)[len(faults) :]:
            axes.set_visible(False)
        figure.supylabel("mean probability of the true class", fontsize=9)
        handles, names = grid.flat[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower left", ncols=4, fontsize=8)

    return _svg(draw, (7.4, 0.5 + 2.3 * down))


def _line(axes: Axes, rows: pd.DataFrame, fault: str, i: int, of: int, name: str) -> None:
    x = np.array([_at(d, n, fault) for d, n in zip(rows["dose"], rows["fault"], strict=True)])
    order = np.argsort(x, kind="stable")
    x = (x + _SHIFT * (i - (of - 1) / 2) * x.max())[order]
    value, low, high = (rows[c].to_numpy(dtype=float)[order] for c in ("value", "low", "high"))
    colour = COLOURS[i % len(COLOURS)]
    axes.plot(x, value, color=colour, ls=STYLES[i % len(STYLES)], marker="o", ms=4, lw=1.6, label=name)
    axes.vlines(x, low, high, color=colour, lw=1.1, alpha=0.7)


def _at(dose: float, fault: str, of: str) -> float:
    if fault == "none":
        return 0.0
    return 100 - dose if of in _DOWNWARDS else dose


def _dress(axes: Axes, doses: Sequence[float], fault: str, title: str) -> None:
    axes.set_title(title, fontsize=9, fontweight="bold", loc="left")
    names = ["none", *(f"{d:g}" for d in doses)]
    axes.set_xticks([0, *(_at(d, fault, fault) for d in doses)], names, rotation=45, fontsize=8)
    axes.set_ylim(-0.02, 1.02)
    axes.grid(axis="y", color=GRID, lw=0.8)
    axes.set_axisbelow(True)
