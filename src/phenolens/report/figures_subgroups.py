"""Forest plots of subgroups and of sites, as SVG with the same bytes for the same data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Polygon

from phenolens.report.figures import BLUE, GRID, INK, ORANGE, SOFT, _svg, shorten


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a forest: a heading (no value, no told), or a name with counts, value, limits and a text beside it.

    `value` is None where nothing can be estimated, and `told` says so. `differs` marks a line that is told apart.
    """

    name: str
    counts: str = ""
    value: float | None = None
    low: float | None = None
    high: float | None = None
    told: str = ""
    heading: bool = False
    differs: bool = False


@dataclass(frozen=True, kw_only=True)
class Sum:
    """The last line of a forest of sites: the mean with its confidence limits, and those for a new site."""

    value: float
    confidence: tuple[float, float] | None
    prediction: tuple[float, float] | None


def forest(lines: Sequence[Line], *, everyone: float | None, label: str, head: tuple[str, str, str]) -> bytes:
    """Subgroups below their headings: value with interval, counts on the left, the difference from the rest in words.

    The dashed line is no information (0.5), the dotted one the value of all patients.
    """

    def draw(figure: Figure) -> None:
        axes = _frame(figure, lines, (label, head), 0.5, _lowest(lines))
        if everyone is not None:
            axes.axvline(everyone, color=SOFT, lw=1, ls=":", zorder=0)
            _above(axes, everyone, "all patients", SOFT, up=9 if abs(everyone - 0.5) < 0.2 else 0)
        for y, line in zip(range(len(lines))[::-1], lines, strict=True):
            _draw(axes, y, line)

    return _svg(draw, (8.6, 1.15 + 0.29 * len(lines)))


def sites(lines: Sequence[Line], total: Sum, *, nothing: float | None, label: str, head: tuple[str, str, str]) -> bytes:
    """Sites that were each left out, the mean over them (a diamond) and where a new site is expected (a bar)."""
    rows = [*lines, Line(name="mean over sites", told=_limits(total.confidence))]
    rows += [Line(name="a new site", told=_limits(total.prediction))]

    def draw(figure: Figure) -> None:
        ends = [x for limits in (total.confidence, total.prediction) if limits for x in limits]
        axes = _frame(figure, rows, (label, head), nothing, min([_lowest(lines), *(x - 0.03 for x in ends)]))
        axes.axhline(1.5, color=GRID, lw=0.8)
        for y, line in zip(range(len(rows))[::-1], rows, strict=True):
            _draw(axes, y, line)
        low, high = total.confidence or (total.value, total.value)
        shape = [(low, 1), (total.value, 1.28), (high, 1), (total.value, 0.72)]
        axes.add_patch(Polygon(shape, closed=True, color=BLUE))
        if total.prediction is not None:
            axes.plot(list(total.prediction), [0, 0], color=ORANGE, lw=5, solid_capstyle="butt")
        axes.axvline(total.value, color=SOFT, lw=1, ls=":", zorder=0)

    return _svg(draw, (8.6, 1.15 + 0.29 * len(rows)))


def _lowest(lines: Sequence[Line]) -> float:
    known = [x for line in lines for x in (line.value, line.low) if x is not None]
    return min(0.4, *known) - 0.03 if known else 0.4


def _limits(limits: tuple[float, float] | None) -> str:
    return f"{limits[0]:.2f} to {limits[1]:.2f}" if limits else "not estimable"


def _frame(
    figure: Figure,
    lines: Sequence[Line],
    texts: tuple[str, tuple[str, str, str]],
    nothing: float | None,
    low: float,
) -> Axes:
    """Three columns: names with counts, the drawing, and words; their heads above. `nothing` is no information."""
    label, head = texts
    axes: Axes
    left, axes, right = figure.subplots(1, 3, width_ratios=(2.6, 3.4, 2.3), sharey=True)
    for column in (left, right):
        column.set(xlim=(0, 1))
        column.axis("off")
    top = len(lines) - 0.25
    for column, x, text, align in (
        (left, 0, head[0], "left"),
        (left, 1, head[1], "right"),
        (right, 0, head[2], "left"),
    ):
        column.text(x, top, text, ha=align, va="bottom", color=SOFT, fontsize=8)
    for y, line in zip(range(len(lines))[::-1], lines, strict=True):
        weight = "bold" if line.heading or line.differs else "normal"
        left.text(0 if line.heading else 0.05, y, shorten(line.name, 30), va="center", fontweight=weight)
        left.text(1, y, line.counts, va="center", ha="right", color=SOFT, fontsize=8)
        right.text(0, y, line.told, va="center", color=INK if line.differs else SOFT, fontsize=8, fontweight=weight)
    axes.set(ylim=(-0.7, len(lines) + 0.35), xlim=(max(0.0, low), 1.02), xlabel=label)
    axes.set_yticks([])
    if nothing is not None:
        axes.axvline(nothing, color=ORANGE, lw=1, ls="--", zorder=0)
        _above(axes, nothing, "no information", ORANGE)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color=GRID, lw=0.8)
    axes.set_axisbelow(True)
    return axes


def _above(axes: Axes, x: float, text: str, colour: str, up: int = 0) -> None:
    axes.annotate(text, (x, 1), xycoords=("data", "axes fraction"), xytext=(2, up), textcoords="offset points",
                  color=colour, fontsize=7, va="bottom")  # fmt: skip


def _draw(axes: Axes, y: float, line: Line) -> None:
    if line.value is None:
        return
    if line.low is not None and line.high is not None:
        axes.plot([line.low, line.high], [y, y], color=BLUE, lw=2, solid_capstyle="butt")
    axes.plot([line.value], [y], "s" if line.differs else "o", color=ORANGE if line.differs else BLUE, ms=6)
