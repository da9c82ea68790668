"""The drawn figures of the section on uncertainty."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from phenolens.report.figures import BLUE, GRID, INK, ORANGE, SOFT, _svg, shorten

_ACROSS = 3


def risk_coverage(curves: pd.DataFrame, models: Sequence[str]) -> bytes:
    """Errors among the answers over the share answered, with pointwise limits, one axes a model; the dashed line is the
    error rate when everyone is answered, where shuffled confidence would lie."""
    across = min(_ACROSS, len(models))
    down = -(-len(models) // across)

    def draw(figure: Figure) -> None:
        grid = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True)
        for axes, model in zip(grid.flat, models, strict=False):
            mine = curves[curves["model"] == model].sort_values("coverage")
            x, risk = 100 * mine["coverage"], 100 * mine["risk"]
            axes.fill_between(x, 100 * mine["low"], 100 * mine["high"], color=BLUE, alpha=0.18, lw=0)
            axes.plot(x, risk, color=BLUE, lw=1.8)
            axes.axhline(float(risk.iloc[-1]), color=ORANGE, lw=1, ls="--", zorder=0)
            axes.set_title(shorten(model, 26), fontsize=9, fontweight="bold", loc="left")
            axes.set(xlim=(10, 100), ylim=(0, None))
            axes.grid(color=GRID, lw=0.7)
            axes.tick_params(color=SOFT)
        for axes in list(grid.flat)[len(models) :]:
            axes.set_visible(False)
        figure.supxlabel("patients answered, the surest first (of 100)", fontsize=9)
        figure.supylabel("errors per 100 answers", fontsize=9)

    return _svg(draw, (0.6 + 2.4 * across, 0.6 + 2.1 * down))


def coverage(found: pd.DataFrame) -> bytes:
    """Coverage of sets with its interval over what was promised, one line a model and alpha (columns name, promised,
    coverage, low, high, expected_low, expected_high, guaranteed)."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        rows = found.to_dict("records")
        for y, row in zip(range(len(rows))[::-1], rows, strict=True):
            first = y == len(rows) - 1
            if pd.notna(row["expected_low"]):
                axes.plot([100 * row["expected_low"], 100 * row["expected_high"]], [y, y], color="#d3dae0", lw=11,
                          solid_capstyle="butt", label="promised to 95 of 100 models" if first else None)  # fmt: skip
            if pd.notna(row["guaranteed"]):
                axes.plot([100 * row["guaranteed"]] * 2, [y - 0.3, y + 0.3], color=INK, lw=2.2,
                          label="guaranteed" if first else None)  # fmt: skip
            axes.plot([100 * row["promised"]] * 2, [y - 0.3, y + 0.3], color=ORANGE, lw=1.4, ls="--",
                      label="aimed at" if first else None)  # fmt: skip
            axes.plot([100 * row["low"], 100 * row["high"]], [y, y], color=BLUE, lw=2, solid_capstyle="butt")
            axes.plot([100 * row["coverage"]], [y], "o", color=BLUE, ms=6, label="found" if first else None)
        axes.set_yticks(range(len(rows))[::-1], [shorten(r["name"], 44) for r in rows])
        axes.set(ylim=(-0.6, len(rows) - 0.4), xlabel="patients whose true class is in the set (of 100)")
        lowest = min(100 * v for r in rows for v in (r["low"], r["guaranteed"]) if pd.notna(v))
        axes.set_xlim(max(0, lowest - 5), 101)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x", color=GRID, lw=0.8)
        axes.set_axisbelow(True)
        figure.legend(loc="outside lower left", ncols=3, fontsize=8)

    return _svg(draw, (7.4, 1.3 + 0.4 * len(found)))
