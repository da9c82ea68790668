"""report.html of a study of several experiments: their results side by side, and the way to the report of each."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from phenolens.core.errors import StudyError
from phenolens.core.store import write_text
from phenolens.evaluate.folds import HOLDOUT
from phenolens.experiments import Experiment, experiments
from phenolens.report import words
from phenolens.report.figures_overview import Paid, speed
from phenolens.report.pictures import Album
from phenolens.report.record import Record, read
from phenolens.report.tables import Cell, Table, difference, label, plain, shorter
from phenolens.steps.overview import COMPARED, ESTIMATES, INDEX, SITE
from phenolens.study import EXPERIMENTS, study_file

_SHOWN = {
    "classification": ("accuracy", "macro_precision", "macro_recall", "macro_auc"),
    "segmentation": ("dice", "surface_dice", "boundary_um", "boundary95_um"),
    "survival": ("uno_c", "integrated_brier"),
}


def build_overview(folder: Path | str, *, pseudonyms: bool = False) -> Path:
    """Write `report.html` beside the study file from the results of its experiments; returns where it lies.

    It names no patient, image or site. Raises StudyError where no experiment is finished or a result was edited.
    """
    made, home = experiments(folder), study_file(folder).parent
    index = home / "results" / INDEX
    if not index.exists():
        raise StudyError(
            "no finished experiment",
            expected="at least one",
            todo=f"phenolens run {folder}",
            where=str(home),
        )
    told = json.loads(index.read_text("utf-8"))
    names = [row["name"] for row in told["experiments"]]
    records = {e.name: read(e.folder) for e in made if e.name in names}
    page = _render(home, [e for e in made if e.name in records], records, told["waiting"], pseudonyms)
    path = home / "report.html"
    write_text(path, page)
    return path


def _render(
    home: Path, made: Sequence[Experiment], records: Mapping[str, Record], waiting: Sequence[str], pseudonyms: bool
) -> str:
    environment = Environment(
        loader=PackageLoader("phenolens.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    every = _table(home / "results" / ESTIMATES)
    table = every[every["subgroup"] == "all"]
    shown = {
        "title": str(made[0].study.study).removesuffix(f"-{made[0].name}") if made else home.name,
        "version": str(next(iter(records.values())).manifest["versions"]["phenolens"]),
        "pseudonyms": pseudonyms,
        "experiments": [_experiment(e, records[e.name]) for e in made],
        "waiting": list(waiting),
        "blocks": [block for kind in _SHOWN for block in _blocks(kind, made, records, table)],
        "sites": None if pseudonyms else _sites(made, records, every),
        "speeds": _speeds(made, records, table),
        "compared": _compared(home / "results" / COMPARED, _classes(made, records)),
    }
    return environment.get_template("overview.html").render(**shown) + "\n"


def _table(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, keep_default_na=False, na_values={c: [""] for c in ("value", "low", "high")})


def _classes(made: Sequence[Experiment], records: Mapping[str, Record]) -> list[str]:
    return list(dict.fromkeys(c for one in made for c in records[one.name].classes))


def _experiment(one: Experiment, record: Record) -> dict[str, Any]:
    study = record.manifest["study"]
    tiles, features = study.get("tiles") or {}, study["features"]
    mpp = tiles.get("mpp") or (10 / tiles["magnification"] if tiles.get("magnification") else 0.5)
    patients = sorted(set(record.images[record.images["status"] == "used"]["patient"]))
    return {
        "name": one.name,
        "link": f"{EXPERIMENTS}/{one.name}/report.html",
        "task": study["task"]["kind"],
        "patients": len(patients),
        "encoder": features.get("architecture") or features.get("encoder") or "features made elsewhere",
        "tile": f"{tiles['size_px']} px at {mpp:g} µm/px" if record.images_are == "slide" else "",
        "models": ", ".join(m["name"] for m in record.manifest["models"]),
        "study_id": record.manifest["study_id"],
    }


def _blocks(kind: str, made: Sequence[Experiment], records: Mapping[str, Record], table: pd.DataFrame) -> list[Table]:
    """One table a level (patient, tile) and part of the data: rows experiment and model, columns metrics."""
    chosen = [e for e in made if records[e.name].manifest["study"]["task"]["kind"] == kind]
    own = table[table["experiment"].isin([e.name for e in chosen])]
    blocks = []
    for level in sorted(own["level"].unique(), key=lambda name: name == "tile"):
        for holdout in (False, True):
            rows = [r for e in chosen for r in _rows(e, records[e.name], own[own["level"] == level], holdout)]
            metrics = [m for m in _SHOWN[kind] if any(m in found for _, _, found in rows)]
            if rows and metrics:
                blocks.append(_block(_title(kind, str(level), holdout), metrics, rows, _classes(chosen, records)))
    return blocks


def _sites(made: Sequence[Experiment], records: Mapping[str, Record], table: pd.DataFrame) -> Table | None:
    """Balanced accuracy of each experiment's first model over all patients and at each site; None with one site."""
    chosen = [e for e in made if records[e.name].manifest["study"]["task"]["kind"] == "classification"]
    own = table[(table["metric"] == "balanced_accuracy") & (table["level"] != "tile")]
    names = sorted({s.removeprefix(SITE) for s in own["subgroup"] if s.startswith(SITE)})
    if len(names) < 2:
        return None
    made_of = Table("By site: balanced accuracy, cross-validation", ["experiment", "model", "all", *names])
    for one in chosen:
        scheme = str(records[one.name].manifest["study"]["validation"]["scheme"])
        model = records[one.name].models[0]
        rows = own[(own["experiment"] == one.name) & (own["model"] == model) & (own["scheme"] == scheme)]
        found = {str(r["subgroup"]): _texts(r) for r in rows.to_dict("records")}
        cells = [_cell(found.get(key), made_of) for key in ("all", *(f"{SITE}{n}" for n in names))]
        made_of.rows.append([label(one.name), plain(model), *cells])
    made_of.words = "What a change of staining, tiles or network does at one site need not be what it does at another."
    return made_of


