"""One tree of errors; each says what was found, what was expected and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


class PhenolensError(Exception):
    """A fault a user can act on. `where` names the file (and line or row) it stands in."""

    def __init__(self, found: str, *, expected: str, todo: str, where: str = "") -> None:
        super().__init__(found, expected, todo, where)
        self.found = found
        self.expected = expected
        self.todo = todo
        self.where = where

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.found, self.expected, self.todo, self.where)

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        return f"{place}found {self.found}; expected {self.expected}; {self.todo}"


def _rebuild(kind: type[PhenolensError], found: str, expected: str, todo: str, where: str) -> PhenolensError:
    return kind(found, expected=expected, todo=todo, where=where)


class StudyError(PhenolensError):
    """The study file cannot be read or asks for something impossible."""


class CohortError(PhenolensError):
    """A table of the cohort is faulty."""


class SplitError(PhenolensError):
    """A split would mix patients or cannot be made."""


class ImageError(PhenolensError):
    """One image cannot be used; it goes to quarantine and the cohort goes on."""


class AnnotationError(ImageError):
    """The annotation of one image cannot be used."""


class PluginError(PhenolensError):
    """A plug-in is unknown, named twice or declares something impossible."""


class FeatureError(PhenolensError):
    """Features cannot be made or read."""


class WeightsMissingError(FeatureError):
    """The weights of an encoder are not on this machine."""


class ModelError(PhenolensError):
    """A model cannot be fitted, stored, restored or asked."""


class LeakError(PhenolensError):
    """Something would let a test patient reach the training."""


class StoreError(PhenolensError):
    """An artefact cannot be written, read or trusted."""


def nearest(name: str, options: Iterable[str]) -> str:
    """The option spelled most like `name`, as a clause to append to a message; empty when none is near."""
    from difflib import get_close_matches

    hits = get_close_matches(str(name), [str(o) for o in options], n=1, cutoff=0.5)
    return f" (did you mean '{hits[0]}'?)" if hits else ""
