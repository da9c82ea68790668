"""A user's own feature table in place of images: nothing is opened, rows become parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from phenolens.core.errors import FeatureError
from phenolens.core.store import key_of
from phenolens.core.types import Example, Part
from phenolens.features.readings import read_readings
from phenolens.features.table import FeatureTable, read_feature_table
from phenolens.steps.desk import Desk, Ready
from phenolens.steps.states import ImageState, States


@dataclass(frozen=True, kw_only=True)
class TableJob:
    """One unit of the table; it has no image of its own."""

    patient: str
    image: str
    path: str


def prepare_images(desk: Desk, ready: Ready) -> States:
    """One state a unit: used where the table has a row for it."""
    held = read(desk, ready)
    states: States = {}
    for row in ready.units.to_dict("records"):
        unit = str(row["unit_id"])
        job = TableJob(patient=row["patient"], image=unit, path=str(desk.study.features.table))
        state = states[unit] = ImageState(job=job, site=str(row["site"]))
        parts = held.parts.get(unit)
        if parts is None:
            state.stop(
                FeatureError(
                    "no row for it in the feature table",
                    expected=f"a row in {desk.study.features.table}",
                    todo="add its row, or leave it out of the tables",
                )
            )
            state.status = "missing"
            continue
        bags = [part.load() for part in parts]
        state.features = key_of([bag.recipe if bag else None for bag in bags])
        state.tiles = state.tiles_used = sum(bag is not None for bag in bags)
    return states


def extract_features(desk: Desk, ready: Ready, states: States) -> dict[str, Any]:
    """The parts of every unit that has a row."""
    del states
    return dict(read(desk, ready).parts)


def parts_of(desk: Desk, ready: Ready, sources: dict[str, Any]) -> dict[str, list[Part]]:
    """The parts as the table gives them; units without one are left out where the study says so."""
    del ready
    kept = desk.study.scan.missing == "allowed"
    return {unit: list(parts) for unit, parts in sources.items() if kept or all(p.present for p in parts)}


def read(desk: Desk, ready: Ready) -> FeatureTable:
    """The table that the study names; its findings go beside those of the cohort's tables."""
    path = desk.study.features.table
    assert path is not None, "the study names a feature table"
    params = desk.study.features.params
    return read_feature_table(
        desk.study.path(path),
        ready.units,
        unit=desk.study.task.unit,
        target=desk.study.task.outcome,
        ignore=tuple(params.get("ignore", ())),
        drop_incomplete_columns=bool(params.get("drop_incomplete_columns", False)),
    )


def with_readings(desk: Desk, ready: Ready, made: Sequence[Example]) -> list[Example]:
    """Examples with the repeated readings of their unit and those of people outside the cohort, where there are any."""
    path = desk.study.features.repeated
    if path is None:
        return list(made)
    names = read(desk, ready).names
    found = read_readings(desk.study.path(path), ready.units, names, unit=desk.study.task.unit)
    return [replace(e, readings=found.own.get(e.unit_id, ()), readings_elsewhere=found.elsewhere) for e in made]
