"""Folds that are refused before anything is fitted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from phenolens.core.errors import LeakError, ModelError
from phenolens.core.types import Example, Split
from phenolens.models.contract import Model
from phenolens.tasks._contract import Task


def assert_parts(split: Split, parts: Mapping[str, Sequence[Example]]) -> None:
    """The last look before anything is learnt: no patient of one part in another."""
    for part, held in parts.items():
        strangers = sorted({e.patient for e in held} - getattr(split, part))
        if strangers:
            raise LeakError(
                f"patient {strangers[0]!r} in {part} of {split.name}",
                expected="patients of that part only",
                todo="this is a fault of the program: report it",
            )


def refuse_empty(model: Model, name: str, split: Split, parts: Mapping[str, Sequence[Example]]) -> None:
    wanted = ("train", "tune") if model.needs_tune else ("train",)
    for part in wanted:
        if not parts[part]:
            raise ModelError(
                f"no unit with features among the {len(getattr(split, part))} {part} patients of {split.name}",
                expected=f"at least one for model '{name}'",
                todo="see quarantine.csv for their images, or make the splits again",
            )


def refuse_absent(task: Task, split: Split, train: Sequence[Example]) -> None:
    """Raises ModelError naming the fold and the class that no training unit with features has."""
    try:
        task.weights(train)
    except ModelError as fault:
        found = f"{fault.found}: the units with features of the training patients of {split.name}"
        raise ModelError(found, expected=fault.expected, todo=fault.todo, where=fault.where) from fault


def refuse_missing(model: Model, name: str, examples: Iterable[Example]) -> None:
    if model.accepts_missing:
        return
    for example in examples:
        absent = [p.name for p in example.parts if p.source is None]
        if absent:
            raise ModelError(
                f"part {absent[0]!r} of unit {example.unit_id!r} absent",
                expected=f"every part there, since model '{name}' does not accept missing ones",
                todo="leave the part or the unit out, or choose a model that accepts missing parts",
            )
