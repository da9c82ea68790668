"""Several studies in one study file: what each experiment changes, and where it lies.

Under `experiments:` every name holds what differs from the rest of the file. An experiment becomes a study of its own
in `experiments/NAME`, which shares tables and artefacts with the study it is part of, so that every command works on
it. A list of encoders (`features: {encoder: [a, b]}`) makes one arm each, compared on the same splits. Experiments run
in the order of the file and may name earlier ones: as the study whose masks are read (`region.masks`, `scan.masks`), as
the one a model starts from or is taught by (`transfer`), or as a comparison whose best encoder is taken on
(`encoder:` or `backbone: {best_of: NAME}`, by the balanced accuracy or a metric named with `by:`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from phenolens.core.errors import StudyError, nearest
from phenolens.core.store import write_text
from phenolens.study import EXPERIMENTS, FILE, Study, study_file
from phenolens.studyfile import Fault, Place, parse, refusal

_HEAD = "# Written by phenolens run from ../../study.yaml: change that file, not this one.\n"
_NAMED = (("region", "masks"), ("scan", "masks"), ("transfer", "start"), ("transfer", "teacher"))
"""The keys whose value may be the name of an earlier experiment."""
BEST_OF = "best_of"
Content = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One experiment, or one arm of one: `name` is that of its folder, `family` that of the study file.

    `arm` is the encoder where the experiment compares several, else empty; `content` is its study file; `chosen_from`
    is the comparison whose best encoder it takes on, if any.
    """

    name: str
    family: str
    arm: str
    folder: Path
    content: Content
    chosen_from: str = ""

    @property
    def study(self) -> Study:
        """The study it is."""
        study, faults = Study.judged(self.content, self.folder)
        assert study is not None, faults
        return study

    def write(self) -> Path:
        """Write its study file, where that is not there as it should be; returns the folder."""
        text = _HEAD + yaml.safe_dump(self.content, sort_keys=False, allow_unicode=True)
        path = self.folder / FILE
        if not path.exists() or path.read_text("utf-8") != text:
            write_text(path, text)
        return self.folder


Choose = Callable[[Sequence[Experiment], str], Experiment]
"""From the arms of a comparison, and the metric to go by ("" for the default), to the best."""


def _first(arms: Sequence[Experiment], _by: str) -> Experiment:
    return arms[0]


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> Content:
    """`base` with the values of `over`; sections are merged key by key, a None takes the key out."""
    result = dict(base)
    for key, value in over.items():
        if isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
            result[key] = merged(result[key], value)
        elif value is None:
            result.pop(key, None)
        else:
            result[key] = value
    return result


def experiments(folder: Path | str, choose: Choose = _first, *, of: str = "") -> list[Experiment]:
    """The experiments of a study file in its order, arms after one another; none where it holds a single study.

    `choose` says which arm is the best where the experiment `of` asks that; elsewhere the first stands for it, so that
    the file can be checked before anything has run. Raises StudyError with all faults of the file.
    """
    path = study_file(folder)
    lines, raw = parse(path.read_text("utf-8-sig"), path)
    if EXPERIMENTS not in raw:
        return []
    asked = raw.pop(EXPERIMENTS)
    if not isinstance(asked, dict) or not asked or not all(isinstance(v, dict) for v in asked.values()):
        todo = f"write each name under {EXPERIMENTS}: with what it changes indented below it"
        raise refusal(path, [((EXPERIMENTS,), "no experiment with keys below it", "NAME: and its keys", todo)], lines)
    made, faults = list[Experiment](), list[Fault]()
    for name, over in asked.items():
        reader = _Reader(path.parent.resolve(), raw, made, list(asked), choose if name == of else _first)
        for one in reader.arms(str(name), over):
            made.append(one)
            faults += [_placed(f, str(name), lines) for f in _faults(one)]
        faults += [((EXPERIMENTS, str(name)), *rest) for rest in reader.faults]
    if faults:
        raise refusal(path, list(dict.fromkeys(faults)), lines)
    return made


def _faults(one: Experiment) -> list[Fault]:
    return Study.judged(one.content, one.folder)[1]


def _placed(fault: Fault, name: str, lines: Mapping[Place, int]) -> Fault:
    """The fault with its place in the file: under the experiment where that says it, else among the common keys."""
    place, found, expected, todo = fault
    for length in range(len(place), 0, -1):
        for start in ((EXPERIMENTS, name), ()):
            if (*start, *place[:length]) in lines:
                return (*start, *place[:length]), f"{found} (experiment {name})", expected, todo
    return (EXPERIMENTS, name), f"{found} (experiment {name})", expected, todo


