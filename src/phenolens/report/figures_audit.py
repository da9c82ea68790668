"""Figures of the audit: what shuffled labels scored, and how label, site and features hang together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from phenolens.report.figures import BLUE, COLOURS, GRID, INK, ORANGE, SOFT, _svg, shorten

_BAR = "#b4bec7"
_BINS = 24


def null(tests: Sequence[Mapping[str, Any]], names: Sequence[str]) -> bytes:
    """A histogram of the scores of shuffled labels beside the score of the real ones, one axes a test; the null run's
    scores are ticks below, its limit a dashed line.
    """
    columns = 1 if len(tests) == 1 else 2
    rows = -(-len(tests) // columns)

    def draw(figure: Figure) -> None:
        grid = figure.subplots(rows, columns, squeeze=False, sharex=True)
        low, high = _around(tests)
        for n, (axes, test, name) in enumerate(zip(grid.flat, tests, names, strict=False)):
            _histogram(axes, test, (low, high), first=n == 0)
            axes.set_title(shorten(name, 40), fontsize=9, fontweight="bold", loc="left")
        for axes in list(grid.flat)[len(tests) :]:
            axes.set_visible(False)
        risks = "Uno" in str(tests[0].get("statistic", ""))
        figure.supxlabel("Uno's C, mean over folds" if risks else "macro AUC, mean over folds", fontsize=9)
        figure.legend(loc="outside upper left", ncols=2, fontsize=8)

    return _svg(draw, (5.2 if columns == 1 else 7.4, 0.9 + 2.1 * rows))


def _histogram(axes: Axes, test: Mapping[str, Any], around: tuple[float, float], *, first: bool) -> None:
    drawn = test["null"]["drawn"]
    what = "follow-ups" if "Uno" in str(test.get("statistic", "")) else "labels"
    counts, _, _ = axes.hist(drawn, bins=np.linspace(*around, _BINS + 1).tolist(), color=_BAR, label=f"shuffled {what}"
                             if first else None)  # fmt: skip
    top = 1.18 * float(np.max(np.asarray(counts)))
    axes.axvline(test["observed"], color=BLUE, lw=2, label=f"real {what}" if first else None)
    run = test.get("null_run", {})
    if run.get("drawn"):
        axes.plot(run["drawn"], [-0.05 * top] * len(run["drawn"]), "|", color=SOFT, ms=7,
                  label=f"null run ({what} moved between all patients)" if first else None)  # fmt: skip
        axes.axvline(0.5 + run["threshold"], color=ORANGE, lw=1, ls="--",
                     label="limit of the null run's mean" if first else None)  # fmt: skip
    axes.set(ylim=(-0.1 * top, top), xlim=around, ylabel="shufflings")
    axes.set_yticks([t for t in axes.get_yticks() if 0 <= t <= top])


def _around(tests: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    values = [x for t in tests for x in (t["observed"], *t["null"]["drawn"], *t.get("null_run", {}).get("drawn", []))]
    return max(0.0, min(values) - 0.04), min(1.02, max(values) + 0.04)


def sites(
    shares: Sequence[tuple[str, int, Sequence[float]]],
    classes: Sequence[str],
    read: Sequence[tuple[str, float, str]],
    floor: float = 0.5,
    score: str = "AUC",
) -> bytes:
    """Left the share of each class in each site (name, n, shares); right scores as (name, value, kind), kind "site" for
    what the site tells and "model" for what a model tells, beside guessing.
    """
    height = 1.5 + 0.3 * max(len(shares), len(read), 3)

    def draw(figure: Figure) -> None:
        left, right = figure.subplots(1, 2, width_ratios=(1.0, 1.0))
        _stacked(left, shares, classes)
        places = np.arange(len(read))[::-1]
        for y, (_, value, kind) in zip(places, read, strict=True):
            right.plot([floor, value], [y, y], color=ORANGE if kind == "site" else BLUE, lw=3, solid_capstyle="butt")
            right.plot([value], [y], "o" if kind == "model" else "D", color=ORANGE if kind == "site" else BLUE, ms=6)
            beside = {"xytext": (7, 0), "ha": "left"} if value >= floor else {"xytext": (-7, 0), "ha": "right"}
            right.annotate(f"{value:.2f}", (value, y), fontsize=8, color=INK, textcoords="offset points", va="center",
                           **beside)  # fmt: skip
        right.axvline(floor, color=SOFT, lw=1, ls="--", zorder=0)
        right.set_yticks(places, [shorten(name, 40) for name, _, _ in read])
        right.set(xlim=(min(0.38, *(v - 0.12 for _, v, _ in read)), 1.1), ylim=(-0.6, len(read) - 0.4),
                  xlabel=f"{score} (dashed: guessing)")  # fmt: skip
        right.set_xticks([0.4, 0.6, 0.8, 1.0])
        right.tick_params(axis="y", length=0)
        right.grid(axis="x", color=GRID, lw=0.8)
        right.set_axisbelow(True)

    return _svg(draw, (8.6, height))


def _stacked(axes: Axes, shares: Sequence[tuple[str, int, Sequence[float]]], classes: Sequence[str]) -> None:
    places = np.arange(len(shares))[::-1]
    start = np.zeros(len(shares))
    for c, name in enumerate(classes):
        own = np.array([row[2][c] for row in shares])
        axes.barh(places, own, left=start, height=0.72, color=COLOURS[c % len(COLOURS)], alpha=0.85,
                  label=shorten(name, 18), edgecolor="white", lw=0.6)  # fmt: skip
        start += own
    axes.set_yticks(places, [f"{shorten(name, 18)} ({n})" for name, n, _ in shares])
    axes.set(xlim=(0, 1), ylim=(-0.6, len(shares) - 0.4), xlabel="share of each class in a site")
    axes.tick_params(axis="y", length=0)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=min(4, len(classes)), fontsize=8, borderaxespad=0.2)
