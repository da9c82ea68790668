"""Two pictures of a probability: whether it is what happens, and whether deciding by it does good."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from phenolens.report.figures import BLUE, GRID, ORANGE, SOFT, _columns, _svg, _unit_square, shorten

_BARS = 25


@dataclass(frozen=True, kw_only=True)
class Stated:
    """What the picture of one class is made of: `curve` (columns predicted, observed, low, high; empty with few
    patients, when `bins` are drawn), the same of the recalibrated probabilities (or empty), and all probabilities (n,)
    with whether each unit is the class."""

    curve: pd.DataFrame
    mended: pd.DataFrame
    bins: pd.DataFrame
    p: npt.NDArray[np.float64]
    positive: npt.NDArray[np.bool_]


def reliability(classes: Mapping[str, Stated]) -> bytes:
    """Observed over stated probability, one class a panel; below each how many were told what, with and without it."""
    columns = _columns(len(classes))
    rows = -(-len(classes) // columns)

    def draw(figure: Figure) -> None:
        grid = figure.subplots(2 * rows, columns, squeeze=False, sharex=True, height_ratios=[4, 1] * rows)
        for place, (name, stated) in enumerate(classes.items()):
            row, column = divmod(place, columns)
            _panel(grid[2 * row, column], stated)
            if len(classes) > 1:
                grid[2 * row, column].set_title(shorten(name, 22), fontsize=9, fontweight="bold", loc="left")
            _told(grid[2 * row + 1, column], stated)
        for place in range(len(classes), rows * columns):
            row, column = divmod(place, columns)
            grid[2 * row, column].set_visible(False)
            grid[2 * row + 1, column].set_visible(False)
        what = f" of {shorten(next(iter(classes)), 24)}" if len(classes) == 1 else ""
        figure.supxlabel(f"stated probability{what}", fontsize=9)
        figure.supylabel("observed share", fontsize=9)

    side = 3.3 if columns == 1 else 2.1
    return _svg(draw, (columns * side + 0.5, rows * side * 1.28 + 0.35))


def _panel(axes: Axes, stated: Stated) -> None:
    _unit_square(axes, "", "")
    axes.set_aspect("auto")
    curve, bins, mended = stated.curve, stated.bins, stated.mended
    if len(curve):
        axes.fill_between(curve["predicted"], curve["low"], curve["high"], color=BLUE, alpha=0.18, lw=0)
        axes.plot(curve["predicted"], curve["observed"], color=BLUE, lw=1.7, label="as stated")
    else:
        y, low, high = (bins[c].to_numpy(dtype=float) for c in ("observed", "low", "high"))
        around = np.clip(np.array([y - low, high - y]), 0, None)
        axes.errorbar(bins["predicted"], y, yerr=around, fmt="o", color=BLUE, ms=4.5, lw=1.3, capsize=2)
    if len(mended):
        axes.plot(mended["predicted"], mended["observed"], color=ORANGE, lw=1.4, ls="--", label="recalibrated")
        axes.legend(loc="lower right", fontsize=7, handlelength=2)


def _told(axes: Axes, stated: Stated) -> None:
    """Counts of units with the class (up) and without it (down), each kind over its own largest bar."""
    edges = np.linspace(0, 1, _BARS + 1)
    middles, width = (edges[1:] + edges[:-1]) / 2, 0.9 / _BARS
    with_it, without = (np.histogram(stated.p[stated.positive == kind], edges)[0] for kind in (True, False))
    axes.bar(middles, with_it / max(with_it.max(), 1), width, color=BLUE)
    axes.bar(middles, -without / max(without.max(), 1), width, color="#9aa7b2")
    axes.axhline(0, color=SOFT, lw=0.8)
    axes.set(ylim=(-1.15, 1.15))
    axes.set_yticks([-1, 1], [str(without.max()), str(with_it.max())], fontsize=7)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    axes.tick_params(length=0)


def decision(curve: pd.DataFrame, *, name: str, threshold: float | None) -> bytes:
    """Net benefit of the model with its band over the threshold, beside acting on everyone and on no one."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        x = curve["threshold"]
        axes.fill_between(x, curve["low"], curve["high"], color=BLUE, alpha=0.18, lw=0)
        axes.plot(x, curve["net_benefit"], color=BLUE, lw=1.7, label="by the model")
        axes.plot(x, curve["treat_all"], color=ORANGE, lw=1.3, ls="--", label="on everyone")
        axes.axhline(0, color=SOFT, lw=1.3, ls=(0, (4, 3)), label="on no one")
        if threshold is not None:
            axes.axvline(threshold, color=SOFT, lw=0.9, ls=":")
            axes.annotate("fixed beforehand", (threshold, 0.02), xycoords=("data", "axes fraction"), rotation=90,
                          xytext=(-3, 2), textcoords="offset points", ha="right", color=SOFT, fontsize=7)  # fmt: skip
        top = max(float(curve["high"].max()), float(curve["treat_all"].max()), 0.01)
        axes.set(xlim=(0, 1), ylim=(-0.3 * top, 1.08 * top))
        axes.set(xlabel=f"probability of {shorten(name, 24)} from which one acts", ylabel="net benefit")
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
        axes.grid(color=GRID, lw=0.7)
        axes.legend(loc="upper right", fontsize=8, title="acting", title_fontsize=8, alignment="left")

    return _svg(draw, (4.4, 3.5))