class _Reader:
    """Makes the arms of one experiment; what cannot be made is noted in `faults` (found, expected, to do)."""

    def __init__(self, home: Path, common: Content, before: Sequence[Experiment], names: Sequence[str], choose: Choose):
        self.home, self.common, self.before, self.names, self.choose = home, common, list(before), names, choose
        self.faults: list[tuple[str, str, str]] = []
        self.chosen_from = ""

    def arms(self, name: str, over: Content) -> Iterator[Experiment]:
        if not name.replace("-", "").replace("_", "").isalnum() or not name.isascii():
            self.faults.append((f"an experiment named {name!r}", "letters, digits, - and _", "rename it"))
            return
        content = merged(self.common, over)
        content["study"] = f"{self.common.get('study', 'study')}-{name}"
        content["part_of"] = "../.."
        self._name_others(content, name)
        content["models"] = [self._model(m, name) for m in content.get("models") or ()]
        encoders = (content.get("features") or {}).get("encoder")
        if isinstance(encoders, dict) and BEST_OF in encoders and (best := self._best(encoders, name)) is not None:
            content["features"] = {**content["features"], **best}
        if not isinstance(encoders, list):
            yield self._one(name, name, "", content)
            return
        labels = [_label(e) for e in encoders]
        twice = sorted({x for x in labels if labels.count(x) > 1})
        if twice or not labels:
            self.faults.append(
                (f"encoder {twice[0]} twice" if twice else "no encoder", "each once", "correct the list")
            )
            return
        for label, encoder in zip(labels, encoders, strict=True):
            key, params = (encoder, {}) if isinstance(encoder, str) else next(iter(encoder.items()))
            own = {**content["features"], "encoder": key, **(params or {})}
            yield self._one(f"{name}-{label}", name, label, {**content, "features": own})

    def _one(self, name: str, family: str, arm: str, content: Content) -> Experiment:
        content = {**content, "study": f"{content['study']}-{arm}"} if arm else content
        folder, chosen = self.home / EXPERIMENTS / name, self.chosen_from
        return Experiment(name=name, family=family, arm=arm, folder=folder, content=content, chosen_from=chosen)

    def _name_others(self, content: Content, name: str) -> None:
        """Put the folder of an earlier experiment where its name stands."""
        for section, key in _NAMED:
            value = (content.get(section) or {}).get(key)
            if value in self.names and self._earlier(str(value), name):
                content[section] = {**content[section], key: f"{EXPERIMENTS}/{value}"}

    def _earlier(self, other: str, name: str) -> bool:
        if any(e.family == other for e in self.before):
            return True
        todo = f"write {other} before {name}"
        self.faults.append((f"experiment {other} named in {name}", "an experiment that comes before it", todo))
        return False

    def _model(self, entry: Any, name: str) -> Any:
        """A model whose backbone is the best encoder of a comparison gets that encoder's name and weights."""
        if not isinstance(entry, dict):
            return entry
        model, params = next(iter(entry.items()))
        asked = (params or {}).get("backbone")
        features = self._best(asked, name) if isinstance(asked, dict) and BEST_OF in asked else None
        if features is None:
            return entry
        chosen = {"backbone": features.get("architecture", features["encoder"])}
        if "weights" in features:
            chosen["weights"] = features["weights"]
        return {model: {**params, **chosen}}

    def _best(self, asked: Mapping[str, Any], name: str) -> Content | None:
        """The features of the best arm of the comparison that is asked for; None, and a fault, where there is none."""
        family = str(asked[BEST_OF])
        arms = [e for e in self.before if e.family == family and e.arm]
        if not arms:
            todo = f"name a comparison of encoders that comes before {name}{nearest(family, list(self.names))}"
            self.faults.append((f"{BEST_OF}: {family}", "an earlier experiment with a list of encoders", todo))
            return None
        self.chosen_from = family
        features: Content = self.choose(arms, str(asked.get("by", ""))).content["features"]
        return features


def _label(encoder: Any) -> str:
    """The name of an arm: the architecture where one encoder serves several, else the encoder."""
    if isinstance(encoder, str):
        return encoder
    if not isinstance(encoder, dict) or len(encoder) != 1:
        return str(encoder)
    name, params = next(iter(encoder.items()))
    return str((params or {}).get("architecture", name))


def only(made: Sequence[Experiment], name: str) -> list[Experiment]:
    """The experiment, or the arms, of this name. Raises StudyError for another."""
    found = [e for e in made if name in (e.name, e.family)]
    if not found:
        names = list(dict.fromkeys(e.family for e in made))
        found_ = f"--only {name}" + ("" if names else " in a study without experiments")
        todo = f"correct it{nearest(name, names)}" if names else "leave --only out"
        raise StudyError(found_, expected=f"one of {', '.join(names)}" if names else "a single study", todo=todo)
    return found
