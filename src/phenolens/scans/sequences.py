"""Which sequence a series is, by its DICOM tags: an ordered table of rules (sequences.toml), first match wins.

A guess for a person to correct, never used in a run.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any

from phenolens.scans._tags import b_value, number, text

_TEXT = ("SeriesDescription", "ProtocolName", "SequenceName", "PulseSequenceName")
_NO_AGENT = ("", "none", "no", "0", "nein", "non", "geen")
_AGREES, _DIFFERS = 0.1, 0.35
"""What the tags that a sequence is expected to have add to the confidence, or take from it."""
_FROM_NAME = 0.6
"""Most confidence in a file name without tags."""
UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class Guess:
    """What a series probably is: a name of sequences.toml or "unknown", its b-value (s/mm2), how sure, and why."""

    sequence: str
    b_value: float | None = None
    confidence: float = 0.0
    why: str = ""


def identify(tags: Mapping[str, Any]) -> Guess:
    """The guess for one series from DICOM keywords and their values (text, numbers, lists).

    Without Modality (a file name given as SeriesDescription) the confidence is at most 0.6. Nothing fits: "unknown"
    with confidence 0.
    """
    table = _table()
    words = _words(tags)
    b = number(tags.get("b_value"))
    b = _b_of_name(words) if b is None else b
    for rule in table["rule"]:
        found = _fits(rule, tags, words, b, table["words"])
        if found is None:
            continue
        confidence, said = _weighed(rule, tags, table["expects"])
        if not tags.get("Modality"):
            confidence = min(confidence, _FROM_NAME)
        why = ", ".join((rule["why"], *(f"'{w}'" for w in found), *said))
        return Guess(
            sequence=rule["sequence"],
            b_value=b if rule["sequence"] == "DWI" else None,
            confidence=round(confidence, 2),
            why=why,
        )
    return Guess(sequence=UNKNOWN, why="no rule fits its tags")


def tags_of(header: Any) -> dict[str, Any]:
    """The tags that rules read, from a DICOM header; `b_value` also from the vendors' private tags."""
    names = {"ImageType", "Modality", "ContrastBolusAgent", "StudyInstanceUID", "FlipAngle", "MagneticFieldStrength"}
    names |= {
        *_TEXT,
        "ScanningSequence",
        "SequenceVariant",
        "ScanOptions",
        "EchoTime",
        "RepetitionTime",
        "InversionTime",
    }
    names |= {"AcquisitionTime", "ContentTime", "SeriesTime", "ContrastBolusStartTime", "TriggerTime", "SeriesNumber"}
    made = {name: text(header.get(name)) for name in sorted(names) if header.get(name) not in (None, "")}
    b = b_value([header])
    return made if b is None else {**made, "b_value": b}


def modality_of(sequence: str) -> str:
    """The modality of a sequence by its name in sequences.toml: "MR", "CT" or "PT"; "" of a name that is not there."""
    of = {rule["sequence"]: rule["modality"] for rule in _table()["rule"] if "modality" in rule}
    return str(of.get(sequence, "")) if sequence != UNKNOWN else ""


def order_phases(series: Sequence[tuple[Mapping[str, Any], Guess]]) -> list[Guess]:
    """The guesses of one patient with dynamic phases named by their time, where their names alone do not say.

    Series are of one dynamic run when study, repetition and echo time agree. By the time after the injection where it
    is stated (ContrastBolusStartTime: arterial to 50 s, portal-venous to 120 s, delayed to 10 min, then
    hepatobiliary); else three or more T1 runs of which some carry contrast: first before contrast, then arterial,
    portal-venous and delayed, hepatobiliary after a pause of 8 minutes.
    """
    made = [guess for _, guess in series]
    runs: dict[tuple[Any, ...], list[int]] = {}
    for i, (tags, guess) in enumerate(series):
        if guess.sequence in ("T1", "T1-pre", "CE-T1") and _clock(tags) is not None:
            times = (number(tags.get(name)) for name in ("RepetitionTime", "EchoTime"))
            key = (tags.get("StudyInstanceUID"), *(None if t is None else round(t, 1) for t in times))
            runs.setdefault(key, []).append(i)
    for run in runs.values():
        run.sort(key=lambda i: (_clock(series[i][0]) or 0.0, i))
        for i, named in _named(run, series).items():
            made[i] = named
    return made


