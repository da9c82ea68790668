"""A small hand-made results folder, written as a run writes it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image as Pillow

from phenolens.core.predictions import Predictions
from phenolens.core.store import fingerprint
from phenolens.evaluate.score import estimates

BROKEN = "found a damaged file /data/Jane Roe/slides/{image}.svs of {patient}; expected a slide; copy it again"
RULED = "found 20% of the tissue annotated; expected at least 60%; nothing: the study's rule leaves this slide out"


def write_study(
    folder: Path,
    *,
    classes: Sequence[str] = ("A", "B"),
    sites: Sequence[str] = ("Northtown", "Southtown", "Easttown"),
    models: Sequence[str] = ("mean_pool", "abmil"),
    patients: int = 60,
    unit: str = "patient",
    also: Sequence[str] = (),
    holdout: int = 0,
    ids: str = "HOSP{:04d}",
    maps: bool = True,
    audit: bool = True,
) -> Path:
    """results/ of a study with separable classes; the last two patients have no image that can be used."""
    (folder / "results").mkdir(parents=True)
    who = [ids.format(i + 1) for i in range(patients)]
    site = {p: sites[i % len(sites)] for i, p in enumerate(who)}
    truth = {p: classes[(i // len(sites)) % len(classes)] for i, p in enumerate(who)}
    used = who[:-2]
    table = _predictions(used, site, truth, classes, models, unit, also, holdout)
    table.to_csv(folder / "results" / "predictions.csv", index=False)
    estimates(Predictions(table=table, classes=tuple(classes))).to_csv(folder / "results/estimates.csv", index=False)
    images = [_image_row(folder, p, site[p], number, who) for number, p in enumerate(who)]
    pd.DataFrame(images).to_csv(folder / "results" / "images.csv", index=False)
    _write(folder / "results/manifest.json", _manifest(who, site, truth, classes, models, unit, also, holdout))
    _write(folder / "results/findings.json", _findings(who))
    _write(folder / "results/cohort.json", _cohort(who, site, truth))
    if maps:
        _maps(folder, used, truth, models[-1], classes)
    if audit:
        of = fingerprint(folder / "results/predictions.csv")
        tests = [_test(m, i) for i, m in enumerate(models)]
        _write(folder / "results/audit.json", {"permutation": tests, "predictions": of})
    return folder


def image_of(patient: str) -> str:
    """The image id of a patient; not the patient's id with something behind it."""
    return f"scan{patient[::-1]}z"


def _predictions(
    used: Sequence[str],
    site: dict[str, str],
    truth: dict[str, str],
    classes: Sequence[str],
    models: Sequence[str],
    unit: str,
    also: Sequence[str],
    holdout: int,
) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    held, rest = list(used[:holdout]), list(used[holdout:])
    folds = {p: i % 3 for i, p in enumerate(rng.permutation(rest))}
    plans: list[tuple[str, dict[str, int]]] = [("patient_kfold", folds)]
    if "leave_one_site_out" in also:
        order = sorted(set(site.values()))
        plans.append(("leave_one_site_out", {p: order.index(site[p]) for p in rest}))
    if held:
        plans.append(("holdout", dict.fromkeys(held, 0)))
    rows = []
    for scheme, plan in plans:
        for number, model in enumerate(models):
            for patient, fold in sorted(plan.items()):
                for unit_id in [patient] if unit == "patient" else [image_of(patient), image_of(patient) + "2"]:
                    score = rng.normal(0, 1, len(classes))
                    score[list(classes).index(truth[patient])] += 1 + number
                    p = np.exp(score) / np.exp(score).sum()
                    rows.append(
                        {
                            "experiment": "main",
                            "scheme": scheme,
                            "target": "kind",
                            "model": model,
                            "repeat": 0,
                            "fold": fold,
                            "part": "test",
                            "patient": patient,
                            "unit": unit,
                            "unit_id": unit_id,
                            "site": site[patient],
                            "split_hash": "0123456789ab",
                            "truth": truth[patient],
                            **{f"p_{c}": float(x) for c, x in zip(classes, p, strict=True)},
                        }
                    )
    return pd.DataFrame(rows)


def _image_row(folder: Path, patient: str, site: str, number: int, who: Sequence[str]) -> dict[str, Any]:
    image, status, why = image_of(patient), "used", ""
    if patient == who[-1]:
        status, why = "quarantined", BROKEN.format(image=image, patient=patient)
    if patient == who[-2]:
        status, why = "excluded", RULED
    contour = "" if status == "quarantined" else _picture(folder, f"artefacts/contour/{number}.jpg", number)
    facts = {"tiles": 9, "tiles_used": 9, "tissue_mm2": 1.5, "annotation_share": 0.8, "mpp": 0.5, "quality_blur": 0.2}
    return {
        "patient": patient,
        "image": image,
        "site": site,
        "status": status,
        "reason": why,
        **(facts if status == "used" else dict.fromkeys(facts, "") | {"tiles": 0, "tiles_used": 0}),
        "contour": contour,
        "thumbnail": "",
    }


def _picture(folder: Path, relative: str, seed: int, px: int = 120) -> str:
    path = folder / relative
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 255, (px, px, 3)).astype(np.uint8)
    exif = Pillow.Exif()
    exif[0x010E] = "label of Jane Roe"
    Pillow.fromarray(noise).save(path, quality=70, exif=exif)
    return relative


