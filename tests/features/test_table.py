"""A user's own feature table as features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from phenolens.core.errors import FeatureError
from phenolens.features.table import FeatureTable, read_feature_table

UNITS = pd.DataFrame({"unit_id": ["P1", "P2", "P3"], "patient": ["P1", "P2", "P3"]})
TABLE = "patient,b,a\nP2,3,4.5\nP1,1,2\nP3,5,-6e-1\n"


def read(tmp_path: Path, text: str = TABLE, units: pd.DataFrame = UNITS, **asked: object) -> FeatureTable:
    path = tmp_path / "features.csv"
    path.write_text(text, encoding="utf-8")
    return read_feature_table(path, units, **asked)  # type: ignore[arg-type]


def refusal(tmp_path: Path, text: str, **asked: object) -> str:
    with pytest.raises(FeatureError) as fault:
        read(tmp_path, text, **asked)
    return str(fault.value)


def values(table: FeatureTable, unit: str, part: int = 0) -> list[float]:
    bag = table.parts[unit][part].load()
    assert bag is not None
    assert bag.x.shape == (1, len(bag.names or ()))
    return bag.x[0].tolist()


def test_every_numeric_column_is_a_feature_of_its_unit(tmp_path: Path) -> None:
    table = read(tmp_path)
    assert table.findings == ()
    assert list(table.parts) == ["P1", "P2", "P3"]
    assert table.names == {"features": ("b", "a")}
    assert values(table, "P1") == [1, 2]
    assert values(table, "P3") == [5, np.float32(-0.6)]
    part = table.parts["P1"][0]
    assert (part.name, part.image) == ("features", "P1")


def test_the_recipe_is_of_names_and_values_and_not_of_place_or_row_order(tmp_path: Path) -> None:
    def recipes(text: str) -> list[str]:
        bags = [parts[0].load() for parts in read(tmp_path, text).parts.values()]
        return [bag.recipe for bag in bags if bag is not None]

    before = recipes(TABLE)
    lines = TABLE.splitlines()
    assert recipes("\n".join([lines[0], *reversed(lines[1:])])) == before
    assert recipes(TABLE.replace("P1,1,2", "P1,1,3"))[1:] == before[1:]
    assert recipes(TABLE.replace("P1,1,2", "P1,1,3"))[0] != before[0]
    assert recipes(TABLE.replace(",a\n", ",c\n"))[0] != before[0]


def test_images_and_lesions_are_found_by_their_own_columns(tmp_path: Path) -> None:
    images = pd.DataFrame({"unit_id": ["i1", "i2"], "patient": ["P1", "P2"]})
    text = "patient,image,a\nP1,i1,1\nP2,i2,2\n"
    assert values(read(tmp_path, text, images, unit="image"), "i2") == [2]
    said = refusal(tmp_path, text.replace("P1,i1", "P2,i1"), units=images, unit="image")
    assert "image 'i1' of patient P2; expected patient P1" in said
    lesions = pd.DataFrame({"unit_id": ["P1/1", "P1/2"], "patient": ["P1", "P1"]})
    assert values(read(tmp_path, "patient,lesion,a\nP1,1,1\nP1,2,7\n", lesions, unit="lesion"), "P1/2") == [7]
    assert "no column 'lesion'" in refusal(tmp_path, TABLE, units=lesions, unit="lesion")


def test_a_column_sequence_gives_a_unit_several_parts_and_absent_ones_have_no_source(tmp_path: Path) -> None:
    text = "patient,sequence,a,suv\nP1,CT,1,\nP1,PET,2,9\nP2,PET,3,8\nP3,CT,4,\n"
    table = read(tmp_path, text)
    assert table.names == {"CT": ("a",), "PET": ("a", "suv")}
    assert [(p.name, p.present) for p in table.parts["P2"]] == [("CT", False), ("PET", True)]
    assert values(table, "P1", 1) == [2, 9]
    assert [(f.rule, f.severity) for f in table.findings] == [("part-absent", "note")] * 2
    assert "without CT in features.csv: P2" in table.findings[0].what
    turned = read(tmp_path, text, parts=("PET", "CT"))
    assert [p.name for p in turned.parts["P2"]] == ["PET", "CT"]
    only = read(tmp_path, text, parts=("PET",))
    assert list(only.parts) == ["P1", "P2"]
    assert "no row of 'MR'" in refusal(tmp_path, text, parts=("CT", "MR"))
    assert "found an empty sequence in row 2" in refusal(tmp_path, text.replace("P1,CT", "P1,"))
    assert "neither a column 'sequence' nor 'part'" in refusal(tmp_path, TABLE, parts=("CT",))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("patient,", "Patient,", "(did you mean 'Patient'?)"),
        ("P1,1", ",1", "features.csv row 3, column patient: found an empty patient in row 3"),
        ("P1,1", "P2,1", "features.csv rows 2, 3: found 1 patient with several rows: P2"),
        ("P1,1", "p 01,1", "ids written otherwise than in the cohort: 'p 01' is 'P1' there"),
        ("P1,1", "P1,x", "text in 1 column: b ('x' in row 3)"),
        (
            "P1,1",
            "P1,",
            "features.csv row 3: found 1 hole (empty, infinite or beyond 3.4e+38) in 1 column of 2: b; row 3",
        ),
        ("P1,1", "P1,inf", "found 1 hole"),
        ("P1,1", "P1,1e39", "found 1 hole"),
        (",b,", ",subtype,", "the label, subtype, among the features"),
    ],
)
def test_a_fault_of_the_table_names_its_place(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert said in refusal(tmp_path, TABLE.replace(old, new), target="subtype")


def test_a_table_of_other_patients_is_refused(tmp_path: Path) -> None:
    said = refusal(tmp_path, "patient,a\nX,1\nY,2\n")
    assert "no unit of the cohort, such as 'X', 'Y'; expected ids as the cohort has them, such as P1, P2, P3" in said


def test_strangers_and_patients_without_row_or_values_are_named(tmp_path: Path) -> None:
    table = read(tmp_path, "patient,a\nP1,1\nQ,\nP2,\n")
    assert list(table.parts) == ["P1"]
    told = {f.rule: f for f in table.findings}
    assert "1 unit of features.csv not in the cohort, left out: Q" in told["features-of-strangers"].what
    assert told["unit-without-features"].who == ("P2", "P3")


def test_incomplete_columns_are_dropped_when_that_is_declared(tmp_path: Path) -> None:
    table = read(tmp_path, TABLE.replace("P1,1", "P1,"), drop_incomplete_columns=True)
    assert table.names == {"features": ("a",)}
    assert [f.rule for f in table.findings] == ["incomplete-columns-dropped"]
    assert "1 column of 2 with holes, left out: b" in table.findings[0].what
    text = "patient,a,b\nP1,1,\nP2,,2\nP3,1,1\n"
    assert "no complete column in features.csv" in refusal(tmp_path, text, drop_incomplete_columns=True)


def test_columns_that_are_no_features_are_named_with_wildcards(tmp_path: Path) -> None:
    text = "patient,diagnostics_v,diagnostics_n,a\nP1,x,1,1\nP2,y,2,2\nP3,z,3,3\n"
    assert read(tmp_path, text, ignore=["diagnostics_*"]).names == {"features": ("a",)}
    assert "features.ignore 'diag', which is no column" in refusal(tmp_path, text, ignore=["diag"])
    assert "no column of features" in refusal(tmp_path, text, ignore=["diagnostics_*", "a"])


def test_a_real_table_of_pyradiomics_is_read(real_data: Path, tmp_path: Path) -> None:
    path = real_data / "tables" / "lung1-radiomics" / "cleaned_feature_matrix.csv"
    if not path.exists():
        pytest.skip(f"no {path.name} in {real_data}")
    frame = pd.read_csv(path)
    ids = frame["PatientID"].tolist()
    units = pd.DataFrame({"unit_id": ids, "patient": ids})
    with pytest.raises(FeatureError, match="did you mean 'PatientID'"):
        read_feature_table(path, units)
    frame.rename(columns={"PatientID": "patient"}).to_csv(tmp_path / "features.csv", index=False)
    with pytest.raises(FeatureError, match=r"text in 3 columns: Overall.Stage \('IIIb' in row 2\)"):
        read_feature_table(tmp_path / "features.csv", units)
    text = ("Overall.Stage", "Histology", "gender")
    table = read_feature_table(tmp_path / "features.csv", units, ignore=text, drop_incomplete_columns=True)
    assert list(table.parts) == ids
    wanted = frame.drop(columns=["PatientID", *text]).dropna(axis=1)
    assert table.names == {"features": tuple(wanted.columns)}
    assert values(table, ids[-1]) == wanted.iloc[-1].to_numpy(np.float32).tolist()


def test_absence_written_as_zeros_is_refused_with_its_rows(tmp_path: Path) -> None:
    said = refusal(tmp_path, TABLE.replace("P1,1,2", "P1,0,0"))
    assert "1 row of zeros alone" in said
    assert "P1" in said
    assert "absence is not zero" in said