def _named(run: Sequence[int], series: Sequence[tuple[Mapping[str, Any], Guess]]) -> dict[int, Guess]:
    made = {}
    clocks = [_clock(series[i][0]) or 0.0 for i in run]
    injected = [_seconds(series[i][0].get("ContrastBolusStartTime")) for i in run]
    stated = next((t for t in injected if t is not None), None)
    if stated is not None:
        for i, clock in zip(run, clocks, strict=True):
            made[i] = _at(series[i][1], clock - stated)
        return made
    contrast = any(series[i][1].sequence == "CE-T1" for i in run)
    if len(run) < 3 or not contrast:
        return {}
    phases = ["T1-pre", "CE-T1-arterial", "CE-T1-portal"]
    start = 0 if series[run[0]][1].sequence in ("T1", "T1-pre") else 1
    for rank, (i, clock) in enumerate(zip(run, clocks, strict=True)):
        place = rank + start
        phase = phases[place] if place < len(phases) else "CE-T1-delayed"
        if place > 2 and clock - clocks[rank - 1] >= 480:
            phase = "CE-T1-hepatobiliary"
        made[i] = replace(series[i][1], sequence=phase, confidence=0.5, why=f"{rank + 1} of {len(run)} T1 runs by time")
    return made


def _at(guess: Guess, seconds: float) -> Guess:
    limits = ((0.0, "T1-pre"), (50.0, "CE-T1-arterial"), (120.0, "CE-T1-portal"), (600.0, "CE-T1-delayed"))
    phase = next((name for limit, name in limits if seconds < limit), "CE-T1-hepatobiliary")
    return replace(guess, sequence=phase, confidence=0.7, why=f"{seconds:.0f} s after the injection")


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads(files("phenolens.scans").joinpath("sequences.toml").read_text("utf-8"))


def _plain(said: str) -> str:
    """Small letters without accents, every sign but letters and digits a blank."""
    said = said.lower().replace("ä", "ae").replace("ö", "oe").replace("ü", "ue").replace("ß", "ss")
    bare = "".join(c for c in unicodedata.normalize("NFKD", said) if not unicodedata.combining(c))
    bare = re.sub(r"(?<![a-z0-9])c-(?![a-z0-9])", " c minus ", bare.replace("*", " star ").replace("+", " plus "))
    return " ".join(re.sub(r"[^a-z0-9]+", " ", bare).split())


def _words(tags: Mapping[str, Any]) -> str:
    """The texts, each preceded by a bar that no pattern matches."""
    return " | ".join(_plain(text(tags.get(name))) for name in _TEXT)


def _b_of_name(words: str) -> float | None:
    found = re.search(r"\bb ?(\d{1,4})t?\b", words)
    return float(found[1]) if found else None


def _fits(
    rule: Mapping[str, Any], tags: Mapping[str, Any], words: str, b: float | None, lists: Mapping[str, str]
) -> list[str] | None:
    """The words that matched, None where a condition does not hold."""
    modality = text(tags.get("Modality")).upper()
    if "modality" in rule and modality not in ("", rule["modality"]):
        return None
    if (rule.get("stated") and not modality) or (rule.get("unstated") and modality):
        return None
    if "image_type" in rule and not re.search(rule["image_type"], text(tags.get("ImageType")).upper()):
        return None
    agent = text(tags.get("ContrastBolusAgent")).lower() not in _NO_AGENT
    if rule.get("contrast", agent) != agent:
        return None
    for name, pattern in rule.get("tags", {}).items():
        if not re.search(pattern, text(tags.get(name)).upper()):
            return None
    for name, (low, high) in rule.get("ranges", {}).items():
        value = b if name == "b_value" else number(tags.get(name))
        if value is None or not low <= value <= high:
            return None
    if "without" in rule and re.search(rule["without"], words):
        return None
    if "without_words" in rule and re.search(lists[rule["without_words"]], words):
        return None
    found = []
    for pattern in (rule.get("text"), lists[rule["words"]] if "words" in rule else None):
        if pattern is not None:
            hit = re.search(pattern, words)
            if hit is None:
                return None
            found.append(hit[0])
    return list(dict.fromkeys(found))


def _weighed(rule: Mapping[str, Any], tags: Mapping[str, Any], expects: Mapping[str, Any]) -> tuple[float, list[str]]:
    """The rule's confidence, raised or lowered by the tags that such a sequence is expected to have."""
    confidence = float(rule["confidence"])
    name = rule["sequence"]
    wanted = expects.get(name) or expects.get("CE-T1" if name.startswith("CE-T1") else name.split("-")[0], {})
    said, agrees = [], False
    for tag, (low, high) in wanted.items():
        value = number(tags.get(tag))
        if value is None or tag in rule.get("ranges", {}):
            continue
        agrees = True
        if not low <= value <= high:
            said.append(f"but {tag} is {value:g} ms ({low:g} to {high:g} expected)")
    if said:
        return max(confidence - _DIFFERS, 0.05), said
    return min(confidence + (_AGREES if agrees else 0.0), 0.98), []


def _clock(tags: Mapping[str, Any]) -> float | None:
    for name in ("AcquisitionTime", "ContentTime", "SeriesTime"):
        found = _seconds(tags.get(name))
        if found is not None:
            return found
    return None


def _seconds(clock: Any) -> float | None:
    """Seconds since midnight of a DICOM time."""
    said = text(clock).replace(":", "")
    if not re.fullmatch(r"\d{6}(\.\d*)?", said):
        return None
    return int(said[:2]) * 3600 + int(said[2:4]) * 60 + float(said[4:])
