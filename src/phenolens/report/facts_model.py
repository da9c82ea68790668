"""Facts of the task and the models: what is put out, how models were built, trained and stored, and with what."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from phenolens.core.registry import ENCODERS, MODELS
from phenolens.report import words
from phenolens.report.fact import (
    MANIFEST,
    PREDICTIONS,
    Fact,
    asked_models,
    encoder_name,
    feature_count,
    final_config,
    joined,
    models,
    section,
    settings,
    stored_models,
)
from phenolens.report.names import Names
from phenolens.report.record import Record
from phenolens.report.settings import shown

_HANDCRAFTED = ("radiomics", "pathomics")
_SOURCES = {"scan": "scans", "slide": "slides", "folder": "ready-made features of slides", "table": "a feature table"}
_RESULTS = ("predictions.csv", "estimates.csv", "splits.csv", "segmentation.csv")
_OF_PREDICTORS = ("missing", "combat", "scale", "select", "screen", "features", "correlated")


def task(record: Record) -> Fact | None:
    """What is predicted, of what, from what."""
    target = record.manifest.get("target")
    if not target:
        return None
    kind = str(section(record, "task").get("kind", "classification"))
    classes = list(map(str, record.manifest.get("classes") or ()))
    source = _SOURCES.get(record.images_are, "images")
    of = f" ({words.listed(classes, 'or')})" if kind == "classification" and classes else ""
    text = f"{kind.capitalize()}: {target}{of} is predicted for each {record.unit} from {source}"
    return Fact(text=joined([text, "Models are developed and evaluated on the patients of this study"]), where=MANIFEST)


def output(record: Record) -> Fact | None:
    """What a model puts out, and the threshold fixed beforehand."""
    classes, asked = list(record.manifest.get("classes") or ()), section(record, "task")
    if "event" in record.predictions.table:
        return Fact(text="The output is a risk and a curve of survival.", where=PREDICTIONS)
    if not classes or record.finds_masks:
        return None
    told = ["The output is a probability of each class; the class with the highest is the one predicted"]
    threshold, positive = asked.get("threshold"), asked.get("positive") or classes[-1]
    if threshold is not None:
        told.append(
            f"One would act on {positive} from a probability of {threshold:g}, fixed in the study file beforehand"
        )
    else:
        told.append("No further threshold was set")
    return Fact(text=joined(told), where=f"{PREDICTIONS}, {MANIFEST} (task)")


def predictor_handling(record: Record, names: Names) -> Fact | None:
    """Features offered and used, and how absent ones and scanners are handled."""
    told = []
    for one in asked_models(record):
        config = final_config(record, one["name"])
        offered = feature_count(config)
        used = ((config.get("fitted") or {}).get("search") or {}).get("used")
        parts = [
            f"{words.count(offered, 'feature')} offered" if offered else "",
            f"{used} used by the final model" if used else "",
        ]
        given = one.get("parameters") or {}
        parts += [f"{k} {shown(given[k])}" for k in _OF_PREDICTORS if given.get(k) is not None]
        if any(parts):
            told.append(f"{one['name']}: {', '.join(p for p in parts if p)}")
    where = f"{MANIFEST} (models), results/models/NAME/final/config.json"
    return Fact(text=joined([names.text(t) for t in told]), where=where) if told else None


def dimensionality(record: Record) -> Fact | None:
    """Features for patients, by model."""
    told = []
    for name, config in stored_models(record):
        offered, seen = feature_count(config), (config.get("training") or {}).get("count")
        if offered and seen:
            told.append(f"{name}: {words.count(offered, 'feature')}, {seen} patients ({offered / seen:.2g} a patient)")
    return Fact(text=joined(told), where="results/models/NAME/final/config.json") if told else None


def modelling(record: Record) -> Fact | None:
    """The models, in the words of their plug-ins."""
    known, told = set(MODELS.names()), []
    for one in asked_models(record):
        what = (
            MODELS.plugin(one["name"])[0].summary.rstrip(".") if one["name"] in known else "a model of the study's own"
        )
        told.append(f"{one['name']}: {what} (version {one.get('version', '')})")
    inner = section(record, "validation").get("tune")
    told.append(
        f"Choices are made on {inner:.0%} of the training patients of a fold, never on test patients" if inner else ""
    )
    return Fact(text=joined(told), where=f"{MANIFEST} (models)") if len(told) > 1 else None


def training(record: Record, names: Names) -> Fact | None:
    """The parameters of every model."""
    told = []
    for one in asked_models(record):
        given = settings(one.get("parameters") or {}, names)
        told.append(f"{one['name']}: {given or 'the defaults of its version'}")
    return Fact(text=joined(told), where=f"{MANIFEST} (models)") if told else None


def initialisation(record: Record) -> Fact | None:
    """Where random starts come from, and whether the encoder is pre-trained."""
    seed = record.manifest.get("seed")
    encoder = encoder_name(record)
    told = [f"Random starts come from the seed {seed}" if seed is not None else ""]
    if encoder in set(ENCODERS.names()) - {*_HANDCRAFTED, "volume"}:
        told.append(f"The encoder {encoder} is pre-trained and stays as it is")
    return Fact(text=joined(told), where=f"{MANIFEST} (seed)") if any(told) else None


def final_model(record: Record) -> Fact | None:
    """The models refitted on all development patients."""
    there = [name for name, _ in stored_models(record)]
    if not there:
        return None
    told = f"No model was chosen by its test results; reported: {words.listed(there)}"
    return Fact(text=joined([told, "Each was refitted on all development patients"]), where="results/models/NAME/final")


def model_object(record: Record) -> Fact | None:
    """The stored weights, by their hash."""
    told = [f"{name}: {c['weights_sha256'][:16]}" for name, c in stored_models(record) if c.get("weights_sha256")]
    if not told:
        return None
    text = f"Weights and configuration are stored; SHA-256 of the weights, first 16 digits: {', '.join(told)}"
    return Fact(text=joined([text]), where="results/models/NAME/final")


def ensembling(record: Record) -> Fact | None:
    """That no predictions are averaged."""
    found = models(record)
    if record.predictions.table.empty or not found:
        return None
    text = f"Predictions are not averaged over models or folds: each row is of one fold of {words.listed(found, 'or')}"
    return Fact(text=joined([text]), where=PREDICTIONS)


def predictions(record: Record) -> Fact | None:
    """How many predictions there are, and who made them."""
    n = len(record.predictions.table)
    if not n:
        return None
    text = f"{n:,} predictions, each by the stored model of its fold (results/models/NAME/REPEAT-FOLD)"
    return Fact(text=joined([text]), where=PREDICTIONS)


def updating(record: Record) -> Fact | None:
    """Recalibration in the fold."""
    way = section(record, "guard").get("calibrate")
    if way in (None, "none") or not any(str(c).startswith("q_") for c in record.predictions.table):
        return None
    text = f"Probabilities are recalibrated ({way}) on the tune patients of each fold; both are kept"
    return Fact(text=joined([text]), where=f"{PREDICTIONS} (columns q_CLASS)")


def software(record: Record) -> Fact | None:
    """Versions, system and devices."""
    versions: Mapping[str, Any] = record.manifest.get("versions") or {}
    machine = record.manifest.get("machine") or {}
    told = ["Versions: " + ", ".join(f"{k} {v}" for k, v in sorted(versions.items()))]
    told.append(
        f"On {machine.get('system', '')}, {', '.join(map(str, machine.get('devices') or ()))}" if machine else ""
    )
    return Fact(text=joined(told), where=f"{MANIFEST} (versions, machine)") if versions else None


def identity(record: Record) -> Fact | None:
    """Study id and fingerprints."""
    if not record.manifest.get("study_id"):
        return None
    marks = record.manifest.get("fingerprints") or {}
    told = [f"Study id {record.manifest['study_id']}, tables {record.manifest.get('cohort_fingerprint', '')}"]
    shown_marks = [f"{name} {marks[name]}" for name in _RESULTS if name in marks]
    told.append(f"Fingerprints: {', '.join(shown_marks)}" if shown_marks else "")
    version = (record.manifest.get("versions") or {}).get("phenolens")
    told.append(f"Made with phenolens {version}" if version else "")
    return Fact(text=joined(told), where=MANIFEST)


FACTS: Mapping[str, Callable[[Record], Fact | None]] = {
    "task": task,
    "output": output,
    "dimensionality": dimensionality,
    "modelling": modelling,
    "initialisation": initialisation,
    "final_model": final_model,
    "model_object": model_object,
    "ensembling": ensembling,
    "predictions": predictions,
    "updating": updating,
    "software": software,
    "identity": identity,
}
NAMED: Mapping[str, Callable[[Record, Names], Fact | None]] = {
    "predictor_handling": predictor_handling,
    "training": training,
}
"""Facts that may hold names of patients, sites or files."""
