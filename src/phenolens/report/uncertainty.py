"""What the models say of their own uncertainty, and whether it can be believed: sets, abstention, selective answers."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import Any, Literal

import pandas as pd

from phenolens.core.predictions import Predictions
from phenolens.evaluate.coverage import abstentions, coverage, outside
from phenolens.evaluate.folds import LEAVE_ONE_SITE_OUT
from phenolens.evaluate.selective import STATED, risk_coverage, selective
from phenolens.report import figures_uncertainty, words
from phenolens.report.names import Names
from phenolens.report.pictures import Album
from phenolens.report.record import Record
from phenolens.report.tables import Cell, Table, label, plain

Row = Mapping[Hashable, Any]
_CAPTION = (
    "Each dot is the share of patients whose true class was in the set, with its interval; the grey bar is what the "
    "number of calibration patients can promise. A dot left of the grey bar says that the sets are too small."
)
_CROSS_CAPTION = (
    "Each dot is the share of patients whose true class was in the set, with its interval; the solid tick is what "
    "these sets guarantee. A dot between the tick and the dashed line is what the guarantee allows."
)
_SPLIT_WORDS = (
    "'Promised' is the mean coverage that this many calibration (tune) patients give, and where that of one model "
    "lies in 95 of 100 draws of them (Beta distribution; the fold with the fewest). For models that stop or choose "
    "their settings on the same patients the promise is approximate."
)
_CROSS_WORDS = (
    "'Promised' is the guarantee of cross-conformal sets, a mean over folds: at least 1 − 2α less a correction for "
    "the number of patients and groups (CV+; Barber and others 2021, Theorem 4), whatever the model and also where it "
    "stops or chooses its settings. It is a floor: coverage near 1 − α, the aim, is usual."
)


def view(record: Record, names: Names, album: Album) -> dict[str, Any]:
    """Figures, tables and one-line readings of the main scheme, and of leave-one-site-out where there is one.

    Empty where there are no predictions; what the guard made is shown where the predictions hold it.
    """
    if record.finds_masks or not len(record.test_rows(record.main)):
        return {}
    main = record.of_scheme(record.main)
    chosen = [m for m in record.models if m in set(main.table["model"])]
    measures = selective(main)
    curve = figures_uncertainty.risk_coverage(risk_coverage(main), chosen)
    sets = _ordered(coverage(main, kind=_kind(record)), chosen)
    return {
        "curve": album.figure(curve),
        "curve_readings": [_answering(m, measures, record.unit) for m in chosen],
        "selective": _selective_table(measures, chosen),
        "coverage": _drawn(sets, album),
        "coverage_caption": _CROSS_CAPTION if sets["guaranteed"].notna().any() else _CAPTION,
        "coverage_readings": _covered(sets, chosen),
        "tables": [t for t in _set_tables(record, main, sets, names) if t.rows],
        "abstains": _abstaining(main, chosen),
    }


def _ordered(sets: pd.DataFrame, models: list[str]) -> pd.DataFrame:
    """The rows in the order in which models are shown."""
    return sets.sort_values("model", key=lambda m: m.map(models.index), kind="stable", ignore_index=True)


def _kind(record: Record) -> Literal["split", "class"]:
    asked = record.manifest["study"].get("guard", {}).get("conformal", "split")
    return "class" if asked == "class" else "split"


def _per_100(value: float) -> str:
    return words.number(100 * value, 0)


def _answering(model: str, measures: pd.DataFrame, unit: str) -> str:
    """Whether the surer half of the answers has fewer errors than all of them."""
    mine = _by_measure(measures, model)
    half, every = mine["errors_at_50"], mine["errors_at_100"]
    told = (
        f"{model}: {words.number(every['value'], 0)} errors per 100 when every {unit} is answered, "
        f"{words.number(half['value'], 0)} ({words.limits(half['low'], half['high'], 0)}) when only the surer half is"
    )
    helps = half["high"] < every["value"]
    return told + (": its confidence can be used." if helps else ": its confidence is not shown to know its errors.")


def _by_measure(measures: pd.DataFrame, model: str) -> dict[str, Row]:
    rows = measures[measures["model"] == model].to_dict("records")
    return {str(row["measure"]): row for row in rows}


def _selective_table(measures: pd.DataFrame, models: list[str]) -> Table:
    head = [f"{round(100 * c)} answered" for c in STATED]
    table = Table("Errors per 100 answers when the least sure are not answered", ["model", "AUGRC ↓", *head])
    names = ["augrc", *(f"errors_at_{round(100 * c)}" for c in STATED)]
    for model in models:
        mine = _by_measure(measures, model)
        cells = []
        for name in names:
            digits, row = (3 if name == "augrc" else 0), mine[name]
            cells.append(Cell(words.number(row["value"], digits), words.limits(row["low"], row["high"], digits)))
        table.rows.append([label(model), *cells])
    table.words = (
        "Means over folds; second line: middle 95% of a patient bootstrap. AUGRC is the area under the generalised "
        "risk-coverage curve (Traub et al. 2024): shuffled confidence gives half the error rate, perfect confidence "
        "half its square. Confidence is the largest probability."
    )
    return table


def _drawn(sets: pd.DataFrame, album: Album) -> str:
    whole = sets[(sets["subgroup"] == "all") & sets["coverage"].notna()]
    if whole.empty:
        return ""
    names = [f"{m}, {round(100 * (1 - a))} of 100" for m, a in zip(whole["model"], whole["alpha"], strict=True)]
    return album.figure(figures_uncertainty.coverage(whole.assign(name=names, promised=1 - whole["alpha"])))


def _covered(sets: pd.DataFrame, models: list[str]) -> list[str]:
    """The sets of 90 of 100 against what was aimed at, in a sentence a model."""
    readings = []
    whole = sets[(sets["subgroup"] == "all") & (sets["alpha"] == 0.1)]
    for row in whole[whole["model"].isin(models)].to_dict("records"):
        if pd.isna(row["coverage"]):
            readings.append(f"{row['model']}: {row['note']}.")
            continue
        limits = words.limits(100 * row["low"], 100 * row["high"], 0)
        judged = "fewer than was aimed at" if row["high"] < 0.9 else "this agrees with what was aimed at"
        judged = "more than was aimed at" if row["low"] > 0.9 else judged
        if pd.notna(row["guaranteed"]):
            judged += f"; {_per_100(row['guaranteed'])} are guaranteed, whatever the model"
        readings.append(
            f"{row['model']}: sets made to hold the true class in 90 of 100 patients held it in "
            f"{_per_100(row['coverage'])} ({limits}): {judged}. "
            f"A set names {words.number(row['mean_size'], 1)} classes on average."
        )
    return readings


def _set_tables(record: Record, main: Predictions, sets: pd.DataFrame, names: Names) -> list[Table]:
    title = words.scheme(record.main, record.manifest["study"]["validation"])
    of_sites = sets["subgroup"].str.startswith("site=")
    made = [_set_table(f"Coverage of the sets: {title}", sets[~of_sites], names), _outside_table(outside(main), names)]
    if LEAVE_ONE_SITE_OUT in record.schemes and record.main != LEAVE_ONE_SITE_OUT:
        held = record.of_scheme(LEAVE_ONE_SITE_OUT)
        left = _ordered(coverage(held, kind=_kind(record)), record.models)
        left = left[~left["subgroup"].str.startswith("class=")]
        made.insert(1, _set_table("Coverage of the sets at sites that were left out", left, names))
        made.append(_outside_table(outside(held), names, "at sites that were left out"))
    return made


def _set_table(title: str, sets: pd.DataFrame, names: Names) -> Table:
    head = [
        "model",
        "aimed at",
        "patients",
        "among",
        "coverage",
        "promised",
        "classes in a set",
        "empty",
        "all classes",
    ]
    table = Table(title, head)
    last: tuple[str, float] | None = None
    for row in sets.to_dict("records"):
        here = (row["model"], row["alpha"])
        first = [label(row["model"] if here != last else ""), plain(_aim(row) if here != last else "")]
        last = here
        table.rows.append([*first, plain(_among(row["subgroup"], names)), *_set_cells(row, table)])
    table.words = (
        "A patient is covered when the true class of each of the patient's images is in its set; Wilson intervals. "
    ) + (_CROSS_WORDS if sets["guaranteed"].notna().any() else _SPLIT_WORDS)
    return table


def _aim(row: Row) -> str:
    return f"{round(100 * (1 - row['alpha']))} of 100"


def _among(subgroup: str, names: Names) -> str:
    if subgroup.startswith("site="):
        return names.site(subgroup.removeprefix("site="))
    return subgroup.removeprefix("class=") if subgroup != "all" else "all"


def _set_cells(row: Row, table: Table) -> list[Cell]:
    mark = table.mark(row["note"]) if row["note"] else ""
    count = Cell(f"{int(row['patients']):,}", mark=mark)
    if not math.isfinite(float(row["coverage"])):
        return [count, *[Cell("–", kind="none")] * 5]
    promised = Cell("–", kind="none")
    if math.isfinite(float(row["expected"])):
        limits = words.limits(row["expected_low"], row["expected_high"])
        promised = Cell(words.number(row["expected"]), limits)
    if math.isfinite(float(row["guaranteed"])):
        promised = Cell(f"≥ {words.number(row['guaranteed'])}", f"{int(row['calibration'])} calibration patients")
    return [
        count,
        Cell(words.number(row["coverage"]), words.limits(row["low"], row["high"])),
        promised,
        Cell(words.number(row["mean_size"], 1)),
        Cell(words.number(row["empty"])),
        Cell(words.number(row["full"])),
    ]


def _outside_table(found: pd.DataFrame, names: Names, where: str = "") -> Table:
    title = f"Patients unlike the training patients {where}".strip() + " (experimental)"
    table = Table(title, ["model", "site", "patients", "share outside"])
    last = ""
    for row in found.to_dict("records"):
        told = Cell(words.number(row["share"]), words.limits(row["low"], row["high"]))
        first = label(row["model"] if row["model"] != last else "")
        last = row["model"]
        count = Cell(f"{row['patients']:,}")
        table.rows.append([first, plain(_among(row["subgroup"], names)), count, told])
    table.words = (
        "The distance of a patient's images from those of the training patients is above the threshold of the fold, "
        "which is set on held-out sites of the training patients where there are three (then about 1 in 10 patients of "
        "a new site like them lies outside by chance, and fewer of a known one), else on the tune patients (1 in 20, "
        "1 in 10 where they were few)."
    )
    return table


def _abstaining(main: Predictions, models: list[str]) -> list[str]:
    readings = []
    for row in abstentions(main).to_dict("records"):
        if row["model"] in models:
            readings.append(
                f"{row['model']} would abstain in {_per_100(row['share'])} of 100 patients "
                f"({words.limits(100 * row['low'], 100 * row['high'], 0)}): {_per_100(row['outside'])} unlike the "
                f"training patients, {_per_100(row['full'])} with no class that can be left out, "
                f"{_per_100(row['empty'])} with none that is likely enough."
            )
    return readings
