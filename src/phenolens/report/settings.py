"""What was set, with what it was run, and the hashes that tell one run from another."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from phenolens.report import words
from phenolens.report.names import Names
from phenolens.report.record import Record, model_name


def groups(record: Record, names: Names) -> list[dict[str, Any]]:
    """Groups of (name, value) pairs in the order of the study file."""
    manifest, study = record.manifest, record.manifest["study"]
    made = [
        _group("Task and cohort", _cohort(record, names)),
        _group("Region", _pairs(study.get("region", {}), names)),
        _group("Tiles", _pairs(study.get("tiles", {}), names)),
        _group("Scans", _pairs(study.get("scan", {}), names)),
        _group("Image quality", _quality(study, names)),
        _group("Features", _features(record, names)),
        *[_group(f"Model {model_name(m['name'])}", _model(m, names)) for m in manifest.get("models", [])],
        _group("Validation", _validation(study.get("validation", {}), names)),
        _group("Maps and audit", [*_pairs(study.get("explain", {}), names), *_pairs(study.get("audit", {}), names)]),
        _group("Seeds and hashes", _hashes(manifest)),
        _group("Versions", [(k, str(v)) for k, v in sorted(manifest.get("versions", {}).items())]),
        _group("Machine", _pairs(manifest.get("machine", {}), names)),
    ]
    return [g for g in made if g["pairs"]]


def _quality(study: Mapping[str, Any], names: Names) -> list[tuple[str, str]]:
    if "quality" not in study:
        return []
    return _pairs(study["quality"], names) or [("thresholds", "the defaults")]


def _group(title: str, pairs: list[tuple[str, str]]) -> dict[str, Any]:
    return {"title": title, "pairs": pairs}


def _cohort(record: Record, names: Names) -> list[tuple[str, str]]:
    study = record.manifest["study"]
    pairs = [
        ("study", str(study.get("study", ""))),
        ("recipe", str(study.get("recipe") or "none")),
        ("predicted", str(record.manifest.get("target", ""))),
        ("one prediction is about", f"one {record.unit}"),
        *_outcome(record),
        ("only patients where", names.text(str(study.get("where") or "no condition"))),
    ]
    if not names.hidden:
        pairs += [(f"table of {k}", str(study[k])) for k in ("patients", "images") if study.get(k)]
    return pairs


def _outcome(record: Record) -> list[tuple[str, str]]:
    """The classes, or the columns and times of a follow-up."""
    if record.survival is None:
        return [("classes", words.listed(list(record.classes)))]
    task, times = record.manifest["study"]["task"], record.survival
    return [
        ("time of the follow-up", str(task["time"])),
        ("event", str(task["event"])),
        ("horizons", words.listed([f"{h:g}" for h in times.horizons])),
        ("tau", f"{times.tau:g}"),
    ]


def _pairs(section: Mapping[str, Any], names: Names) -> list[tuple[str, str]]:
    return [(k.replace("_", " "), names.text(shown(v))) for k, v in section.items()]


def shown(value: Any) -> str:
    """A setting's value for a reader."""
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(shown, value)) if value else "none"
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _features(record: Record, names: Names) -> list[tuple[str, str]]:
    asked = record.manifest["study"].get("features", {})
    encoder = record.manifest.get("encoder") or {}
    pairs = []
    if encoder:
        pairs.append(("encoder", model_name(str(encoder.get("name", "")))))
        pairs.append(("version", str(encoder.get("version", ""))))
        pairs += _pairs(encoder.get("parameters", {}) or {}, names)
    if asked.get("folder"):
        pairs.append(("ready-made features", "a folder of feature files" if names.hidden else str(asked["folder"])))
    if asked.get("table"):
        pairs.append(("ready-made features", "a table" if names.hidden else str(asked["table"])))
    return pairs


def _model(identity: Mapping[str, Any], names: Names) -> list[tuple[str, str]]:
    parameters = _pairs(identity.get("parameters", {}) or {}, names)
    return [("version", str(identity.get("version", ""))), *(parameters or [("parameters", "the defaults")])]


def _validation(section: Mapping[str, Any], names: Names) -> list[tuple[str, str]]:
    kept = {k: v for k, v in section.items() if k != "file" or not names.hidden}
    titles = {"also": "also tested by", "tune": "share kept for stopping", "holdout": "locked holdout"}
    return [(titles.get(k, k), names.text(shown(v))) for k, v in kept.items()]


def _hashes(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    found = [
        ("study id", manifest.get("study_id")),
        ("fingerprint of the tables", manifest.get("cohort_fingerprint")),
        ("seed", manifest.get("seed")),
    ]
    return [(k, str(v)) for k, v in found if v is not None]