def _manifest(
    who: Sequence[str],
    site: dict[str, str],
    truth: dict[str, str],
    classes: Sequence[str],
    models: Sequence[str],
    unit: str,
    also: Sequence[str],
    holdout: int,
) -> dict[str, Any]:
    out, broken = who[-2], who[-1]
    lost = [
        {"who": f"{broken} / {image_of(broken)}", "why": BROKEN.format(image=image_of(broken), patient=broken)}
        | {"status": "quarantined"},
        {"who": f"{out} / {image_of(out)}", "why": RULED, "status": "excluded"},
    ]
    gone = [{"who": p, "why": "none of its images can be used"} for p in (out, broken)]
    n = len(who)
    return {
        "study_id": "abcdef012345",
        "study": {
            "study": "small",
            "recipe": None,
            "patients": "patients.csv",
            "images": "images.csv",
            "where": f"patient != '{who[0]}' and site != '{site[who[0]]}'",
            "region": {"tissue": "otsu", "annotation": "Tumor", "min_overlap": 0.6},
            "tiles": {"size_px": 224, "mpp": 0.5, "magnification": None},
            "quality": {},
            "features": {"encoder": None, "folder": "/data/Jane Roe/features"},
            "task": {"kind": "classification", "target": "kind", "unit": unit, "classes": []},
            "models": list(models),
            "validation": {"scheme": "patient_kfold", "folds": 3, "repeats": 1, "also": list(also)}
            | {"holdout": f"site == '{site[who[0]]}'" if holdout else None, "file": None},
            "explain": {"methods": ["attention"], "slides": 2, "tiles": 2},
            "audit": {"permutations": 99},
            "seed": 0,
        },
        "cohort_fingerprint": "0" * 24,
        "target": "kind",
        "unit": unit,
        "classes": list(classes),
        "class_counts": {c: sum(t == c for t in truth.values()) for c in classes},
        "sites": sorted(set(site.values())),
        "flow": [
            {"step": "patients with a label", "n": n, "dropped": []},
            {"step": "images that can be used", "n": n - 2, "of": n, "dropped": lost},
            {"step": "patients that can be used", "n": n - 2, "dropped": gone},
            {
                "step": "units predicted",
                "n": n - 2,
                "dropped": [{"who": p, "why": "no features"} for p in (out, broken)],
            },
        ],
        "encoder": None,
        "models": [{"door": "model", "name": m, "version": 1, "parameters": {}} for m in models],
        "notes": [],
        "splits": [
            {"scheme": "patient_kfold", "repeat": 0, "fold": f, "hash": f"{f}" * 12}
            | {"n_train": 30, "n_tune": 8, "n_test": 20}
            for f in range(3)
        ],
        "seed": 0,
        "versions": {"phenolens": "0.1.0"},
        "machine": {"system": "Linux", "devices": ["cpu"]},
    }


def _findings(who: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {"rule": "sites-few", "severity": "note", "what": "a note", "todo": "nothing", "who": [], "where": ""},
        {
            "rule": "same-file",
            "severity": "warning",
            "what": f"the patients {who[0]} and {who[1]} share /data/Jane Roe/{image_of(who[0])}.svs",
            "todo": f"look at rows 4, 7 and at {who[1]}",
            "who": [who[0], who[1]],
            "where": "/data/Jane Roe/images.csv",
        },
    ]


def _cohort(who: Sequence[str], site: dict[str, str], truth: dict[str, str]) -> dict[str, Any]:
    images = {
        image_of(p): {"patient": p, "path": f"Roe-{image_of(p)}.svs", "annotation": None, "site": site[p]} for p in who
    }
    return {"cohort": {"patients": {p: {"kind": truth[p], "site": site[p]} for p in who}, "images": images}}


def _maps(folder: Path, used: Sequence[str], truth: dict[str, str], model: str, classes: Sequence[str]) -> None:
    index = []
    for i, p in enumerate(used[:2]):
        good = {"deletion": 0.3, "deletion_random": 0.4, "insertion": 0.6, "insertion_random": 0.5}
        bad = {**good, "insertion": 0.4}
        index.append(
            {
                "patient": p,
                "unit_id": p,
                "image": image_of(p),
                "model": model,
                "method": "attention",
                "signed": False,
                "explains": classes[0],
                "truth": truth[p],
                "predicted": classes[0],
                "probability": 0.7,
                "n_tiles": 9,
                "fidelity": bad if i else good,
                "picture": _picture(folder, f"results/maps/m{i}.jpg", i),
                "tiles": [_picture(folder, f"results/maps/m{i}-tile0.jpg", 5 + i, 40)],
            }
        )
    _write(folder / "results" / "maps" / "index.json", index)


def _test(model: str, number: int) -> dict[str, Any]:
    run = {"mean": 0.51, "standard_error": 0.01, "threshold": 0.03, "flagged": number > 0, "runs": 20}
    run |= {"drawn": [0.49, 0.5, 0.54]}
    null = {"mean": 0.5, "sd": 0.05, "q025": 0.4, "median": 0.5, "q975": 0.6}
    return {
        "test": "labels shuffled",
        "observed": 0.8,
        "p": 0.01 if number == 0 else 0.4,
        "permutations": 99,
        "null": null | {"drawn": [0.4, 0.48, 0.5, 0.52, 0.6]},
        "statistic": "macro AUC",
        "model": model,
        "refitted": "mean_pool",
        "scheme": "patient_kfold",
        "repeat": 0,
        "folds": 3,
        "patients": 58,
        "strata": "within site",
        "seed": 0,
        "notes": [],
        "null_run": run,
    }


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")
