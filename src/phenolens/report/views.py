"""The pictures of the page: figures of each model, maps with their fidelity, slide contours, the audit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from phenolens.evaluate import curves
from phenolens.report import figures, words
from phenolens.report.names import Names
from phenolens.report.pictures import Album
from phenolens.report.record import Record, model_name
from phenolens.report.story import FEW, counts
from phenolens.report.tables import headline, no_information, whole

MOST_SLIDES = 60
MOST_MAPS = 40
SLIGHT = 0.01
"""Gain over random below which the verdict on a map says that it is small."""
_NOT_USED = ("quarantined", "excluded", "missing")


def overview(record: Record, album: Album) -> str:
    """The headline metric of every model and scheme with its interval; empty where nothing can be claimed."""
    if counts(record)["patients"] < FEW:
        return ""
    name = headline(record)
    told: list[tuple[str, str, dict[Any, Any]]] = []
    for scheme in record.schemes:
        rows = whole(record, scheme)
        rows = rows[(rows["metric"] == name) & rows["value"].notna()]
        told += [(scheme, m, row) for m in record.models for row in rows[rows["model"] == m].to_dict("records")]
    if not told:
        return ""
    several = len({scheme for scheme, _, _ in told}) > 1
    dots = []
    for scheme, model, row in told:
        low, high = (None if pd.isna(row[k]) else float(row[k]) for k in ("low", "high"))
        title = f"{model}, {words.short_scheme(scheme)}" if several else model
        strong = scheme == record.main
        dots.append(figures.Dot(name=title, value=float(row["value"]), low=low, high=high, strong=strong))
    reference = no_information(record, record.main).get(name)
    return album.figure(figures.forest(dots, reference=reference, label=words.metric(name), words="no information"))


def model_figures(record: Record, album: Album) -> list[dict[str, Any]]:
    """ROC curves and confusion counts of every model in the main scheme, each with a line to read it."""
    mine = record.of_scheme(record.main)
    roc, confused = curves.roc(mine), curves.confusion(mine)
    unit = record.unit
    shown = list(record.classes) if len(record.classes) > 2 else [record.classes[-1]]
    made = []
    for model in record.models:
        counts = _matrix(confused[confused["model"] == model], record.classes)
        lines = roc[(roc["model"] == model) & roc["class"].isin(shown)]
        made.append(
            {
                "model": model,
                "roc": album.figure(figures.roc(lines, shown)) if len(lines) else "",
                "roc_words": read_roc(lines, shown, unit),
                "confusion": album.figure(figures.confusion(counts, record.classes, unit)),
                "confusion_words": read_confusion(counts, record.classes, unit),
                "n": int(counts.sum()),
            }
        )
    return made


def _matrix(rows: pd.DataFrame, classes: tuple[str, ...]) -> np.ndarray[Any, Any]:
    place = {name: i for i, name in enumerate(classes)}
    counts = np.zeros((len(classes), len(classes)), dtype=int)
    for row in rows.to_dict("records"):
        counts[place[row["truth"]], place[row["predicted"]]] += int(row["units"])
    return counts


def read_roc(lines: pd.DataFrame, shown: list[str], unit: str) -> str:
    """The curves in a sentence: how many of a class are found when one in five others is called it wrongly."""
    if lines.empty:
        return "No curve: every class has fewer than 10 patients with or without it."
    found = []
    for name in shown:
        mine = lines[lines["class"] == name]
        if len(mine):
            at = mine[mine["fpr"] <= 0.2 + 1e-9]["tpr"].max()
            found.append(f"{at:.0%} of {name}")
    missing = [c for c in shown if not (lines["class"] == c).any()]
    also = f" No curve for {words.listed(missing)}: fewer than 10 patients with or without it." if missing else ""
    return (
        f"If one in five {unit}s without a class may be called it wrongly, the model finds "
        f"{words.listed(found)}. The dashed diagonal is guessing.{also}"
    )


def read_confusion(counts: np.ndarray[Any, Any], classes: tuple[str, ...], unit: str) -> str:
    """The counts in a sentence: how many are right, and the commonest error."""
    total, right = int(counts.sum()), int(np.trace(counts))
    wrong = counts - np.diag(np.diag(counts))
    text = f"{right} of {words.count(total, unit)} right ({right / max(total, 1):.0%})."
    if wrong.max() > 0:
        i, j = np.unravel_index(int(wrong.argmax()), wrong.shape)
        times = "once" if wrong[i, j] == 1 else f"{wrong[i, j]} times"
        text += f" The commonest error: {classes[i]} called {classes[j]}, {times}."
    return text


def maps(record: Record, names: Names, album: Album) -> dict[str, Any]:
    """Maps with truth, prediction, top tiles and fidelity beside random; one group an image, one entry a method."""
    groups: dict[tuple[str, str], dict[str, Any]] = {}
    entries = list(record.maps)[:MOST_MAPS]
    for entry in entries:
        patient, image = str(entry["patient"]), str(entry["image"])
        empty = {"patient": names.patient(patient), "image": names.image(image), "truth": entry["truth"], "maps": []}
        groups.setdefault((patient, image), empty)["maps"].append(_map(entry, album))
    shown = [m for group in groups.values() for m in group["maps"]]
    return {
        "groups": list(groups.values()),
        "n": len(shown),
        "more": len(record.maps) - len(entries),
        "good": sum(m["better"] is True for m in shown),
        "any_signed": any(m["signed"] for m in shown),
        "any_unsigned": any(not m["signed"] for m in shown),
    }


def _map(entry: Mapping[str, Any], album: Album) -> dict[str, Any]:
    return {
        "model": model_name(str(entry["model"])),
        **{k: entry.get(k) for k in ("method", "explains", "predicted", "n_tiles")},
        "signed": bool(entry.get("signed", entry.get("method") == "occlusion")),
        "right": entry["truth"] == entry["predicted"],
        "probability": f"{float(entry['probability']):.0%}",
        "picture": album.picture(str(entry.get("picture", "")), 560),
        "tiles": [uri for tile in entry.get("tiles", []) if (uri := album.picture(str(tile), 150))],
        **(_flat(entry) if entry.get("flat") else _fidelity(entry.get("fidelity") or {})),
    }


def _flat(entry: Mapping[str, Any]) -> dict[str, Any]:
    """A map on which nothing stands out: said, not left out."""
    verdict = (
        f"Flat: nothing in this volume moves the prediction ({float(entry['probability']):.1%}). Either the model does "
        "not read it, or it is so sure that hiding one place changes nothing; the map shows no place to look at."
    )
    return {"fidelity": None, "better": None, "verdict": verdict}


def _fidelity(figures_: Mapping[str, Any]) -> dict[str, Any]:
    keys = ("deletion", "deletion_random", "insertion", "insertion_random")
    values = {k: float(figures_[k]) for k in keys if isinstance(figures_.get(k), int | float)}
    told = len(values) == len(keys) and all(np.isfinite(list(values.values())))
    if not told:
        return {"fidelity": None, "better": None, "verdict": "Fidelity was not measured: do not read anything into it."}
    better = values["deletion"] < values["deletion_random"] and values["insertion"] > values["insertion_random"]
    by = min(values["deletion_random"] - values["deletion"], values["insertion"] - values["insertion_random"])
    small = f", in one of the two by less than {SLIGHT}" if by < SLIGHT else ""
    verdict = f"Better than random{small}." if better else "Not better than random: do not read anything into it."
    return {"fidelity": {k: words.number(v, 4) for k, v in values.items()}, "better": better, "verdict": verdict}


def slides(record: Record, names: Names, album: Album) -> dict[str, Any]:
    """Contour pictures: slides that were not used first; in a large cohort the used ones with the fewest tiles next."""
    images = record.images
    many = len(images) > MOST_SLIDES
    rank = {status: i for i, status in enumerate(_NOT_USED)}
    order = images.assign(place=images["status"].map(lambda s: rank.get(s, len(rank))))
    keys = ["place", "tiles", "image"] if many else ["place", "image"]
    rows = order.sort_values(keys, kind="stable").head(MOST_SLIDES)
    if names.hidden and not many:
        rows = rows.assign(shown=rows["image"].map(names.image)).sort_values(["place", "shown"], kind="stable")
    most = 480 if len(rows) <= 30 else 400
    return {
        "cards": [_card(row, names, album, most) for row in rows.to_dict("records")],
        "more": max(0, len(images) - MOST_SLIDES),
        "total": len(images),
        "left_out": album.refused,
    }


def _card(row: Mapping[Any, Any], names: Names, album: Album, most: int) -> dict[str, Any]:
    about = (str(row["patient"]), str(row["image"]))
    facts = []
    if _known(row, "tissue_mm2"):
        facts.append(("tissue", f"{row['tissue_mm2']:.3g} mm²"))
    if isinstance(row.get("sequence"), str) and row["sequence"]:
        facts.append(("sequence", row["sequence"]))
    if _known(row, "volume_ml"):
        facts.append(("region", f"{row['volume_ml']:.3g} ml"))
    elif (row.get("tiles") or 0) > 0:
        facts.append(("tiles", f"{int(row.get('tiles_used') or 0):,} of {int(row.get('tiles') or 0):,}"))
    if isinstance(row.get("spacing_mm"), str) and row["spacing_mm"]:
        facts.append(("voxel", f"{row['spacing_mm']} mm"))
    if _known(row, "annotation_share"):
        facts.append(("annotated", f"{row['annotation_share']:.0%}"))
    if _known(row, "mpp"):
        facts.append(("pixel", f"{row['mpp']:.3g} µm"))
    quality = [
        (key.removeprefix("quality_").replace("_", " "), _figure(row[key]))
        for key in sorted(k for k in row if k.startswith("quality_") and k not in _TOLD_ABOVE)
        if _known(row, key)
    ]
    why = names.text(str(row.get("reason", "")), about).partition("; expected ")[0].removeprefix("found ")
    return {
        "patient": names.patient(about[0]),
        "image": names.image(about[1]),
        "site": names.site(str(row["site"])),
        "status": str(row["status"]),
        "why": words.sentence(why),
        "picture": album.picture(str(row.get("contour", "")), most, strip=True),
        "facts": facts if row["status"] == "used" else [],
        "quality": quality,
    }


_TOLD_ABOVE = ("quality_tissue_mm2", "quality_mm3", "quality_spacing_mm")


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2g}"


def _known(row: Mapping[Any, Any], key: str) -> bool:
    return key in row and isinstance(row[key], int | float) and bool(np.isfinite(row[key]))
