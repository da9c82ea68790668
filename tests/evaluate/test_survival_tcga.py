"""Real follow-up: overall survival of the TCGA sarcomas by subtype, against R survival."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from phenolens.core.predictions import SurvivalPredictions, survival_columns
from phenolens.evaluate.survival_curves import kaplan_meier, numbers_at_risk
from phenolens.evaluate.survival_tables import compare_levels, kaplan_meier_by, level_summary
from phenolens.evaluate.survival_tests import log_rank, rmst

R = json.loads((Path(__file__).parent / "reference" / "survival_tcga.json").read_text())
SUBTYPES = {
    "leiomyosarcoma": "LMS",
    "dedifferentiated": "DDLPS",
    "pleomorphic sarcoma": "UPS",
    "myxofibrosarcoma": "MFS",
    "nerve sheath": "MPNST",
    "synovial": "SS",
    "desmoid": "DT",
}
"""A piece of the histological type and its subtype."""


@pytest.fixture(scope="module")
def sarcomas(real_data: Path) -> pd.DataFrame:
    """The SARC patients with subtype, time in days and event."""
    path = real_data / "tables/tcga-cdr/TCGA-CDR_outcome.xlsx"
    if not path.exists():
        pytest.skip(f"no {path}")
    columns = ["bcr_patient_barcode", "type", "histological_type", "OS", "OS.time"]
    table = pd.read_excel(path, sheet_name="TCGA-CDR", usecols=columns)
    mine = table[table["type"] == "SARC"]
    kinds = mine["histological_type"].str.lower()
    return pd.DataFrame(
        {
            "patient": mine["bcr_patient_barcode"].to_numpy(),
            "subtype": [next(short for piece, short in SUBTYPES.items() if piece in kind) for kind in kinds],
            "time": mine["OS.time"].to_numpy(dtype=float),
            "event": mine["OS"].to_numpy(dtype=int),
        }
    )


def test_sarcomas_of_tcga_by_subtype_have_the_right_numbers(sarcomas):
    d = sarcomas
    counts = d["subtype"].value_counts().to_dict()
    assert (len(d), int(d["event"].sum())) == (261, 99)
    assert counts == {"LMS": 105, "DDLPS": 59, "UPS": 51, "MFS": 25, "SS": 10, "MPNST": 9, "DT": 2}
    for name, wanted in {"all": R["all"], **R["subtypes"]}.items():
        own = d if name == "all" else d[d["subtype"] == name]
        time, event = own["time"].to_numpy(), own["event"].to_numpy() == 1
        made = kaplan_meier(time, event)
        assert (len(own), int(event.sum())) == (wanted["patients"], wanted["events"])
        np.testing.assert_array_equal(numbers_at_risk(time, R["days"]), wanted["at_risk"])
        inside = [i for i, n in enumerate(wanted["at_risk"]) if n]
        found = np.array([made.row(float(R["days"][i]))[0] for i in inside])
        np.testing.assert_allclose(found, np.array(wanted["survival"])[inside], atol=1e-6)
        assert made.median == pytest.approx(wanted["median"] or np.nan, abs=1e-6, nan_ok=True)
    for i in (1, 2, 3):
        whole = kaplan_meier(d["time"].to_numpy(), d["event"].to_numpy() == 1).row(float(R["days"][i]))
        assert whole[:3] == pytest.approx([R["all"][k][i] for k in ("survival", "low", "high")], abs=1e-6)


def test_sarcomas_of_tcga_are_compared_as_r_compares_them(sarcomas):
    d = sarcomas
    time, event = d["time"].to_numpy(), d["event"].to_numpy() == 1
    test = log_rank(time, event, d["subtype"])
    assert (test.statistic, test.df) == pytest.approx((R["log_rank"]["statistic"], R["log_rank"]["df"]), abs=1e-6)
    assert rmst(time, event, 1825.0) == pytest.approx((R["rmst"], R["rmst_error"]), abs=1e-6)


def test_the_tables_of_the_report_give_the_same_by_a_subtype_column(sarcomas):
    d = sarcomas
    times = (365.0, 1095.0, 1825.0)
    curve = kaplan_meier(d["time"].to_numpy(), d["event"].to_numpy() == 1).curve.at(times)
    key = {"experiment": "main", "scheme": "patient_kfold", "target": "os", "model": "everyone", "repeat": 0, "fold": 0}
    rest = {"part": "test", "unit": "patient", "unit_id": d["patient"], "site": "TCGA", "split_hash": "h"}
    more = {"risk": 0.0, "group": "low", "g_subtype": d["subtype"]}
    forecast = dict(zip(survival_columns(times), curve, strict=True))
    table = d.drop(columns="subtype").assign(**key, **rest, **more, **forecast)
    predictions = SurvivalPredictions(table=table, times=times, horizons=times)
    summary = level_summary(predictions, "g_subtype").set_index("level")
    assert summary["patients"].to_dict() == {k: v["patients"] for k, v in R["subtypes"].items()}
    assert summary["events"].to_dict() == {k: v["events"] for k, v in R["subtypes"].items()}
    row = compare_levels(predictions, "g_subtype").iloc[0]
    assert row["statistic"] == pytest.approx(R["log_rank"]["statistic"], abs=1e-6)
    steps = kaplan_meier_by(predictions, "g_subtype")
    lms = steps[(steps["level"] == "LMS") & (steps["time"] <= 1825)].iloc[-1]
    assert lms["survival"] == pytest.approx(R["subtypes"]["LMS"]["survival"][3], abs=1e-6)
