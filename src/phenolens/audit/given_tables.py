"""Predictions and splits that were made elsewhere, read into the tables that evaluation knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from phenolens.cohort.ownfile import PARTS
from phenolens.cohort.table import read_table
from phenolens.core.errors import ModelError, SplitError, nearest
from phenolens.core.predictions import Predictions

SCHEME = "elsewhere"
_NAMES: Mapping[str, tuple[str, ...]] = {
    "patient": ("patient", "patient_id", "patientid", "case", "case_id", "subject"),
    "truth": ("truth", "label", "y_true", "target", "ground_truth"),
    "score": ("score", "probability", "prob", "y_score", "y_prob", "pred_proba"),
    "fold": ("fold", "split", "cv_fold"),
    "repeat": ("repeat", "run", "iteration"),
    "model": ("model", "method"),
    "site": ("site", "hospital", "centre", "center", "institution"),
    "unit_id": ("unit_id", "image", "slide", "slide_id", "scan", "lesion"),
    "part": ("part", "set", "subset"),
}
"""What a column may be called, in any case of letters; the first that is there is taken."""


@dataclass(frozen=True, kw_only=True)
class Given:
    """Predictions made elsewhere; `taken` says which column was read as what, `has` which of them were there."""

    predictions: Predictions
    taken: Mapping[str, str]
    twice: tuple[str, ...]

    @property
    def folds(self) -> bool:
        return "fold" in self.taken


def read_given(path: Path, *, truth: str | None = None, positive: str | None = None) -> Given:
    """The test predictions of a table: patient, truth and a probability a class (or one score of two classes).

    Columns are known by the usual names; `truth` names the label's column where it is called otherwise, as in STAMP's
    patient-preds.csv. Probabilities stand in `p_CLASS`, `prob_CLASS`, `TRUTH_CLASS` or `CLASS`; a single score is that
    of `positive` (default: the last of two classes in order). Rows whose part is train or tune are left out.

    Raises ModelError naming what is missing, a score outside 0 to 1, or a row without truth.
    """
    table = read_table(path)
    taken = _taken(table, path, truth)
    rows = _test_rows(table, taken)
    labels = rows[taken["truth"]].map(_text)
    empty = rows[taken["patient"]][labels == ""]
    if len(empty):
        raise _fault(path, f"no {taken['truth']} for patient {empty.iloc[0]}", "a label in every row", "fill the cells")
    classes = tuple(sorted(set(labels)))
    p = _probabilities(rows, classes, taken, positive, path)
    made = _keyed(rows, taken).assign(truth=labels.to_numpy())
    made = made.assign(**{f"p_{c}": p[:, i] for i, c in enumerate(classes)})
    again = made.duplicated(["model", "repeat", "fold", "patient", "unit_id"])
    twice = tuple(sorted(set(made["unit_id"][again])))
    return Given(predictions=Predictions(table=made[~again], classes=classes), taken=taken, twice=twice)


def read_parts(path: Path) -> pd.DataFrame:
    """A split table as rows of repeat, fold, part (train, tune or test) and patient, each once; ours or another's.

    Rows of images count for their patient. Raises SplitError naming a missing column or an unknown part.
    """
    table = read_table(path)
    taken = {name: found for name in ("patient", "part", "fold", "repeat") if (found := _find(table, name)) is not None}
    for name in ("patient", "part"):
        if name not in taken:
            raise SplitError(
                f"no column for the {name}",
                expected=f"one of {', '.join(_NAMES[name])} beside {', '.join(map(str, table.columns))}",
                todo="name the columns patient, fold and part (train, tune, test)",
                where=str(path),
            )
    said = table[taken["part"]].map(lambda v: str(v).strip().casefold())
    wrong = sorted(set(said) - set(PARTS))
    if wrong:
        raise SplitError(
            f"part {wrong[0]!r}",
            expected="train, tune or test",
            todo=f"correct the cells{nearest(wrong[0], PARTS)}",
            where=f"{path}, column {taken['part']}",
        )
    made = pd.DataFrame(
        {
            "scheme": table["scheme"].map(str) if "scheme" in table else "",
            "repeat": _numbers(table, taken.get("repeat")),
            "fold": _numbers(table, taken.get("fold")),
            "part": said.map(PARTS),
            "patient": table[taken["patient"]].map(_text),
        }
    )
    return made.drop_duplicates(ignore_index=True)


def _fault(path: Path, found: str, expected: str, todo: str) -> ModelError:
    return ModelError(found, expected=expected, todo=todo, where=str(path))


def _text(value: object) -> str:
    if value is None or pd.isna(value):  # type: ignore[call-overload]
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def _find(table: pd.DataFrame, name: str) -> str | None:
    by_lower = {str(c).casefold(): str(c) for c in table.columns}
    return next((by_lower[n] for n in _NAMES[name] if n in by_lower), None)


def _taken(table: pd.DataFrame, path: Path, truth: str | None) -> dict[str, str]:
    taken = {name: found for name in _NAMES if (found := _find(table, name)) is not None}
    columns = [str(c) for c in table.columns]
    if truth is not None:
        if truth not in columns:
            raise _fault(path, f"no column '{truth}'", f"one of {', '.join(columns)}", "correct --truth")
        taken["truth"] = truth
    if taken.get("fold") == "split" and not pd.api.types.is_numeric_dtype(table["split"]):
        taken["part"] = taken.pop("fold")
    for name in ("patient", "truth"):
        if name not in taken:
            expected = f"one of {', '.join(_NAMES[name])} beside {', '.join(columns)}"
            todo = "rename the column" + (", or name it with --truth" if name == "truth" else "")
            raise _fault(path, f"no column for the {name}", expected, todo)
    return taken


def _test_rows(table: pd.DataFrame, taken: Mapping[str, str]) -> pd.DataFrame:
    if "part" not in taken:
        return table
    parts = table[taken["part"]].map(lambda v: PARTS.get(str(v).strip().casefold(), "test"))
    return table[parts == "test"]


def _probabilities(
    rows: pd.DataFrame, classes: Sequence[str], taken: Mapping[str, str], positive: str | None, path: Path
) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """(n, k) in the order of the classes."""
    if len(classes) < 2:
        raise _fault(path, f"one class only ({classes[0]})", "two or more", "give all test patients")
    prefixes = ("p_", "prob_", f"{taken['truth']}_", "")
    for prefix in prefixes:
        columns = [f"{prefix}{c}" for c in classes]
        if all(c in rows for c in columns):
            return _sound(rows[columns].to_numpy(dtype=float), columns, path)
    if "score" not in taken or len(classes) != 2:
        wanted = ", ".join(f"p_{c}" for c in classes)
        found = f"no probabilities of the classes {', '.join(classes)}"
        raise _fault(path, found, f"the columns {wanted}, or one score of two classes", "add or rename the columns")
    if positive is not None and positive not in classes:
        raise _fault(path, f"the positive class '{positive}'", f"one of {', '.join(classes)}", "correct --positive")
    score = rows[taken["score"]].to_numpy(dtype=float)
    both = np.column_stack([1 - score, score])
    first = classes[0] == positive
    return _sound(both[:, ::-1] if first else both, [taken["score"]], path)


def _sound(
    p: np.ndarray[tuple[int, int], np.dtype[np.float64]], columns: Sequence[str], path: Path
) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    if not np.isfinite(p).all() or (p < 0).any() or (p > 1).any():
        bad = int(np.flatnonzero(~np.isfinite(p).all(1) | (p < 0).any(1) | (p > 1).any(1))[0])
        found = f"scores outside 0 to 1 or missing (data row {bad + 1})"
        raise _fault(path, found, f"probabilities in {', '.join(columns)}", "give probabilities, not logits")
    sums = p.sum(1, keepdims=True)
    if (np.abs(sums - 1) > 0.02).any():
        bad = int(np.flatnonzero(np.abs(sums[:, 0] - 1) > 0.02)[0])
        found = f"probabilities that sum to {sums[bad, 0]:.3g} (data row {bad + 1})"
        raise _fault(path, found, "a sum of 1 in each row", "give the probabilities of all classes")
    made: np.ndarray[tuple[int, int], np.dtype[np.float64]] = p / sums
    return made


def _numbers(table: pd.DataFrame, column: str | None) -> pd.Series[int]:
    """Folds and repeats as whole numbers from 0, whatever they are called."""
    if column is None:
        return pd.Series(0, index=table.index)
    values = table[column].map(_text)
    if values.map(str.isdigit).all():
        return values.astype(int)
    place = {name: i for i, name in enumerate(sorted(set(values)))}
    return values.map(place)


def _keyed(rows: pd.DataFrame, taken: Mapping[str, str]) -> pd.DataFrame:
    patient = rows[taken["patient"]].map(_text)
    unit = rows[taken["unit_id"]].map(_text) if "unit_id" in taken else patient
    several = "unit_id" in taken and bool((unit != patient).any())
    return pd.DataFrame(
        {
            "experiment": "main",
            "scheme": SCHEME,
            "target": taken["truth"],
            "model": rows[taken["model"]].map(_text) if "model" in taken else "model",
            "repeat": _numbers(rows, taken.get("repeat")),
            "fold": _numbers(rows, taken.get("fold")),
            "part": "test",
            "patient": patient,
            "unit": "image" if several else "patient",
            "unit_id": unit,
            "site": rows[taken["site"]].map(_text).replace("", "unknown") if "site" in taken else "unknown",
            "split_hash": "",
        }
    )
