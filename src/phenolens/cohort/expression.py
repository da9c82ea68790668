"""Conditions on patients, such as `where: "histology != 'other' and age > 18"`, evaluated safely.

Only comparisons, and/or/not, in, column names and constants are allowed; anything else is refused before pandas
sees it. A column with spaces or a reserved word is written in backticks.
"""

from __future__ import annotations

import ast
import re
from itertools import pairwise
from typing import Any

import pandas as pd
from pandas.api.types import is_numeric_dtype

from phenolens.cohort.faults import did_you_mean, listed
from phenolens.core.errors import CohortError

_QUOTED = re.compile(r"`([^`]+)`")
_ALLOWED = (
    *(ast.Expression, ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.USub, ast.UAdd, ast.Compare),
    *(ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.In, ast.NotIn),
    *(ast.Name, ast.Load, ast.Constant, ast.List, ast.Tuple),
)
_EXAMPLE = "a condition such as histology != 'other' and age > 18"


def select(patients: pd.DataFrame, condition: str, *, where: str) -> pd.Series[bool]:
    """Which rows of `patients` (columns as in the table, `patient` among them) meet the condition.

    Raises CohortError, naming the nearest column, the forbidden piece or the comparison of numbers with text.
    """
    tree, columns = _parse(condition, where)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and columns.get(node.id, node.id) not in patients.columns:
            name = columns.get(node.id, node.id)
            raise CohortError(
                f"no column '{name}', which the condition {condition!r} names",
                expected=f"one of {listed(patients.columns, 20)}",
                todo=f"correct the condition{did_you_mean(name, patients.columns)}",
                where=where,
            )
    for column, value in _pairs(tree, columns):
        _check_types(patients[column], column, value, condition, where)
    try:
        chosen = _renamed(patients, tree, columns).query(ast.unparse(tree), engine="python")
    except (TypeError, ValueError, SyntaxError, NotImplementedError, KeyError) as fault:
        raise CohortError(
            f"the condition {condition!r}, which cannot be evaluated ({fault})",
            expected=_EXAMPLE,
            todo="correct the condition",
            where=where,
        ) from fault
    return pd.Series(patients.index.isin(chosen.index), index=patients.index)


def unseen(patients: pd.DataFrame, condition: str, *, where: str) -> list[str]:
    """Text the condition compares a column with and no patient has: most often a misspelling."""
    tree, columns = _parse(condition, where)
    said = []
    for column, value in _pairs(tree, columns):
        seen = sorted({str(v) for v in patients[column].dropna()})
        if isinstance(value, str) and value not in seen:
            said.append(f"no patient has {column} {value!r}{did_you_mean(value, seen)}")
    return said


def _parse(condition: str, where: str) -> tuple[ast.Expression, dict[str, str]]:
    """The checked syntax tree, and the names behind the stand-ins for columns in backticks."""
    columns: dict[str, str] = {}

    def stand_in(match: re.Match[str]) -> str:
        name = f"_column_{len(columns)}"
        columns[name] = match[1]
        return name

    try:
        tree = ast.parse(_QUOTED.sub(stand_in, condition).strip(), mode="eval")
    except SyntaxError as fault:
        raise CohortError(
            f"the condition {condition!r}, which cannot be read ({fault.msg})",
            expected=_EXAMPLE,
            todo="correct it; put names with spaces and reserved words in backticks: `tumour size` > 5, `class` == 'A'",
            where=where,
        ) from fault
    for node in ast.walk(tree):
        forbidden = not isinstance(node, _ALLOWED)
        if forbidden or (isinstance(node, ast.Constant) and not isinstance(node.value, (str, int, float))):
            piece = ast.unparse(node) if isinstance(node, ast.expr) else type(node).__name__
            raise CohortError(
                f"{piece!r} in the condition {condition!r}",
                expected="comparisons, and, or, not, in, column names and constants",
                todo="write it with these, or add a column to the patients table",
                where=where,
            )
    if not isinstance(tree.body, (ast.Compare, ast.BoolOp, ast.UnaryOp)):
        raise CohortError(
            f"{condition!r}, which compares nothing", expected=_EXAMPLE, todo="correct the condition", where=where
        )
    return tree, columns


def _renamed(patients: pd.DataFrame, tree: ast.Expression, columns: dict[str, str]) -> pd.DataFrame:
    """The columns the condition uses under plain names, and the names in the tree changed to these."""
    plain: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            node.id = plain.setdefault(columns.get(node.id, node.id), f"column_{len(plain)}")
    return pd.DataFrame({name: patients[column] for column, name in plain.items()}, index=patients.index)


def _pairs(tree: ast.Expression, columns: dict[str, str]) -> list[tuple[str, object]]:
    """Every (column, constant) that is compared."""
    pairs: list[tuple[str, object]] = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Compare):
            continue
        sides = [node.left, *node.comparators]
        for a, b in pairwise(sides):
            for name, value in ((a, b), (b, a)):
                if isinstance(name, ast.Name):
                    items = value.elts if isinstance(value, (ast.List, ast.Tuple)) else [value]
                    pairs += [(columns.get(name.id, name.id), i.value) for i in items if isinstance(i, ast.Constant)]
    return pairs


def _check_types(column: pd.Series[Any], name: str, value: object, condition: str, where: str) -> None:
    numeric = is_numeric_dtype(column)
    if not column.notna().any() or numeric != isinstance(value, str):
        return
    holds = "numbers" if numeric else "text"
    todo = f"write {value} without quotes" if numeric else f"write '{value}' in quotes"
    raise CohortError(
        f"column {name}, which holds {holds}, compared with {value!r} in the condition {condition!r}",
        expected="numbers compared with numbers and text with text",
        todo=todo,
        where=where,
    )
