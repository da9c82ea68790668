"""report.html: one offline page made of nothing but the files under results/."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from phenolens.core.registry import MODELS
from phenolens.core.store import write_text
from phenolens.evaluate.curves import CONFUSION_NOTE, ROC_NOTE
from phenolens.evaluate.folds import EXTERNAL, HOLDOUT, LEAVE_ONE_SITE_OUT
from phenolens.evaluate.interval import COVERAGE_NOTE
from phenolens.report import (
    audit,
    calibration,
    card,
    card_files,
    caveats,
    cohort,
    evidence,
    masks,
    robustness,
    settings,
    story,
    subgroups,
    survival_page,
    tables,
    uncertainty,
    views,
    words,
)
from phenolens.report import names as naming
from phenolens.report.pictures import Album
from phenolens.report.record import Record, read


def build(folder: Path | str, *, pseudonyms: bool = False) -> Path:
    """Write `report.html` into the study folder from its results and return where it lies.

    The page holds its pictures and style; it needs no network and shows no label or macro image. With `pseudonyms` no
    patient or image id, file name, path or site name is in it. Equal results give equal bytes.

    Raises:
        StudyError: the study has not been run to its end, a results file cannot be read, or a name would be left in a
            page with pseudonyms.
    """
    record = read(Path(folder))
    names = naming.make(record, pseudonyms=pseudonyms)
    evidence_record = card.gather(record, names)
    page = render(record, names, card_files.view(evidence_record, record))
    names.refuse_leaks(page)
    card_files.write(evidence_record, record, names)
    path = Path(folder) / "report.html"
    write_text(path, page)
    return path


def render(record: Record, names: naming.Names, evidence_record: Mapping[str, Any]) -> str:
    """The page as text, with the evidence record as its last section."""
    environment = Environment(
        loader=PackageLoader("phenolens.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    if record.finds_masks:
        page, shown = "masks.html", masks.content(record, names)
    elif record.survival is not None:
        page, shown = "survival_page.html", survival_page.content(record, names)
    else:
        page, shown = "page.html", content(record, names)
    return environment.get_template(page).render(**shown, card=evidence_record) + "\n"


def content(record: Record, names: naming.Names) -> dict[str, Any]:
    """Everything the template shows."""
    album = Album(record.folder, names.all(), home=record.home)
    study = record.manifest["study"]
    return {
        "title": str(study.get("study", "study")),
        "study_id": str(record.manifest.get("study_id", "")),
        "version": str(record.manifest.get("versions", {}).get("phenolens", "")),
        "pseudonyms": names.hidden,
        "unit": record.unit,
        "external": record.main == EXTERNAL,
        "n": story.counts(record),
        "answer": story.answer(record, names),
        "caveats": caveats.caveats(record, names),
        "overview": views.overview(record, album),
        "headline": words.metric(tables.headline(record)),
        "flow": cohort.flow(record, names),
        "class_table": cohort.class_table(record, names),
        "findings": cohort.findings(record, names),
        "results": _results(record, names),
        "metric_words": _meanings(record),
        "model_words": _models(record),
        "n_classes": len(record.classes),
        "notes": {
            "coverage": COVERAGE_NOTE,
            "roc": ROC_NOTE,
            "confusion": CONFUSION_NOTE,
        },
        "figures": views.model_figures(record, album),
        "calibration": calibration.view(record, names, album),
        "uncertainty": uncertainty.view(record, names, album),
        "subgroups": subgroups.view(record, names, album),
        "main_words": words.scheme(record.main, study["validation"]),
        "audit": audit.view(record, names, album),
        "robustness": robustness.view(record, names, album),
        "maps": views.maps(record, names, album),
        "slides": views.slides(record, names, album),
        "kind": words.kind(record.images_are) | {"maps": record.images_are in ("slide", "folder") or bool(record.maps)},
        "evidence": evidence.view(record, names),
        "tile_um": _tile_um(study.get("tiles", {})),
        "annotation": study.get("region", {}).get("annotation"),
        "settings": settings.groups(record, names),
        "splits": cohort.shown_split(record),
        "run_notes": [words.sentence(names.text(str(t))) for t in record.manifest.get("notes", [])],
        "limits": caveats.limits_(record, names),
    }


def _results(record: Record, names: naming.Names) -> dict[str, Any]:
    main, first, further, holdout = record.main, None, [], None
    for scheme in record.schemes:
        block = {
            "title": words.scheme(scheme, record.manifest["study"]["validation"]),
            "leaving": scheme == LEAVE_ONE_SITE_OUT,
            "whole": None if scheme == LEAVE_ONE_SITE_OUT else tables.main_table(record, scheme, names),
            "classes": tables.class_table(record, scheme, names),
            "sites": tables.site_table(record, scheme, names),
        }
        if scheme == main:
            first = block
        elif scheme == HOLDOUT:
            holdout = block
        else:
            further.append(block)
    return {
        "main": first,
        "further": further,
        "holdout": holdout,
        "comparison": tables.comparison(record),
        "readers": tables.reader_table(record, names),
    }


def _meanings(record: Record) -> list[tuple[str, str]]:
    shown = tables.shown_metrics(tables.whole(record, record.main))
    names = words.in_order([*shown, "auc"])
    return [(words.metric(m), words.meaning(m, record.unit)) for m in names if m in words.MEANING]


def _models(record: Record) -> list[tuple[str, str]]:
    """What each model of this package is; a lab's own file is not opened for it."""
    known = set(MODELS.names())
    names = [str(m["name"]) for m in record.manifest.get("models", [])]
    return [(name, MODELS.plugin(name)[0].summary) for name in names if name in known]


def _tile_um(tiles: dict[str, Any]) -> str:
    """The side of a tile in micrometres, as text; empty where the manifest does not say."""
    mpp = tiles.get("mpp") or (10 / tiles["magnification"] if tiles.get("magnification") else 0.5)
    return f"{tiles['size_px'] * mpp:.4g}" if tiles.get("size_px") else ""
