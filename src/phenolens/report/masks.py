"""The report of a segmentation study: how well the masks agree with the drawn ones, and what they look like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from phenolens.evaluate.folds import HOLDOUT
from phenolens.evaluate.interval import COVERAGE_NOTE
from phenolens.report import cohort, figures, settings, views, words
from phenolens.report.mask_words import MaskWords, words_of
from phenolens.report.names import Names
from phenolens.report.pictures import Album
from phenolens.report.record import Record
from phenolens.report.tables import Cell, Table, cell, label, plain

MOST_PICTURES = 40
MOST_ROWS = 200
_METRICS = ("dice", "surface_dice")
_SIDES = (("true", "drawn"), ("pred", "found"))


def content(record: Record, names: Names) -> dict[str, Any]:
    """Everything the template shows."""
    album = Album(record.folder, names.all(), home=record.home)
    study, found = record.manifest["study"], record.more["segmentation"]
    main, told = _main(record, found), words_of(record.manifest)
    schemes = [s for s in dict.fromkeys([study["validation"]["scheme"], *found["scheme"]]) if s in set(found["scheme"])]
    return {
        "title": str(study.get("study", "study")),
        "study_id": str(record.manifest.get("study_id", "")),
        "version": str(record.manifest.get("versions", {}).get("phenolens", "")),
        "pseudonyms": names.hidden,
        "target": str(record.manifest["target"]),
        "words": told,
        "answer": _answer(record, main, told),
        "flow": cohort.flow(record, names),
        "findings": cohort.findings(record, names),
        "blocks": [_block(record, names, s) for s in sorted(schemes, key=lambda s: s == HOLDOUT)],
        "figures": [_drawn(own, str(model), album, told) for model, own in main.groupby("model", sort=False)],
        "scans": _scans(main, names, told),
        "more_scans": max(0, len(main) - MOST_ROWS),
        "pictures": _pictures(main, names, album),
        "more_pictures": max(0, len(main) - MOST_PICTURES),
        "slides": views.slides(record, names, album),
        "coverage": COVERAGE_NOTE,
        "settings": settings.groups(record, names),
        "splits": cohort.shown_split(record),
        "run_notes": [words.sentence(names.text(str(t))) for t in record.manifest.get("notes", [])],
    }


def _main(record: Record, found: pd.DataFrame) -> pd.DataFrame:
    """The masks of the main scheme's first repeat, and those of the holdout where there is one."""
    scheme = record.manifest["study"]["validation"]["scheme"]
    rows = found[(found["repeat"] == 0) & found["scheme"].isin([scheme, HOLDOUT])]
    return rows.sort_values(["model", "dice", "image"], ignore_index=True)


def _answer(record: Record, main: pd.DataFrame, told: MaskWords) -> list[str]:
    target, study = record.manifest["target"], record.manifest["study"]
    how = words.scheme(study["validation"]["scheme"], study["validation"])
    n, of = words.count(main["image"].nunique(), told.image), words.count(main["patient"].nunique(), "patient")
    first = (
        f"The {target} was outlined by {words.listed(sorted(set(main['model'])))} on "
        f"{n} of {of}, each by a model that never saw the patient ({how})."
    )
    said = [first]
    table = record.estimates
    rows = table[(table["scheme"] == study["validation"]["scheme"]) & (table["subgroup"] == "all")]
    for row in rows[rows["metric"] == "dice"].to_dict("records"):
        limits = words.limits(row["low"], row["high"])
        own = main[main["model"] == row["model"]]
        empty = int((own["parts_pred"] == 0).sum())
        none = f" On {words.count(empty, told.image)} nothing was found, which counts as 0." if empty else ""
        said.append(
            f"Mean Dice of {row['model']}: {words.number(row['value'])} ({limits or 'no interval'}); half of the "
            f"{told.images} have {words.number(float(own['dice'].median()))} or more.{none}"
        )
    return said


