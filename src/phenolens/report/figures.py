"""The drawn figures, as SVG with the same bytes for the same data: no date, fixed ids, no global state."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

INK, SOFT, GRID = "#1d2733", "#5b6773", "#dfe4e8"
BLUE, ORANGE = "#0b5fa5", "#c2540a"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8c6d31")
STYLES = ("-", "--", "-.", ":")
MANY = 8
"""Classes above which curves are drawn one class an axes, over the others in grey."""

_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "phenolens",
    "font.size": 9,
    "text.parse_math": False,
    "text.color": INK,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "figure.facecolor": "white",
}


@dataclass(frozen=True, kw_only=True)
class Dot:
    """One line of a forest: a name, a value, its limits (None where there are none) and a group it belongs to."""

    name: str
    value: float
    low: float | None
    high: float | None
    strong: bool = True


def forest(dots: Sequence[Dot], *, reference: float | None, label: str, words: str) -> bytes:
    """Values with their intervals, one a line, beside a dashed line at what no skill scores."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        places = np.arange(len(dots))[::-1]
        for y, dot in zip(places, dots, strict=True):
            colour = BLUE if dot.strong else SOFT
            if dot.low is not None and dot.high is not None:
                axes.plot([dot.low, dot.high], [y, y], color=colour, lw=2, solid_capstyle="butt")
            axes.plot([dot.value], [y], "o" if dot.strong else "D", color=colour, ms=6.5 if dot.strong else 5)
        if reference is not None:
            axes.axvline(reference, color=ORANGE, lw=1, ls="--", zorder=0)
            axes.annotate(words, (reference, 1), xycoords=("data", "axes fraction"), xytext=(3, 3),
                          textcoords="offset points", color=ORANGE, fontsize=8)  # fmt: skip
        axes.set_yticks(places, [shorten(d.name, 44) for d in dots])
        axes.set_ylim(-0.6, len(dots) - 0.4)
        axes.set_xlabel(label)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x", color=GRID, lw=0.8)
        axes.set_axisbelow(True)
        ends = [x for d in dots for x in (d.low, d.high, d.value) if x is not None] + [reference or 0.0]
        if min(ends) >= 0 and max(ends) <= 1:
            axes.set_xlim(0, 1.02)

    return _svg(draw, (7.4, 1.0 + 0.34 * len(dots)))


def agreement(values: Mapping[str, Sequence[float]]) -> bytes:
    """Values between 0 and 1 by name, each patient a place across, in the order of the first."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        order = np.argsort(next(iter(values.values())), kind="stable")
        for (name, own), colour, shape in zip(values.items(), (BLUE, ORANGE), ("o", "D"), strict=False):
            axes.plot(np.arange(len(own)) + 1, np.asarray(own)[order], shape, color=colour, ms=4.5, label=name)
        axes.set(ylim=(-0.02, 1.12), xlabel="patients, the worst first", xlim=(0.3, len(order) + 0.7))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(axis="y", color=GRID, lw=0.8)
        axes.legend(loc="upper left", ncols=2, fontsize=8)

    return _svg(draw, (3.6, 3.2))


def sizes(drawn: Sequence[float], found: Sequence[float], label: str) -> bytes:
    """What was found over what was drawn, one dot a scan, beside the line on which both are equal; from 0 on."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        most = 1.05 * max([*drawn, *found, 1e-6])
        axes.plot([0, most], [0, most], color=SOFT, lw=0.9, ls=(0, (4, 3)), zorder=0)
        axes.plot(drawn, found, "o", color=BLUE, ms=4.5, alpha=0.8)
        axes.set(xlim=(0, most), ylim=(0, most), xlabel=f"drawn: {label}", ylabel=f"found: {label}", aspect="equal")
        axes.grid(color=GRID, lw=0.7)

    return _svg(draw, (3.3, 3.2))


