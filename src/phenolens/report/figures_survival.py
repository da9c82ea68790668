"""The drawn figures of survival, in the style of `figures`: same bytes for the same data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from phenolens.report import figures
from phenolens.report.figures import BLUE, COLOURS, GRID, ORANGE, SOFT, STYLES, shorten

MOST_LEVELS = 8
"""Most levels drawn in one axes."""
_FEW = 10
"""Curves are drawn for as long as this many patients are followed."""


def kaplan_meier(steps: pd.DataFrame, levels: Sequence[str], *, until: float, time: str) -> bytes:
    """Survival by level (columns level, time, survival, low, high, at_risk, events) with the numbers at risk below.

    Bands are 95% limits; a tick is a censored patient. Drawn up to `until`, or longer while ten patients are followed.
    """
    end = max(until, _followed(steps))

    def draw(figure: Figure) -> None:
        axes, below = figure.subplots(2, 1, height_ratios=(5.2, 0.55 + 0.42 * len(levels)), sharex=True)
        for i, level in enumerate(levels):
            _curve(axes, steps[steps["level"] == level], _look(i, levels), shorten(level, 28))
        axes.set(xlim=(0, end * 1.02), ylim=(0, 1.03), ylabel="without the event", xlabel=time)
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.tick_params(labelbottom=True)
        axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0%", "25%", "50%", "75%", "100%"])
        axes.grid(color=GRID, lw=0.7)
        axes.legend(loc="lower left", fontsize=8, handlelength=2.6)
        _at_risk(below, steps, levels, [t for t in axes.get_xticks() if 0 <= t <= end])

    return figures._svg(draw, (6.6, 3.9 + 0.24 * len(levels)))


def _followed(steps: pd.DataFrame) -> float:
    """The last time at which ten patients of all levels together are followed."""
    leaving = steps.groupby("level", sort=False)["at_risk"].diff(-1).fillna(steps["at_risk"])
    ordered = steps.assign(leaving=leaving).sort_values("time", kind="stable")
    left = ordered["leaving"][::-1].cumsum()[::-1]
    enough = ordered["time"][left >= _FEW]
    return float(enough.iloc[-1]) if len(enough) else 0.0


def _look(i: int, levels: Sequence[str]) -> tuple[str, str]:
    """Colour and line style of a level; low risk is blue, high risk orange."""
    if set(levels) <= {"low", "high"}:
        return (BLUE, "-") if levels[i] == "low" else (ORANGE, "--")
    return COLOURS[i % len(COLOURS)], STYLES[i % len(STYLES)]


def _curve(axes: Axes, mine: pd.DataFrame, look: tuple[str, str], name: str) -> None:
    time, survival = mine["time"].to_numpy(dtype=float), mine["survival"].to_numpy(dtype=float)
    low, high = (mine[c].to_numpy(dtype=float) for c in ("low", "high"))
    n = f"{name} ({int(mine['at_risk'].iloc[0]):,})"
    axes.step(time, survival, where="post", color=look[0], ls=look[1], lw=1.7, label=n)
    axes.fill_between(time, low, high, step="post", color=look[0], alpha=0.14, lw=0)
    left = -np.diff(np.append(mine["at_risk"].to_numpy(dtype=float), 0)) - mine["events"].to_numpy(dtype=float)
    censored = (left > 0) & (time > 0)
    axes.plot(time[censored], survival[censored], "|", color=look[0], ms=5, mew=0.9)


def _at_risk(axes: Axes, steps: pd.DataFrame, levels: Sequence[str], ticks: Sequence[float]) -> None:
    axes.set_ylim(len(levels) - 0.4, -1.1)
    axes.set_yticks([-0.8, *range(len(levels))], ["at risk", *(shorten(level, 20) for level in levels)], fontsize=8)
    for i, level in enumerate(levels):
        mine = steps[steps["level"] == level]
        place = np.searchsorted(mine["time"].to_numpy(dtype=float), np.asarray(ticks), side="left")
        counts = np.append(mine["at_risk"].to_numpy(dtype=int), 0)[place]
        for tick, count in zip(ticks, counts, strict=True):
            axes.text(tick, i, f"{count:,}", ha="center", va="center", fontsize=8, color=_look(i, levels)[0])
    axes.get_yticklabels()[0].set_color(SOFT)
    axes.tick_params(axis="both", length=0, labelbottom=False)
    axes.tick_params(axis="y", pad=16)
    for spine in axes.spines.values():
        spine.set_visible(False)


def over_time(scores: pd.DataFrame, models: Sequence[str], *, time: str) -> bytes:
    """AUC (left) and Brier score (right) over time, a line a model.

    `scores` has the columns model, time, auc, brier and brier_everyone.
    """

    def draw(figure: Figure) -> None:
        left, right = figure.subplots(1, 2)
        for i, model in enumerate(models):
            mine = scores[scores["model"] == model]
            look = {"color": COLOURS[i % len(COLOURS)], "ls": STYLES[i % len(STYLES)], "lw": 1.7}
            left.plot(mine["time"], mine["auc"], marker="o", ms=3, label=shorten(model, 24), **look)
            right.plot(mine["time"], mine["brier"], marker="o", ms=3, **look)
        plain = scores.drop_duplicates("time").sort_values("time")
        dashed = {"color": SOFT, "lw": 1.2, "ls": (0, (4, 3))}
        right.plot(plain["time"], plain["brier_everyone"], label="one curve for all", **dashed)
        left.axhline(0.5, label="guessing", **dashed)
        left.set(ylabel="AUC at that time", xlabel=time, ylim=(min(0.4, float(scores["auc"].min()) - 0.05), 1.02))
        top = float(np.nanmax(scores[["brier", "brier_everyone"]].to_numpy(dtype=float)))
        right.set(ylabel="Brier score at that time", xlabel=time, ylim=(0, 1.25 * top))
        for axes in (left, right):
            axes.grid(color=GRID, lw=0.7)
            axes.xaxis.set_major_locator(MaxNLocator(6))
            axes.legend(loc="upper left", fontsize=8, handlelength=2.6)

    return figures._svg(draw, (7.4, 3.2))


def calibration(bins: pd.DataFrame) -> bytes:
    """Observed over forecast survival with 95% limits, one axes a horizon (columns horizon, forecast, observed, low,
    high)."""
    horizons = {f"at {h:g}": h for h in sorted(set(bins["horizon"]))}

    def one(axes: Axes, name: str) -> None:
        mine = bins[bins["horizon"] == horizons[name]]
        x, y, low, high = (mine[c].to_numpy(dtype=float) for c in ("forecast", "observed", "low", "high"))
        figures._unit_square(axes, "", "")
        around = np.nan_to_num(np.clip(np.array([y - low, high - y]), 0, None))
        axes.errorbar(x, y, yerr=around, fmt="o", color=BLUE, ms=4.5, lw=1.3, capsize=2)

    labels = ("mean forecast survival", "observed survival")
    size = figures._grid_size(len(horizons))
    return figures._svg(lambda figure: figures._many(figure, list(horizons), one, labels), size)
