"""Doors: the file name is the name, parameters are checked, outside files and packages come in."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from phenolens.core.errors import PluginError
from phenolens.core.registry import DOORS, Choice, Door

PLUGIN = """
from dataclasses import dataclass
from typing import ClassVar

@dataclass(frozen=True, kw_only=True)
class Thing:
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "A thing."
    size: int = 3
    def __post_init__(self):
        if self.size < 1:
            raise ValueError("size must be at least 1")

plugin = Thing
"""


@pytest.fixture
def door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Door:
    folder = tmp_path / "a_door"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "_shared.py").write_text("")
    (folder / "thing.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [m for m in sys.modules if m.split(".")[0] == "a_door"]:
        monkeypatch.delitem(sys.modules, name)
    return Door("thing", "a_door")


def test_the_file_name_is_the_name_and_underscored_files_are_none(door: Door) -> None:
    assert door.names() == ["thing"]
    assert door.create("thing", {"size": 5}).size == 5
    assert door.describe("thing") == {"name": "thing", "summary": "A thing.", "version": 1, "parameters": {"size": 3}}


def test_an_unknown_name_or_parameter_is_refused_with_the_nearest(door: Door) -> None:
    with pytest.raises(PluginError, match="did you mean 'thing'"):
        door.create("thin")
    with pytest.raises(PluginError, match="did you mean 'size'"):
        door.create("thing", {"siez": 2})
    with pytest.raises(PluginError, match="size must be at least 1"):
        door.create("thing", {"size": 0})


def test_variants_come_from_a_table_beside_the_file(door: Door, tmp_path: Path) -> None:
    variants = PLUGIN.replace("size: int = 3", "variant: str").replace("if self.size < 1:", "if not self.variant:")
    (tmp_path / "a_door" / "hub.py").write_text(variants)
    (tmp_path / "a_door" / "hub.toml").write_text("[uni]\nx = 1\n[phikon]\nx = 2\n")
    fresh = Door("thing", "a_door")
    assert fresh.names() == ["phikon", "thing", "uni"]
    assert fresh.create("uni").variant == "uni"
    with pytest.raises(PluginError, match="parameter 'variant'"):
        fresh.create("uni", {"variant": "phikon"})


def test_a_name_twice_is_an_error(door: Door, tmp_path: Path) -> None:
    (tmp_path / "a_door" / "hub.py").write_text(PLUGIN)
    (tmp_path / "a_door" / "hub.toml").write_text("[thing]\nx = 1\n")
    with pytest.raises(PluginError, match="'thing' twice"):
        Door("thing", "a_door").names()


def test_a_labs_own_file_is_named_by_path_and_its_content_enters_the_identity(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(PLUGIN)
    choice = Choice("model", "mine.py:Thing", {"size": 4}, tmp_path)
    before = choice.identity()
    assert choice.create().size == 4
    assert str(tmp_path) not in str(before)
    file.write_text(PLUGIN + "# changed\n")
    assert choice.identity() != before
    with pytest.raises(PluginError, match="no 'Other'"):
        Choice("model", "mine.py:Other", {}, tmp_path).create()
    with pytest.raises(PluginError, match="no file"):
        Choice("model", "gone.py:Other", {}, tmp_path).create()


@pytest.mark.parametrize("kind", sorted(DOORS))
def test_every_plugin_of_every_door_describes_itself(kind: str) -> None:
    door = DOORS[kind]
    assert door.names()
    for name in door.names():
        known = door.describe(name)
        assert known["version"] >= 1
        assert known["summary"]