def roc(curves: pd.DataFrame, classes: Sequence[str]) -> bytes:
    """One ROC curve a class (columns class, fpr, tpr)."""
    there = [c for c in classes if (curves["class"] == c).any()]
    if len(there) > MANY:
        return _svg(lambda figure: _many(figure, there, partial_roc(curves, there)), _grid_size(len(there)))

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for name in there:
            i = list(classes).index(name)
            mine = curves[curves["class"] == name]
            style = STYLES[(i // len(COLOURS) + i) % len(STYLES)]
            axes.plot(mine["fpr"], mine["tpr"], color=COLOURS[i % len(COLOURS)], ls=style, lw=1.7,
                      label=shorten(name, 24))  # fmt: skip
        _unit_square(axes, "false-positive rate (1 − specificity)", "true-positive rate (sensitivity)")
        axes.legend(loc="lower right", fontsize=8, handlelength=2.6)

    return _svg(draw, (3.7, 3.6))


def partial_roc(curves: pd.DataFrame, there: Sequence[str]) -> Callable[[Axes, str], None]:
    """A drawer of one class's curve over those of the others."""

    def draw(axes: Axes, name: str) -> None:
        for other in there:
            mine = curves[curves["class"] == other]
            front = other == name
            axes.plot(mine["fpr"], mine["tpr"], color=BLUE if front else GRID, lw=1.6 if front else 0.8,
                      zorder=3 if front else 1)  # fmt: skip
        _unit_square(axes, "", "")

    return draw


def confusion(counts: np.ndarray[Any, Any], classes: Sequence[str], unit: str) -> bytes:
    """Counts (k, k): rows the truth, columns the prediction; shaded by the share of the row."""
    k = len(classes)
    side = max(2.9, 0.45 * k + 1.5)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
        axes.imshow(share, cmap=matplotlib.colormaps["Blues"], vmin=0, vmax=1.25, aspect="equal")
        for i in range(k):
            for j in range(k):
                dark = share[i, j] > 0.62
                weight = "bold" if i == j else "normal"
                axes.text(j, i, str(counts[i, j]), ha="center", va="center", color="white" if dark else INK,
                          fontweight=weight, fontsize=10 if k <= MANY else 8)  # fmt: skip
        names = [shorten(c, 14) for c in classes]
        tilted = max(map(len, names)) > 5 or k > 6
        axes.set_xticks(range(k), names, rotation=40 if tilted else 0, ha="right" if tilted else "center",
                        rotation_mode="anchor")  # fmt: skip
        axes.set_yticks(range(k), [f"{n} ({t})" for n, t in zip(names, counts.sum(1), strict=True)])
        axes.set_xlabel("predicted")
        axes.set_ylabel(f"truth (number of {unit}s)")
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)

    return _svg(draw, (side + 0.8, side + 0.2))


def _many(
    figure: Figure, classes: Sequence[str], one: Callable[[Axes, str], None], labels: tuple[str, str] = ("", "")
) -> None:
    columns = _columns(len(classes))
    rows = -(-len(classes) // columns)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for axes, name in zip(grid.flat, classes, strict=False):
        one(axes, name)
        axes.set_title(shorten(name, 22), fontsize=9, fontweight="bold", loc="left")
    for axes in list(grid.flat)[len(classes) :]:
        axes.set_visible(False)
    if labels[0]:
        figure.supxlabel(labels[0], fontsize=9)
        figure.supylabel(labels[1], fontsize=9)


def _columns(count: int) -> int:
    return 1 if count == 1 else 2 if count <= 4 else 3 if count <= 9 else 4


def _grid_size(count: int) -> tuple[float, float]:
    columns = _columns(count)
    rows = -(-count // columns)
    cell = 3.3 if columns == 1 else 1.85
    return columns * cell + 0.4, rows * cell + 0.35


def _unit_square(axes: Axes, across: str, up: str) -> None:
    axes.plot([0, 1], [0, 1], color=SOFT, lw=0.9, ls=(0, (4, 3)), zorder=0)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel=across, ylabel=up, aspect="equal")
    axes.set_xticks([0, 0.5, 1])
    axes.set_yticks([0, 0.5, 1])
    axes.grid(color=GRID, lw=0.7)


def shorten(text: str, most: int) -> str:
    """The text, cut in its middle where it is longer than `most` characters."""
    if len(text) <= most:
        return text
    head = (most - 1) // 2
    return f"{text[:head]}…{text[-(most - 1 - head) :]}"


def _svg(draw: Callable[[Figure], None], size: tuple[float, float]) -> bytes:
    """Draw in a fixed style; texts stay texts, so that scripts matplotlib's font lacks are shown by the reader's."""
    buffer = io.BytesIO()
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    fonts = b"system-ui, 'Segoe UI', Helvetica, Arial, sans-serif"
    return buffer.getvalue().replace(b"'DejaVu Sans', 'Bitstream Vera Sans'", fonts + b", 'DejaVu Sans'")
