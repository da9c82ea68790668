"""Names and phrases in plain words: metrics, schemes, numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

METRICS: Mapping[str, str] = {
    "macro_auc": "macro AUC",
    "auc": "AUC",
    "balanced_accuracy": "balanced accuracy",
    "accuracy": "accuracy",
    "macro_precision": "macro precision",
    "macro_recall": "macro recall",
    "brier": "Brier score",
    "log_loss": "log loss",
    "uno_c": "Uno's C",
    "dice": "Dice",
    "median_dice": "median Dice",
    "surface_dice": "surface Dice",
    "median_surface_dice": "median surface Dice",
    "boundary_um": "boundary distance (µm)",
    "median_boundary_um": "median boundary distance (µm)",
    "boundary95_um": "95% boundary distance (µm)",
    "median_boundary95_um": "median 95% boundary distance (µm)",
    "cumulative_auc": "AUC at that time",
    "brier_at_horizon": "Brier score at that time",
    "scaled_integrated_brier": "gain over Kaplan–Meier",
    "integrated_brier": "integrated Brier score",
}
"""Metrics in the order in which tables show them; others follow by name."""

MEANING: Mapping[str, str] = {
    "macro_auc": "the chance that {unit} of a class gets a higher probability of it than {unit} of another class, "
    "averaged over the classes: 0.5 is guessing, 1 is perfect",
    "auc": "the chance that {unit} of the class gets a higher probability of it than {unit} of another class",
    "balanced_accuracy": "the share of right predictions within each class, averaged over the classes (macro recall)",
    "accuracy": "the share of right predictions; compare it with the share of the largest class",
    "macro_precision": "how often a stated class is the true one, averaged over the classes",
    "macro_recall": "the share of right predictions within each class, averaged over the classes",
    "uno_c": "the chance that of two patients the one with the earlier event had the higher risk, up to tau: 0.5 is "
    "guessing, 1 is perfect",
    "brier": "the mean squared error of the probabilities: 0 is perfect",
    "log_loss": "how surprised the model was by the truth: 0 is perfect",
    "cumulative_auc": "the chance that who has the event by then had a higher risk than who has not: 0.5 is guessing",
    "brier_at_horizon": "the mean squared error of the forecast survival at that time: 0 is perfect",
    "scaled_integrated_brier": "how much of the error of one curve for all (Kaplan–Meier) the forecasts remove: 0 is "
    "none, 1 all, below 0 they are worse",
    "integrated_brier": "the mean squared error of the forecast survival, averaged over time: 0 is perfect",
}

LOWER = frozenset(
    {
        *("brier", "log_loss", "brier_at_horizon", "integrated_brier"),
        *("boundary_um", "median_boundary_um", "boundary95_um", "median_boundary95_um"),
    }
)
"""Metrics of which the smaller value is the better one."""


def kind(images: str) -> dict[str, Any]:
    """How this page speaks of what was read: `images` of the manifest."""
    scans, slides = images == "scan", images in ("slide", "folder")
    plural = "scans" if scans else "slides" if slides else "features"
    region = "region" if scans else "tissue"
    return {
        "scans": scans,
        "slides": slides,
        "pieces": "voxels" if scans else "tiles",
        "images": plural,
        "Images": plural.capitalize(),
        "region": region,
        "Region": region.capitalize(),
    }


def metric(name: str) -> str:
    """The name of a metric for a reader."""
    return METRICS.get(name, name.replace("_", " "))


def meaning(name: str, unit: str) -> str:
    """What a metric says, in words; empty for metrics this page does not know."""
    return MEANING.get(name, "").format(unit="an image" if unit == "image" else f"a {unit}")


def direction(name: str) -> str:
    """An arrow to the better side; empty for metrics this page does not know."""
    return "↓" if name in LOWER else "↑" if name in METRICS else ""


def in_order(names: Sequence[str]) -> list[str]:
    """Metrics in the order of tables."""
    known = list(METRICS)
    return sorted(names, key=lambda n: (known.index(n) if n in known else len(known), n))


def scheme(name: str, validation: Mapping[str, Any]) -> str:
    """A validation scheme in words, with its folds and repeats where it has some."""
    folds, repeats = validation.get("folds", 0), validation.get("repeats", 1)
    again = f", repeated {repeats} times" if repeats and repeats > 1 else ""
    return {
        "patient_kfold": f"{folds}-fold cross-validation by patient{again}",
        "leave_one_site_out": "leave one site out",
        "site_preserved": f"{folds}-fold cross-validation that keeps each site in one fold{again}",
        "one_patient_per_class": f"cross-validation with one patient of each class in a test set{again}",
        "file": "cross-validation on the splits of the study's own file",
        "holdout": "locked holdout",
        "external": "a stored model on another cohort, nothing refitted",
    }.get(name, name.replace("_", " "))


def short_scheme(name: str) -> str:
    """A validation scheme in a few words, for the lines of a figure."""
    return {
        "patient_kfold": "by patient",
        "leave_one_site_out": "leave one site out",
        "site_preserved": "sites kept whole",
        "one_patient_per_class": "one patient per class",
        "file": "own splits",
    }.get(name, name.replace("_", " "))


def number(value: float | None, digits: int = 2) -> str:
    """A number with a true minus sign; a dash for none."""
    if value is None or not math.isfinite(value):
        return "–"
    shown = f"{value:.{digits}f}"
    shown = shown.removeprefix("-") if not float(shown) else shown
    return shown.replace("-", "−")


def limits(low: float | None, high: float | None, digits: int = 2) -> str:
    """An interval as "0.61 to 0.83"; empty for none."""
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return ""
    return f"{number(low, digits)} to {number(high, digits)}"


def p_value(p: float | None) -> str:
    """A p value: three decimals, two from 0.1 on."""
    if p is None or not math.isfinite(p):
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def count(number_: int, word: str) -> str:
    """ "1 patient", "12 patients", "1,400 patients"."""
    many = word[:-1] + "ies" if word.endswith("y") else word + ("es" if word.endswith(("ss", "x")) else "s")
    return f"{number_:,} {word if number_ == 1 else many}"


def listed(words: Sequence[str], last: str = "and") -> str:
    """ "a", "a and b", "a, b and c"."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}" if words else ""


def sentence(text: str) -> str:
    """The text with a capital first letter and one full stop."""
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".") if text else ""
