from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from openpyxl import Workbook

from phenolens.cohort.reading import read_sheet
from phenolens.cohort.table import read_table
from phenolens.core.errors import CohortError

WANTED = pd.DataFrame({"patient": ["007", "Müller"], "age": [50, 61], "mpp": [0.25, 0.5]})
TEXT = "patient,age,mpp\n007,50,0.25\nMüller,61,0.5\n"


def table(folder: Path, data: bytes, name: str = "t.csv") -> Path:
    (folder / name).write_bytes(data)
    return folder / name


@pytest.mark.parametrize(
    "data",
    [
        TEXT.encode(),
        TEXT.encode("utf-8-sig"),
        TEXT.encode("latin-1"),
        TEXT.encode("utf-16"),
        TEXT.replace(",", "\t").encode(),
        TEXT.replace(",", ";").replace("0.", "0,").encode("utf-8-sig"),
        ("sep=;\r\n" + TEXT.replace(",", ";").replace("\n", "\r\n")).encode(),
        TEXT.replace("007", " 007 ").replace("Müller", '"Müller"').encode(),
        TEXT.replace("ü", "u\u0308").encode(),
    ],
    ids=["utf-8", "bom", "latin-1", "utf-16", "tab", "semicolon", "excel-sep", "spaces", "decomposed"],
)
def test_every_writing_of_a_csv_reads_the_same(tmp_path: Path, data: bytes) -> None:
    pd.testing.assert_frame_equal(read_table(table(tmp_path, data)), WANTED)


def test_xlsx_reads_the_same_and_says_which_sheet(tmp_path: Path) -> None:
    book = Workbook()
    book.active.title = "cohort"
    for row in (["patient", "age", "mpp", None], ["007", 50, 0.25, None], [None] * 4, ["Müller", 61.0, 0.5, None]):
        book.active.append(row)
    book.create_sheet("old")
    book.save(tmp_path / "t.xlsx")
    pd.testing.assert_frame_equal(read_table(tmp_path / "t.xlsx"), WANTED)
    sheet = read_sheet(tmp_path / "t.xlsx")
    assert list(sheet.cells.index) == [2, 4]
    assert sheet.notes == ("t.xlsx has 2 sheets; only the first, 'cohort', is read (not old)",)


def test_parquet_reads_the_same(tmp_path: Path) -> None:
    WANTED.to_parquet(tmp_path / "t.parquet")
    pd.testing.assert_frame_equal(read_table(tmp_path / "t.parquet"), WANTED)


def test_ids_stay_text_and_codes_with_leading_zeros_stay_codes(tmp_path: Path) -> None:
    read = read_table(table(tmp_path, b"patient,block,grade\n1,01,1\nNA,02,\n"))
    assert read["patient"].tolist() == ["1", "NA"]
    assert read["block"].tolist() == ["01", "02"]
    assert read["grade"].iloc[0] == 1
    assert np.isnan(read["grade"].iloc[1])


def test_a_latin_1_table_is_said_so(tmp_path: Path) -> None:
    assert "not UTF-8" in read_sheet(table(tmp_path, TEXT.encode("latin-1"))).notes[0]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no header"),
        (b"patient,age\n\n,\n", "a header and no row"),
        (b"patient,age\nP1,50\nP2,6,1\n", "t.csv row 3: found 3 cells in a table of 2 columns"),
        (b"patient,age\nP1,50\n\nP2\n", "t.csv row 4: found 1 cells in a table of 2 columns"),
        (b"patient,age,age\nP1,50,51\n", "columns named twice: 'age'"),
        (b'patient,age\nP1,"50\n', "text that is not CSV"),
        (b"patient,age\nP1,\x00\n", "bytes that are not text"),
        (b"PK\x03\x04 no workbook", "not an Excel workbook"),
        (b"PAR1 no parquet", "not Parquet"),
        (b"\xd0\xcf\x11\xe0 old", "save it as .xlsx"),
        (b"patient,age\nP1,#REF!\n", "t.csv row 2, column age: found the spreadsheet error #REF!"),
    ],
)
def test_a_broken_table_is_refused_with_its_place(tmp_path: Path, data: bytes, said: str) -> None:
    with pytest.raises(CohortError) as fault:
        read_sheet(table(tmp_path, data))
    assert said in str(fault.value)


def test_a_table_that_is_not_there_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    table(tmp_path, b"a", "patients.csv")
    with pytest.raises(CohortError, match="did you mean 'patients.csv'"):
        read_sheet(tmp_path / "patient.csv")
