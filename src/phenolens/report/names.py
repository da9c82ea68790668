"""The names a reader sees: those of the tables, or pseudonyms that nothing in the page leads back from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import PurePath

from phenolens.core.errors import StudyError
from phenolens.core.store import key_of
from phenolens.report.record import Record

UNKNOWN = "unknown"
_PATH = re.compile(
    r"""(?:\b[A-Za-z]:[\\/]|\\\\|~/|(?<![\w<)])\.{0,2}/(?=\S))[^;\n]*|[^\s;'"(]+[\\/][^;\n]*?\.\w{2,8}\b"""
)
_ROWS = re.compile(r"\brows? [\d, ]*\d")
_WITHHELD = "(withheld: the text holds numbers that are also identifiers; read it in the results folder)"


@dataclass(frozen=True, kw_only=True)
class Names:
    """Display names of patients, images and sites, and texts without the real ones.

    Without pseudonyms every name is its own. With them patients are P-001, P-002, ... in the order of a hash of the
    study id and the patient, images and sites likewise, and `text` replaces names, file names, paths and row numbers.
    """

    hidden: bool
    patients: Mapping[str, str] = field(default_factory=dict)
    images: Mapping[str, str] = field(default_factory=dict)
    sites: Mapping[str, str] = field(default_factory=dict)
    files: frozenset[str] = frozenset()

    def patient(self, name: str) -> str:
        return self.patients[name] if self.hidden else name

    def image(self, name: str) -> str:
        return self.images[name] if self.hidden else name

    def site(self, name: str) -> str:
        return self.sites[name] if self.hidden else name

    def text(self, text: str, who: Iterable[str] = ()) -> str:
        """The text fit to print; `who` are the names it is about."""
        if not self.hidden:
            return text
        risky = {w for w in who if _bare(w)} | (
            {s for s in self.sites if _bare(s)} if "site" in text.lower() else set()
        )
        if risky & set(re.findall(r"\w+", text)):
            return _WITHHELD
        kept = _PATH.sub("(path)", _ROWS.sub("a row", text))
        for pattern, known in self._patterns():
            kept = pattern.sub(partial(_known, known), kept)
        return kept

    def who(self, name: str) -> str:
        """A patient, an image, or both as `patient / image`, or a free text that may hold them."""
        if not self.hidden:
            return name
        patient, _, image = name.partition(" / ")
        if patient in self.patients and image in self.images:
            return f"{self.patients[patient]} / {self.images[image]}"
        for known in (self.patients, self.images, self.sites):
            if name in known:
                return known[name]
        return "(withheld)"

    def _patterns(self) -> list[tuple[re.Pattern[str], Mapping[str, str]]]:
        known = {
            **dict.fromkeys(self.files, "(file)"),
            **{name: shown for name, shown in self.sites.items() if name != UNKNOWN},
            **self.images,
            **self.patients,
        }
        names = sorted((n for n in known if n and not _bare(n)), key=lambda n: (-len(n), n))
        if not names:
            return []
        whole = "|".join(map(re.escape, names))
        return [(re.compile(rf"(?<![A-Za-z0-9])(?:{whole})(?![A-Za-z0-9])"), known)]

    def all(self) -> list[str]:
        """Every real name there is; none without pseudonyms."""
        return sorted({*self.patients, *self.images, *self.sites, *self.files} - {UNKNOWN})

    def secrets(self) -> list[str]:
        """Names that cannot stand in the page by chance: four characters or more, a digit among them."""
        return sorted(n for n in self.all() if len(n) >= 4 and re.search(r"\d", n) and not _bare(n))

    def refuse_leaks(self, page: str) -> None:
        """Raise StudyError where a name is left in the page; the last line of defence, after `text`."""
        seen = [n for n in self.secrets() if n in page and re.search(rf"(?<!\w){re.escape(n)}(?!\w)", page)]
        if self.hidden and seen:
            raise StudyError(
                f"{len(seen)} names of patients, images, files or sites left in the report",
                expected="pseudonyms only",
                todo="give the study, its columns and its models names that hold no identifiers, and run again",
            )


def _known(known: Mapping[str, str], found: re.Match[str]) -> str:
    return known[found[0]]


def _bare(name: str) -> bool:
    """Whether a name is a short number, which in a text cannot be told from a count."""
    return name.isdigit() and len(name) <= 3


def make(record: Record, *, pseudonyms: bool) -> Names:
    """The names of one record."""
    if not pseudonyms:
        return Names(hidden=False)
    table, images = record.table, record.images
    kept = record.snapshot
    patients = {*table["patient"], *images["patient"], *map(str, kept.get("patients", {}))}
    pictures = {*images["image"], *map(str, kept.get("images", {})), *(set(table["unit_id"]) - patients)}
    sites = {*table["site"], *images["site"], *map(str, record.manifest.get("sites", ()))} - {""}
    facts = [dict(facts) for facts in kept.get("images", {}).values()]
    sites |= {str(f["site"]) for f in (*facts, *map(dict, kept.get("patients", {}).values())) if f.get("site")}
    files = {str(f[k]) for f in facts for k in ("path", "annotation") if f.get(k)}
    files |= {PurePath(name).stem for name in files} - patients - pictures - set(record.classes)
    study = str(record.manifest.get("study_id", ""))
    everyone = patients | pictures | sites
    letters = {s: _letters(i) for i, s in enumerate(_shuffled(sites - {UNKNOWN}, study))}
    return Names(
        hidden=True,
        patients=_numbered(patients, study, everyone, ("P-", "Patient-", "Case-", "Subject-")),
        images=_numbered(pictures, study, everyone, ("Image-", "Slide-", "Picture-", "Scan-")),
        sites={**{s: f"site {letter}" for s, letter in letters.items()}, UNKNOWN: UNKNOWN},
        files=frozenset(files - {""}),
    )


def _shuffled(names: Iterable[str], study: str) -> list[str]:
    return sorted(names, key=lambda name: key_of(["pseudonym", study, name]))


def _numbered(names: Iterable[str], study: str, taken: set[str], prefixes: Iterable[str]) -> dict[str, str]:
    """P-001, P-002, ...; the first prefix with which no pseudonym is someone's real name."""
    order = _shuffled(names, study)
    made: dict[str, str] = {}
    for prefix in prefixes:
        made = {name: f"{prefix}{i + 1:03d}" for i, name in enumerate(order)}
        if not any(shown in real for real in taken for shown in made.values() if real.startswith(prefix)):
            break
    return made


def _letters(number: int) -> str:
    """A, B, ..., Z, AA, AB, ..."""
    head, last = divmod(number, 26)
    return (_letters(head - 1) if head else "") + chr(ord("A") + last)
