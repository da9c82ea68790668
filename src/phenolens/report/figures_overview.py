"""The figure of the page over all experiments: what speed costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatterSciNotation, LogLocator, ScalarFormatter

from phenolens.report.figures import BLUE, GRID, ORANGE, _svg

_LINE = 0.055
"""Height of a line of text on the scale of accuracy."""


@dataclass(frozen=True, kw_only=True)
class Paid:
    """One experiment: seconds a slide, accuracy and its limits (None where there are none)."""

    name: str
    seconds: float
    value: float
    low: float | None
    high: float | None


def speed(paid: Sequence[Paid], label: str, chance: float) -> bytes:
    """Accuracy over seconds a slide, with its interval; seconds on a logarithmic scale."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for one in paid:
            if one.low is not None and one.high is not None:
                axes.plot([one.seconds] * 2, [one.low, one.high], color=BLUE, lw=2, solid_capstyle="butt")
            axes.plot([one.seconds], [one.value], "o", color=BLUE, ms=6.5)
        for one, y in zip(paid, _apart(paid), strict=True):
            axes.annotate(one.name, (one.seconds, y), xytext=(7, 4), textcoords="offset points", fontsize=8)
        axes.axhline(chance, color=ORANGE, lw=1, ls="--", zorder=0)
        axes.annotate("chance", (1, chance), xycoords=("axes fraction", "data"), xytext=(-3, 3), ha="right",
                      textcoords="offset points", color=ORANGE, fontsize=8)  # fmt: skip
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_formatter(LogFormatterSciNotation(labelOnlyBase=True, minor_thresholds=(0, 0)))
        seconds = [one.seconds for one in paid]
        axes.set_xlim(min(seconds) / 1.6, max(seconds) * 2.2)
        axes.set_ylim(0, 1.02)
        axes.set_xlabel("seconds a slide, from file to prediction (log)")
        axes.set_ylabel(label)
        axes.grid(color=GRID, lw=0.8)
        axes.set_axisbelow(True)

    return _svg(draw, (6.4, 3.6))


def _apart(paid: Sequence[Paid]) -> list[float]:
    """Heights of the names, so that no two of points that lie side by side are written over each other."""
    given: dict[int, float] = {}
    for i in sorted(range(len(paid)), key=lambda i: -paid[i].value):
        beside = (y for j, y in given.items() if 1 / 3 < paid[j].seconds / paid[i].seconds < 3)
        given[i] = min([paid[i].value, *(y - _LINE for y in beside if y - paid[i].value < _LINE)])
    return [given[i] for i in range(len(paid))]
