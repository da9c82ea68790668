"""Doors: folders in which the file name is the name used in study.yaml.

A plug-in file ends with `plugin = TheClass`, a frozen dataclass whose fields are its parameters and whose class
attributes `version` (int) and `summary` (str) describe it. A `.toml` beside a file of the same stem names variants:
`hub.toml` lists the models that `hub.py` serves, one table each. Packages outside add plug-ins by entry points in the
group `phenolens.DOOR`; a lab's own file is named as `path.py:Class`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import importlib.util
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from phenolens.core.errors import PluginError, nearest

_DECLARED = ("licence", "gated", "size_px", "mpp")


@dataclass(frozen=True)
class Door:
    """A folder of plug-ins. `kind` is the word used in messages ("encoder"), `package` the folder as a module."""

    kind: str
    package: str

    @cached_property
    def _homes(self) -> dict[str, tuple[str, str | None]]:
        """Name → (module or entry point, variant or None)."""
        homes: dict[str, tuple[str, str | None]] = {}
        for folder in importlib.import_module(self.package).__path__:
            for file in sorted(Path(folder).iterdir()):
                if file.name.startswith("_") or (file.suffix != ".py" and not (file / "__init__.py").exists()):
                    continue
                module = f"{self.package}.{file.stem}"
                table = file.with_suffix(".toml")
                variants = tomllib.loads(table.read_text("utf-8")) if table.exists() else {file.stem: None}
                for name in variants:
                    self._add(homes, name, (module, name if table.exists() else None))
        for point in entry_points(group=f"phenolens.{self.kind}s"):
            self._add(homes, point.name, (point.value, None))
        return homes

    def _add(self, homes: dict[str, tuple[str, str | None]], name: str, home: tuple[str, str | None]) -> None:
        if name in homes:
            raise PluginError(
                f"{self.kind} '{name}' twice: in {homes[name][0]} and in {home[0]}",
                expected="every name once",
                todo="rename one of them",
            )
        homes[name] = home

    def names(self) -> list[str]:
        """All names behind this door, sorted; imports none of the plug-ins."""
        return sorted(self._homes)

    def plugin(self, name: str, *, base: Path | None = None) -> tuple[type[Any], str | None]:
        """The class behind a name and its variant. `base` is the folder a `path.py:Class` is relative to."""
        if ".py:" in name:
            return _from_file(name, base or Path()), None
        if name not in self._homes:
            raise PluginError(
                f"{self.kind} '{name}'",
                expected=f"one of {', '.join(self.names())}",
                todo=f"correct the name{nearest(name, self.names())}, or name a file as path.py:Class",
            )
        module, variant = self._homes[name]
        path, _, attribute = module.partition(":")
        return getattr(importlib.import_module(path), attribute or "plugin"), variant

    def create(self, name: str, params: Mapping[str, Any] | None = None, *, base: Path | None = None) -> Any:
        """A plug-in with its parameters; an unknown parameter is refused with the nearest one."""
        cls, variant = self.plugin(name, base=base)
        given = dict(params or {})
        known = {f.name for f in dataclasses.fields(cls) if f.init} - ({"variant"} if variant else set())
        for key in given:
            if key not in known:
                raise PluginError(
                    f"parameter '{key}' for {self.kind} '{name}'",
                    expected=f"one of {', '.join(sorted(known)) or '(it takes none)'}",
                    todo=f"correct or remove it{nearest(key, known)}",
                )
        if variant is not None:
            given["variant"] = variant
        try:
            return cls(**given)
        except TypeError as fault:
            kinds = ", ".join(f"{f.name}: {f.type}" for f in dataclasses.fields(cls) if f.name in (params or {}))
            raise PluginError(
                f"{self.kind} '{name}' with {dict(params or {})}", expected=kinds, todo="correct the value"
            ) from fault
        except ValueError as fault:
            raise PluginError(
                f"{self.kind} '{name}' with {dict(params or {})}",
                expected="parameters of the right type and range",
                todo=f"correct them: {fault}",
            ) from fault

    def describe(self, name: str) -> dict[str, Any]:
        """Name, summary, version, parameters with defaults and what else it declares, for `phenolens list`."""
        cls, variant = self.plugin(name)
        params = {f.name: f.default for f in dataclasses.fields(cls) if f.init and f.default is not dataclasses.MISSING}
        made = cls(variant=variant) if variant else cls
        known = {"name": name, "summary": made.summary, "version": cls.version, "parameters": params}
        return known | {word: getattr(made, word) for word in _DECLARED if hasattr(made, word)}


@dataclass(frozen=True)
class Choice:
    """A plug-in chosen in a study: name and parameters. It can be sent to another process and made there."""

    kind: str
    name: str
    params: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    base: Path | None = None

    def create(self) -> Any:
        """The plug-in; an unknown name or parameter is refused."""
        return DOORS[f"{self.kind}s"].create(self.name, self.params, base=self.base)

    def identity(self) -> dict[str, Any]:
        """What of the choice is told of it: name, version, parameters and the content of a lab's own file.

        Parameters that change no number (a field's metadata says `key` False: a path, threads) are left out.
        """
        made = self.create()
        name, content = self.name, None
        if ".py:" in name:
            file, _, attribute = name.rpartition(":")
            name = attribute
            content = hashlib.sha256(((self.base or Path()) / file).read_bytes()).hexdigest()
        silent = {f.name for f in dataclasses.fields(made) if not f.metadata.get("key", True)}
        told = {k: v for k, v in dataclasses.asdict(made).items() if k not in silent}
        known = {"door": self.kind, "name": name, "version": made.version, "parameters": told}
        return known if content is None else {**known, "content": content}

    def keyed(self) -> dict[str, Any]:
        """The identity as it enters artefact keys: the hash of the content it begins with, its `fingerprint()`, is
        "weights". Raises WeightsMissingError where that content is not on this machine."""
        made, known = self.create(), self.identity()
        return {**known, "weights": made.fingerprint()} if hasattr(made, "fingerprint") else known


def _from_file(name: str, base: Path) -> type[Any]:
    file, _, attribute = name.rpartition(":")
    path = (base / file).resolve()
    if not path.exists():
        raise PluginError(f"no file {path}", expected="path.py:Class", todo="correct the path")
    spec = importlib.util.spec_from_file_location(f"phenolens_local_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise PluginError(f"{path}, which Python cannot load", expected="a .py file", todo="correct the path")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up by name
    spec.loader.exec_module(module)
    if not hasattr(module, attribute):
        raise PluginError(f"no '{attribute}' in {path}", expected="path.py:Class", todo="correct the class name")
    cls: type[Any] = getattr(module, attribute)
    return cls


FORMATS = Door("format", "phenolens.slides.formats")
SCAN_FORMATS = Door("scan_format", "phenolens.scans.formats")
ENCODERS = Door("encoder", "phenolens.features.encoders")
TASKS = Door("task", "phenolens.tasks")
MODELS = Door("model", "phenolens.models.zoo")
METRICS = Door("metric", "phenolens.evaluate.metrics")
EXPLAINERS = Door("explainer", "phenolens.explain.methods")
DOORS = {f"{door.kind}s": door for door in (ENCODERS, MODELS, TASKS, METRICS, FORMATS, SCAN_FORMATS, EXPLAINERS)}