def _block(record: Record, names: Names, scheme: str) -> Table:
    """Model and site by metric of one scheme."""
    rows = record.estimates[record.estimates["scheme"] == scheme]
    kinds = words.in_order(sorted(set(rows["metric"])))
    title = words.scheme(scheme, record.manifest["study"]["validation"])
    table = Table(f"Agreement with the drawn masks: {title}", ["patients", "model", "n", *map(words.metric, kinds)])
    for subgroup in sorted(set(rows["subgroup"]), key=lambda s: (s != "all", s)):
        shown = "all" if subgroup == "all" else names.site(subgroup.removeprefix("site="))
        for model in record_models(rows):
            mine = rows[(rows["subgroup"] == subgroup) & (rows["model"] == model)]
            if len(mine):
                found = {str(r["metric"]): r for r in mine.to_dict("records")}
                n = Cell(f"{int(mine['n_patients'].iloc[0]):,}")
                table.rows.append([label(shown), plain(model), n, *(_cell(found.get(m), table, names) for m in kinds)])
    methods = sorted({str(m) for m in rows[rows["low"].notna() & (rows["subgroup"] == "all")]["method"]})
    table.words = words.sentence("Intervals (second line): " + "; ".join(methods)) if methods else ""
    return table


def _cell(row: Mapping[Any, Any] | None, table: Table, names: Names) -> Cell:
    return cell(None if row is None else {str(k): v for k, v in row.items()}, table, names)


def record_models(rows: pd.DataFrame) -> list[str]:
    """The models of a table of estimates, sorted."""
    return sorted({str(m) for m in rows["model"]})


def _drawn(rows: pd.DataFrame, model: str, album: Album, told: MaskWords) -> dict[str, Any]:
    """Agreement by patient, and sizes found over those drawn."""
    people = rows.groupby("patient", sort=True)[list(_METRICS)].mean()
    by = {words.metric(m): people[m].tolist() for m in _METRICS}
    pairs = [(label, rows[f"{k}_true"].tolist(), rows[f"{k}_pred"].tolist()) for k, _, label in told.sizes]
    captions = [_bias(*pairs[0][1:], told.images), "Longest axial diameter of the largest part."]
    return {
        "model": model,
        "n": words.count(len(people), "patient"),
        "agreement": album.figure(figures.agreement(by)),
        "sizes": [
            {
                "name": label.partition(" in ")[0],
                "figure": album.figure(figures.sizes(drawn, found, label)),
                "words": said,
            }
            for (label, drawn, found), said in zip(pairs, captions, strict=False)
        ],
    }


def _bias(drawn: list[float], found: list[float], images: str) -> str:
    share = float(np.median([f / d - 1 for d, f in zip(drawn, found, strict=True) if d > 0] or [0.0]))
    size = "as large as" if abs(share) < 0.005 else f"{abs(share):.0%} {'larger' if share > 0 else 'smaller'} than"
    return f"In the middle of all {images} what was found is {size} what was drawn."


def _scans(rows: pd.DataFrame, names: Names, told: MaskWords) -> Table:
    """One row an image, the worst first."""
    sizes = [(f"{k}_{side}", f"{unit} {word}") for k, unit, _ in told.sizes for side, word in _SIDES]
    head = [told.image, "patient", "site", "model", "Dice", "surface Dice", *(h for _, h in (*told.distances, *sizes))]
    table = Table(f"Every test {told.image}, the worst first", [*head, ""])
    for row in rows.sort_values(["dice", "image"]).head(MOST_ROWS).to_dict("records"):
        numbers = [Cell(words.number(row[m])) for m in _METRICS]
        numbers += [Cell(words.number(row[m], 0)) for m, _ in told.distances]
        numbers += [Cell(words.number(row[m], 1 if m.startswith("long_mm") else 2)) for m, _ in sizes]
        who = [label(names.image(row["image"])), plain(names.patient(row["patient"])), plain(names.site(row["site"]))]
        table.rows.append([*who, plain(row["model"]), *numbers, plain(row["flag"])])
    table.words = told.note
    return table


def _pictures(rows: pd.DataFrame, names: Names, album: Album) -> list[dict[str, Any]]:
    """Pictures with both outlines: the worst and the best first in turn, so that both are seen."""
    ordered = rows.sort_values(["dice", "image"]).to_dict("records")
    ends = [ordered[i // 2] if i % 2 == 0 else ordered[-(i // 2) - 1] for i in range(len(ordered))]
    shown = sorted(ends[:MOST_PICTURES], key=lambda r: (r["dice"], r["image"]))
    return [
        {
            "image": names.image(row["image"]),
            "patient": names.patient(row["patient"]),
            "site": names.site(row["site"]),
            "model": row["model"],
            "dice": words.number(row["dice"]),
            "surface": words.number(row["surface_dice"]),
            "flag": row["flag"],
            "picture": album.picture(str(row["picture"]), 640),
        }
        for row in shown
    ]
