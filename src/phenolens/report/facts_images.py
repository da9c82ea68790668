"""Facts of the inputs: images, their preparation and checks, features, standards and licences."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pandas as pd

from phenolens.core.registry import ENCODERS
from phenolens.report import words
from phenolens.report.fact import IMAGES, MANIFEST, Fact, encoder_name, joined, section, settings, stored_models
from phenolens.report.names import Names
from phenolens.report.record import Record


def predictors(record: Record, names: Names) -> Fact | None:
    """The features: encoder with version and parameters, or the user's own."""
    encoder, asked = record.manifest.get("encoder") or {}, section(record, "features")
    if encoder:
        given = settings(dict(encoder.get("parameters") or {}), names)
        text = f"Features of the encoder {encoder_name(record)}, version {encoder.get('version', '')}"
        told = [f"{text}, with {given}" if given else f"{text}, with its defaults"]
        told.append("They are computed from one image at a time")
        return Fact(text=joined(told), where=f"{MANIFEST} (encoder)")
    sizes = [int((config.get("features") or {}).get("dimension") or 0) for _, config in stored_models(record)]
    if not any(sizes) or not (asked.get("table") or asked.get("folder")):
        return None
    what = "a table of the study" if asked.get("table") else "a folder of feature files"
    return Fact(
        text=joined([f"{max(sizes)} features, read from {what}"]), where="results/models/NAME/final/config.json"
    )


def preprocessing(record: Record, names: Names) -> Fact | None:
    """Region, tiles, quality and intensity as they were set."""
    titles = {"region": "Region", "tiles": "Tiles", "quality": "Quality thresholds"}
    told = [
        f"{t}: {settings(section(record, k), names)}" for k, t in titles.items() if settings(section(record, k), names)
    ]
    scan = section(record, "scan")
    given = {k: scan.get(k) for k in ("align", "component", "intensity", "intensity_of")}
    told.append(f"Scans: {settings(given, names)}" if settings(given, names) else "")
    return Fact(text=joined(told), where=f"{MANIFEST} (study)") if any(told) else None


def subsets(record: Record, names: Names) -> Fact | None:
    """Which sequences, timepoint, annotation and number of tiles were used."""
    scan, tiles, region = (section(record, k) for k in ("scan", "tiles", "region"))
    given = {
        "sequences": scan.get("sequences"),
        "timepoint": scan.get("timepoint"),
        "annotation": region.get("annotation"),
    }
    given |= {"tiles at most": tiles.get("max_per_patient")}
    told = settings(given, names)
    return Fact(text=joined([f"Used: {told}"]), where=f"{MANIFEST} (study)") if told else None


def acquisition(record: Record) -> Fact | None:
    """Resolution, sequences and formats of the images used."""
    used = record.images[record.images["status"] == "used"] if "status" in record.images else record.images
    told = []
    if "mpp" in used and used["mpp"].notna().any():
        low, high = used["mpp"].min(), used["mpp"].max()
        told.append(f"{len(used)} slides of {low:.4g}{f' to {high:.4g}' if high > low else ''} micrometres per px")
    for column, what in (("sequence", "Sequences"), ("format", "Formats"), ("spacing_mm", "Voxels in mm")):
        values = used[column][used[column] != ""].value_counts() if column in used else pd.Series(dtype=int)
        if len(values):
            first = ", ".join(f"{v} ({values[v]})" for v in sorted(values.index, key=lambda v: (-values[v], v))[:6])
            told.append(f"{what}: {first}" + (f" and {len(values) - 6} more" if len(values) > 6 else ""))
    return Fact(text=joined(told), where=IMAGES) if told else None


def single_image(record: Record) -> Fact | None:
    """One kind of image: METRICS asks for that, or for proof that one is not enough."""
    if "sequence" not in record.images:
        return None
    kinds = sorted(set(record.images[record.images["status"] == "used"]["sequence"]) - {""})
    return Fact(text=joined([f"One kind of image: {kinds[0]}"]), where=IMAGES) if len(kinds) == 1 else None


def regions(record: Record) -> Fact | None:
    """How many images have a mask, and how large it is."""
    if "volume_ml" not in record.images:
        return None
    drawn = record.images[record.images["volume_ml"].notna()]
    if drawn.empty:
        return None
    told = f"{words.count(len(drawn), 'image')} with a mask, of {drawn['volume_ml'].median():.3g} ml in the median"
    return Fact(text=joined([told]), where=f"{IMAGES} (volume_ml)")


def input_checks(record: Record, names: Names) -> Fact | None:
    """Images refused, thresholds, and cases unlike the training patients."""
    if record.images_are not in ("slide", "scan") or "status" not in record.images:
        return None
    refused = record.images[record.images["status"] == "quarantined"]
    told = [f"Every image is checked before use: {len(refused)} of {len(record.images)} refused, each with its reason"]
    told.append(f"Thresholds set: {settings(section(record, 'quality'), names)}" if section(record, "quality") else "")
    table = record.predictions.table
    if "ood" in table:
        tests = table[table["part"] == "test"]
        outside = float((pd.to_numeric(tests["ood"], errors="coerce") > 1).mean())
        told.append(f"{outside:.0%} of the test predictions are of cases unlike the training patients")
    return Fact(text=joined(told), where=f"{IMAGES}, results/quarantine.csv")


def feature_standard(record: Record) -> Fact | None:
    """The standard of hand-crafted features."""
    encoder = encoder_name(record)
    if encoder != "radiomics":
        return None
    version = (record.manifest.get("encoder") or {}).get("version", "")
    text = f"Encoder radiomics, version {version}: {ENCODERS.describe(encoder)['summary']}"
    return Fact(text=joined([text]), where=f"{MANIFEST} (encoder)")


def standards(record: Record) -> Fact | None:
    """Formats of the images and the standard of the features."""
    formats = sorted(set(record.images["format"]) - {""}) if "format" in record.images else []
    standard = feature_standard(record)
    told = [f"Formats of the images: {words.listed(formats)}" if formats else "", standard.text if standard else ""]
    return Fact(text=joined(told), where=f"{IMAGES}, {MANIFEST}") if any(told) else None


def licences(record: Record) -> Fact | None:
    """The licence of the encoder."""
    encoder = encoder_name(record)
    if encoder not in ENCODERS.names():
        return None
    licence = ENCODERS.describe(encoder).get("licence")
    told = f"Licence of the encoder {encoder}: {licence}"
    return Fact(text=joined([told]), where=f"{MANIFEST} (encoder)") if licence else None


FACTS: Mapping[str, Callable[[Record], Fact | None]] = {
    "acquisition": acquisition,
    "single_image": single_image,
    "regions": regions,
    "feature_standard": feature_standard,
    "licences": licences,
    "standards": standards,
}
NAMED: Mapping[str, Callable[[Record, Names], Fact | None]] = {
    "predictors": predictors,
    "preprocessing": preprocessing,
    "subsets": subsets,
    "input_checks": input_checks,
}
"""Facts that may hold names of patients, sites or files."""
