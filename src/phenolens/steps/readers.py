"""What human readers called the same patients, beside the model's predictions."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from phenolens.core.errors import StudyError, nearest


def with_readers(
    table: pd.DataFrame, patients: pd.DataFrame, readers: Sequence[str], classes: Sequence[str]
) -> pd.DataFrame:
    """The predictions table with a column `r_NAME` a reader: the class called for the patient, empty where none was.

    Raises StudyError for a column that is not there, or a call that is none of the classes, naming the patient.
    """
    for reader in readers:
        if reader not in patients.columns:
            columns = [str(c) for c in patients.columns]
            raise StudyError(
                f"reader '{reader}', which is no column of the patients table",
                expected=f"one of {', '.join(columns)}",
                todo=f"correct readers{nearest(reader, columns)}",
            )
        calls = patients[reader].map(lambda c: "" if c is None or pd.isna(c) else str(c).strip())
        wrong = calls[(calls != "") & ~calls.isin(list(classes))]
        if len(wrong):
            raise StudyError(
                f"the call {wrong.iloc[0]!r} of {reader} for patient {wrong.index[0]!r}",
                expected=f"one of {', '.join(classes)}, or an empty cell",
                todo=f"correct the cell{nearest(str(wrong.iloc[0]), classes)}",
                where=f"patients table, column {reader}",
            )
        table = table.assign(**{f"r_{reader}": table["patient"].map(calls).fillna("")})
    return table
