"""Fitted models as they are stored: publish one, load one, ask it, and refuse what does not fit it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load

from phenolens.core.errors import ModelError
from phenolens.core.predictions import GROUPS, survival_columns
from phenolens.core.registry import Choice
from phenolens.core.store import Store, atomic, canonical, write_text
from phenolens.core.tileset import TileSet
from phenolens.core.types import Bag, Example
from phenolens.models.contract import Fitted, Probabilities
from phenolens.models.guard import PREFIX, Guard, Judged
from phenolens.models.inputs import checked_inputs, from_config
from phenolens.models.record import FORMAT

SURVIVAL = "survival"
WEIGHTS, CONFIG = "weights.safetensors", "config.json"
EXTENT_TOLERANCE = 0.02
"""Tiles are cut on whole pixels of a level, so that their side in µm may differ a little between scanners."""


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A fitted model that was stored, the config beside it, and its guard where it was fitted with one."""

    fitted: Fitted
    config: Mapping[str, Any]
    guard: Guard | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes in the order of the probabilities."""
        return tuple(self.config["classes"])

    @property
    def survives(self) -> bool:
        """Whether it predicts risks and survival, and not classes."""
        return bool(self.config["task"]["name"] == SURVIVAL)

    @property
    def shown(self) -> tuple[str, ...]:
        """The columns of `told`, in their order."""
        if not self.survives:
            return ("predicted", *(f"p_{c}" for c in self.classes))
        return ("risk", "group", *survival_columns(self._task().horizons))

    def told(self, p: npt.NDArray[np.float64]) -> tuple[dict[str, Any], str]:
        """One row of `predict` as columns of a table for people, and in words; of a curve only the horizons."""
        if not self.survives:
            best = self.classes[int(p.argmax())]
            row = {f"p_{c}": round(float(v), 6) for c, v in zip(self.classes, p, strict=True)}
            words = ", ".join(f"{c} {v:.2f}" for c, v in zip(self.classes, p, strict=True))
            return {"predicted": best, **row}, f"{best} ({words})"
        task = self._task()
        by = dict(zip(task.columns, p.tolist(), strict=True))
        at = {c: round(by[c], 6) for c in survival_columns(task.horizons)}
        group = GROUPS[int(by["group"])]
        words = ", ".join(f"{v:.0%} at {h:g}" for h, v in zip(task.horizons, at.values(), strict=True))
        return {"risk": round(by["risk"], 6), "group": group, **at}, f"{group} risk (survival {words})"

    def _task(self) -> Any:
        return Choice("task", self.config["task"]["name"], self.config["task"]["parameters"]).create()

    def predict(self, examples: Sequence[Example]) -> Probabilities:
        """Probabilities (n, k); of a survival risk, group and curve (n, 2 + t).

        Raises ModelError when features do not fit or are not finite. Reads no targets.
        """
        return self.fitted.predict([replace(e, targets={}) for e in self._checked(examples)])

    def attention(self, example: Example) -> npt.NDArray[np.float64]:
        """The weight of each row of `example.instances()`; raises ModelError when the model offers none."""
        if not hasattr(self.fitted, "attention"):
            raise ModelError(
                f"model '{self.config['model']['name']}' without attention",
                expected="a model that offers attention",
                todo="choose another map, such as occlusion",
            )
        weights: npt.NDArray[np.float64] = self.fitted.attention(self._checked([example])[0])
        return weights

    def flags(self, example: Example) -> str:
        """Why the prediction of an example is to be read with care; empty where nothing is said against it."""
        told = getattr(self.fitted, "flags", None)
        return "" if told is None else str(told([replace(example, targets={})])[0])

    def judge(self, p: npt.NDArray[np.float64], example: Example) -> Judged | None:
        """What the guard says of an example with probabilities p (k,); None for a model without one."""
        if self.guard is None:
            return None
        return self.guard.judge(p, replace(self._checked([example])[0], targets={}))

    def seen(self, patients: Iterable[str]) -> list[str]:
        """Those of `patients` whose images or labels the model saw (train or tune), sorted."""
        return sorted(set(patients) & set(self.config["training_patients"]))

    def _checked(self, examples: Sequence[Example]) -> list[Example]:
        return checked_inputs(examples, from_config(self.config["features"]))


def publish(store: Store, key: str, folder: Path) -> None:
    """Copy a fit to `folder` as weights.safetensors and config.json; a half-copied pair is refused by `load_model`."""
    weights = store.path("fits", key, ".safetensors")
    write_text(folder / CONFIG, weights.with_suffix(".json").read_text("utf-8"))
    with atomic(folder / WEIGHTS) as part:
        part.write_bytes(weights.read_bytes())


def load_fit(store: Store, key: str, *, base: Path | None = None) -> Stored:
    """The fitted model of a key of `models.fit.fit`."""
    weights = store.path("fits", key, ".safetensors")
    return _load(weights, weights.with_suffix(".json"), base)


def load_model(folder: Path, *, base: Path | None = None) -> Stored:
    """The fitted model of a folder made by `publish`; `base` is where a lab's own `path.py:Class` is found.

    Raises ModelError when a file is missing, damaged or of another version of the model. Reads no pickle.
    """
    return _load(folder / WEIGHTS, folder / CONFIG, base)


def load_path(path: Path, *, base: Path | None = None) -> Stored:
    """The fitted model of a folder made by `publish`, or of the weights file of a fit, its config beside it."""
    return _load(path / WEIGHTS if path.is_dir() else path, config_of(path), base)


def config_of(path: Path) -> Path:
    """The config of a folder made by `publish`, or beside the weights file of a fit."""
    return path / CONFIG if path.is_dir() else path.with_suffix(".json")


def _load(weights: Path, config_file: Path, base: Path | None) -> Stored:
    for path in (weights, config_file):
        if not path.exists():
            raise ModelError(
                f"no {path.name}", expected="the two files of a stored model", todo="fit it again", where=str(path)
            )
    data = weights.read_bytes()
    try:
        config = json.loads(config_file.read_text("utf-8"))
        arrays = load(data)
    except (json.JSONDecodeError, UnicodeDecodeError, SafetensorError) as fault:
        raise ModelError(
            f"a stored model that cannot be read ({fault})",
            expected="JSON and safetensors",
            todo="copy the two files again, or fit the model again",
            where=str(config_file.parent),
        ) from fault
    _refuse_format(config, data, config_file)
    facts = config["model"]
    choice = Choice("model", facts["choice"]["name"], facts["choice"]["parameters"], base)
    model = choice.create()
    found = choice.identity()
    for what in ("version", "content"):
        if found.get(what) != facts.get(what):
            raise ModelError(
                f"model '{facts['name']}' of {what} {found.get(what)}",
                expected=f"{what} {facts.get(what)}, with which it was fitted",
                todo="fit the model again, or install the phenolens it was fitted with",
                where=str(config_file),
            )
    own = {name: held for name, held in arrays.items() if not name.startswith(PREFIX)}
    guard = Guard.restore(arrays, config["guard"], config["classes"], model) if "guard" in config else None
    return Stored(fitted=model.restore(own, config["fitted"]), config=config, guard=guard)


def _refuse_format(config: Any, data: bytes, config_file: Path) -> None:
    known = config.get("format") if isinstance(config, dict) else None
    if known != FORMAT:
        raise ModelError(
            f"a stored model of format {known}",
            expected=f"format {FORMAT}",
            todo="fit the model again with this phenolens",
            where=str(config_file),
        )
    digest = hashlib.sha256(data).hexdigest()
    if config["weights_sha256"] != digest:
        raise ModelError(
            f"weights with the SHA-256 {digest[:12]}…",
            expected=f"{config['weights_sha256'][:12]}…, which this config was written with",
            todo="copy weights and config of one fit together again",
            where=str(config_file.parent),
        )


def check_fit(
    config: Mapping[str, Any],
    encoder_identity: Mapping[str, Any] | None,
    held: Bag | TileSet,
    *,
    tiles: Mapping[str, Any] | None = None,
    stain: str | None = None,
) -> None:
    """Refuse features that are not of the kind a stored model was fitted on.

    Compares encoder identity, number and names of features (of tiles: their px), the side of a tile in µm, and, where
    given and known, tile settings (`size_px`, `mpp`) and stain. Raises ModelError at the first that differs; says
    nothing when all fit.
    """
    context, features = config["context"], config["features"]
    name = config["model"]["name"]
    _compare("encoder", _json(encoder_identity), context.get("encoder"), f"extract them with the encoder of '{name}'")
    if isinstance(held, TileSet):
        _compare("tiles with px of", held.size_px, features["tile_px"], "cut the tiles as the model's study did")
    else:
        _compare("number of features", held.x.shape[1], features["dimension"], f"use the encoder of '{name}'")
        if held.names is not None and features["names"]:
            _compare("names of features", list(held.names), features["names"], f"use the encoder of '{name}'")
    known = context.get("tiles") or {}
    for key in ("size_px", "mpp"):
        if tiles is not None and key in known:
            _compare(f"tiles of {key}", tiles.get(key), known[key], "cut the tiles as the model's study did")
    on_slide = held.frame.unit == "um"
    if on_slide and abs(held.extent - features["extent"]) > EXTENT_TOLERANCE * features["extent"]:
        _compare("tiles with a side of", f"{held.extent:g} µm", f"{features['extent']:g} µm", "check the mpp")
    stains = context.get("stains")
    if stain is not None and stains and stain not in stains:
        _compare("stain", stain, " or ".join(stains), "use a slide of a stain the model was fitted on")


def _json(content: Any) -> Any:
    return json.loads(canonical(content))


def _compare(what: str, found: Any, expected: Any, todo: str) -> None:
    if found == expected:
        return
    raise ModelError(
        f"{what} {_short(found, expected)}", expected=f"{what} {_short(expected, found)}, as in training", todo=todo
    )


def _short(content: Any, other: Any) -> str:
    """The content, or of two mappings or lists only what differs."""
    if isinstance(content, dict) and isinstance(other, dict):
        keys = [k for k in content if k not in other or content[k] != other[k]] or list(content)
        return ", ".join(f"{k} {_short(content[k], other.get(k))}" for k in keys)
    if isinstance(content, list) and isinstance(other, list):
        at = next((i for i, (a, b) in enumerate(zip(content, other, strict=False)) if a != b), 0)
        return f"({len(content)}) with {content[at]!r} at {at}" if content else "(none)"
    return repr(content)
