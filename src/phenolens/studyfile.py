"""Reading YAML with the line of every key, and refusing it with all faults at once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from phenolens.core.errors import StudyError, nearest

Place = tuple[str | int, ...]
"""Where a value stands: keys and positions from the top."""
Fault = tuple[Place, str, str, str]
"""Where in the file, what was found, what was expected, what to do."""


def parse(text: str, path: Path) -> tuple[dict[Place, int], Any]:
    """Line of every key, and the content."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        raw = yaml.safe_load(text)
    except yaml.YAMLError as fault:
        mark = getattr(fault, "problem_mark", None)
        line = f"{path}:{mark.line + 1}" if mark else str(path)
        problem = getattr(fault, "problem", None) or str(fault)
        raise StudyError(
            f"text that is not YAML ({problem})",
            expected="key: value lines",
            todo="mend this line or the one before it",
            where=line,
        ) from fault
    if not isinstance(raw, dict):
        raise StudyError("no keys", expected="key: value lines", todo="start from phenolens new", where=str(path))
    lines: dict[Place, int] = {}
    _walk(node, (), lines, path)
    return lines, raw


def _walk(node: yaml.Node | None, place: Place, lines: dict[Place, int], path: Path) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*place, str(key.value))
            if here in lines:
                raise StudyError(
                    f"the key '{key.value}' twice (also on line {lines[here]})",
                    expected="every key once",
                    todo="remove one of them",
                    where=f"{path}:{key.start_mark.line + 1}",
                )
            lines[here] = key.start_mark.line + 1
            _walk(value, here, lines, path)
    elif isinstance(node, yaml.SequenceNode):
        for i, value in enumerate(node.value):
            lines[(*place, i)] = value.start_mark.line + 1
            _walk(value, (*place, i), lines, path)


def completed(raw: Mapping[str, Any], given: Mapping[str, Any]) -> tuple[dict[str, Any], list[Fault]]:
    """The content with what `given` adds, and a fault for each value that says otherwise than `given`."""
    whole, faults = dict(raw), list[Fault]()
    for key, value in given.items():
        own = raw.get(key)
        if key not in raw:
            whole[key] = value
        elif isinstance(value, Mapping) and isinstance(own, Mapping):
            merged, more = completed(own, value)
            whole[key] = merged
            faults += [((key, *place), found, expected, todo) for place, found, expected, todo in more]
        elif own != value:
            faults.append(((key,), f"{key}: {own!r}", f"{value!r}, as the model was made with", f"remove {key}"))
    return whole, faults


def faults_of(model: type[BaseModel], raw: Mapping[str, Any]) -> list[Fault]:
    """What the model refuses in the content, each place once."""
    try:
        model.model_validate(raw)
    except ValidationError as error:
        faults: list[Fault] = []
        for item in error.errors(include_url=False):
            if item["type"] == "too_short" and item["input"]:
                continue  # its entries are faulty, and named
            place = tuple(p for p in item["loc"] if not str(p).startswith(("dict[", "str")) or p in raw)
            fault = _translate(model, item, place)
            if not any(place[: len(f[0])] == f[0] for f in faults):
                faults.append(fault)
        return faults
    return []


def _translate(model: type[BaseModel], item: Any, place: Place) -> Fault:
    name = ".".join(map(str, place))
    if item["type"] == "extra_forbidden":
        known = _keys_at(model, place[:-1])
        hint = nearest(str(place[-1]), known)
        return place, f"unknown key '{name}'", f"one of {', '.join(known)}", f"correct or remove it{hint}"
    if item["type"] == "missing":
        return place, f"no '{name}'", f"the key '{name}'", "add it"
    if place[:1] == ("models",) and len(place) > 1:
        todo = "put '-' before each model, and indent its parameters deeper than its name"
        return place[:2], f"the model {item['input']!r}", "a name, or {name: {parameter: value}}", todo
    got = item.get("input")
    found = f"{name}: {'nothing' if got is None else repr(got)}"
    return place, found, _expected(item), f"correct the value{_hint(item)}"


_KINDS = {
    "model_type": "keys with values below it",
    "dict_type": "a name, or a name with its parameters",
    "tuple_type": "a list, such as [one, two]",
    "string_type": "text",
    "string_pattern_mismatch": "letters, digits, '.', '-' and '_', without spaces",
    "too_short": "a list of at least one",
    "greater_than": "more than {gt:g}",
    "greater_than_equal": "at least {ge:g}",
    "less_than": "less than {lt:g}",
    "less_than_equal": "at most {le:g}",
    "literal_error": "one of {expected}",
}


def _expected(item: Any) -> str:
    """What pydantic expected, in a user's words."""
    kind = str(item["type"])
    if kind.startswith(("int_", "float_")):
        return "a whole number" if kind.startswith("int_") else "a number"
    said = str(item["msg"])
    return _KINDS.get(kind, said[:1].lower() + said[1:]).format(**item.get("ctx", {}))


def _hint(item: Any) -> str:
    """The nearest name, or the share that a percentage stands for."""
    kind, got, limits = item["type"], item.get("input"), item.get("ctx", {})
    if kind == "literal_error":
        known = [part.strip("' ") for part in str(limits["expected"]).replace(" or ", ",").split(",")]
        return nearest(str(got), known)
    if kind == "less_than_equal" and limits["le"] == 1 and isinstance(got, int | float) and got <= 100:
        return f": a share, so {got:g}% is {got / 100:g}"
    return ""


def _keys_at(model: Any, place: Place) -> list[str]:
    for step in place:
        model = model.model_fields[step].annotation
    return list(model.model_fields)


def refusal(path: Path, faults: list[Fault], lines: Mapping[Place, int]) -> StudyError:
    def line(place: Place) -> int:
        while place and place not in lines:
            place = place[:-1]
        return lines.get(place, 1)

    faults = sorted(faults, key=lambda f: line(f[0]))
    if len(faults) == 1:
        place, found, expected, todo = faults[0]
        return StudyError(found, expected=expected, todo=todo, where=f"{path}:{line(place)}")
    listed = "".join(f"\n  line {line(p)}: {found}; expected {expected}; {todo}" for p, found, expected, todo in faults)
    return StudyError(
        f"{len(faults)} faults:{listed}\n", expected="a study file without them", todo="correct each", where=str(path)
    )