def _speeds(made: Sequence[Experiment], records: Mapping[str, Record], table: pd.DataFrame) -> list[dict[str, Any]]:
    """Accuracy over seconds a slide, a figure for each cohort with two timed experiments or more."""
    groups = dict[str, list[tuple[Paid, str]]]()
    for one in made:
        if (timed := _timed(one, records[one.name], table)) is not None:
            groups.setdefault(one.study.where or "", []).append(timed)
    chance = 1 / max((len(records[e.name].classes) for e in made), default=1)
    return [_speed(where, timed, chance) for where, timed in groups.items() if len(timed) > 1]


def _timed(one: Experiment, record: Record, table: pd.DataFrame) -> tuple[Paid, str] | None:
    """What an experiment takes and gets right, and where it was timed; None for one that was not, or no longer."""
    path = one.folder / "results" / "speed.json"
    if not path.exists():
        return None
    told = json.loads(path.read_text("utf-8"))
    rows = table[(table["experiment"] == one.name) & (table["model"] == told["model"]) & (table["level"] != "tile")]
    scheme = str(record.manifest["study"]["validation"]["scheme"])
    rows = rows[(rows["metric"] == "accuracy") & (rows["scheme"] == scheme)].dropna(subset=["value"])
    if told["study_id"] != record.manifest["study_id"] or rows.empty:
        return None
    row = rows.iloc[0]
    low, high = (None if pd.isna(row[k]) else float(row[k]) for k in ("low", "high"))
    paid = Paid(name=one.name, seconds=told["seconds"], value=float(row["value"]), low=low, high=high)
    return paid, str(told["device"])


def _speed(where: str, timed: Sequence[tuple[Paid, str]], chance: float) -> dict[str, Any]:
    paid = [p for p, _ in timed]
    fastest, slowest = (pick(paid, key=lambda p: p.seconds) for pick in (min, max))
    reading = (
        f"{fastest.name} takes {fastest.seconds:.2g} s a slide and is right in {fastest.value:.0%} of the patients, "
        f"{slowest.name} {slowest.seconds:.2g} s and {slowest.value:.0%}. All tiles of a slide, one process, networks "
        f"loaded before, on the machine that ran this ({', '.join(sorted({device for _, device in timed}))})."
    )
    figure = Album(Path()).figure(speed(paid, "accuracy by patient (cross-validation)", chance))
    return {"figure": figure, "reading": reading, "where": where}


def _title(kind: str, level: str, holdout: bool) -> str:
    what = {"segmentation": "Masks"}.get(kind, f"By {level}")
    return f"{what}, test set predicted once at the end" if holdout else f"{what}, cross-validation"


_Found = tuple[str, str, dict[str, Mapping[str, Any]]]
"""An experiment, a model, and the row of estimates of each metric."""


def _rows(one: Experiment, record: Record, table: pd.DataFrame, holdout: bool) -> list[_Found]:
    scheme = HOLDOUT if holdout else str(record.manifest["study"]["validation"]["scheme"])
    own = table[(table["experiment"] == one.name) & (table["scheme"] == scheme)]
    return [
        (one.name, str(model), {str(r["metric"]): _texts(r) for r in rows.to_dict("records")})
        for model, rows in own.groupby("model", sort=False)
    ]


def _texts(row: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(k): v for k, v in row.items()}


def _block(title: str, metrics: Sequence[str], rows: Sequence[_Found], classes: Sequence[str]) -> Table:
    table = Table(title, ["experiment", "model", "patients", *(words.metric(m) for m in metrics)])
    before = ""
    for name, model, found in rows:
        n = max(int(row["n_patients"]) for row in found.values())
        cells = [_cell(found.get(m), table, classes) for m in metrics]
        table.rows.append([label("" if name == before else name), plain(model), Cell(str(n)), *cells])
        before = name
    return table


def _cell(row: Mapping[str, Any] | None, table: Table, classes: Sequence[str] = ()) -> Cell:
    if row is None:
        return Cell("–")
    note = table.mark(shorter(str(row["note"]), classes)) if row["note"] else ""
    if pd.isna(row["value"]):
        return Cell("not estimable", mark=note)
    return Cell(words.number(row["value"]), words.limits(row["low"], row["high"]), note)


def _compared(path: Path, classes: Sequence[str]) -> Table | None:
    """The pairs of experiments, each with its difference and corrected p; None where there are none."""
    numbers = ("difference", "low", "high", "p", "p_holm", "p_bh")
    found = pd.read_csv(path, keep_default_na=False, na_values={c: [""] for c in numbers})
    if found.empty:
        return None
    head = ["experiments", "on", "metric", "patients", "difference", "p (Holm)"]
    table = Table("Experiments compared on the patients that both tested in the same folds", head)
    for row in found.to_dict("records"):
        lost = f"{int(row['left_out'])} units that only one predicted are left out" if row["left_out"] else ""
        table.rows.append(
            [
                label(f"{row['model_a']} minus {row['model_b']}"),
                plain("test set" if row["scheme"] == HOLDOUT else "cross-validation"),
                plain(words.metric(row["metric"])),
                Cell(str(int(row["n_units"]))),
                difference(row, table, classes, lost),
                Cell(words.p_value(row["p_holm"])),
            ]
        )
    table.words = f"Tests: {'; '.join(sorted(set(found['method']) - {''}))}. Holm's p allows for the number of pairs."
    return table
