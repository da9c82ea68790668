"""Examples as rows of a table: the mean of each feature a named part, and what is done where a part is absent.

Which parts and features there are, the medians that fill an absent part and the harmonisation are learnt from the
training examples of a fold. A zero is a measurement, so that filling with zeros is not offered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from phenolens.core.errors import ModelError
from phenolens.core.types import Example
from phenolens.models.bags import Features, in_order
from phenolens.models.columns import Matrix, Schema, TableModel
from phenolens.models.contract import Probabilities
from phenolens.models.harmonise import Combat
from phenolens.models.stability import stable
from phenolens.tasks._contract import Task

Truth = npt.NDArray[np.intp]


@dataclass(frozen=True, kw_only=True)
class Reader:
    """From an example to a row without gaps, as learnt in training; what every fitted table model holds.

    fill (m,) are the medians of the training units, prior (k,) the shares of the classes as they were weighed,
    `flagged` the parts that have a column saying they are absent, `subsets` how often training had each set of parts,
    `agreement` what the choice of stable features rests on (None where all are used).
    """

    settings: TableModel
    schema: Schema
    subsets: Mapping[str, int]
    flagged: tuple[str, ...]
    fill: Matrix
    prior: Matrix
    combat: Combat | None
    agreement: Mapping[str, Any] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns of a row."""
        return (*self.schema.names, *(f"{p}/absent" for p in self.flagged))

    def row(self, example: Example) -> Matrix | None:
        """The row (m + flagged,), or None for an incomplete unit that gets the prior."""
        values, there = self.schema.row(example)
        absent = self._absent(example)
        if absent and self.schema.parts and self.settings.fallback == "prior":
            return None
        if absent and not (self.schema.parts and self.settings.missing == "impute"):
            raise _absent(example, absent, self.settings)
        if self.settings.new_subset == "refuse" and (said := self.flag(there)):
            raise ModelError(
                f"unit {example.unit_id!r} with {said}",
                expected=f"one of the sets of training: {'; '.join(self.subsets)}",
                todo="declare new_subset: predict to have such units predicted with a flag",
            )
        if self.combat is not None and self.settings.combat is not None:
            values = self.combat.apply(values, _batch(example, self.settings.combat), example.unit_id)
        filled = np.where(np.isfinite(values), values, self.fill)
        return np.concatenate([filled, [float(p in absent) for p in self.flagged]])

    def flag(self, there: Sequence[str]) -> str:
        """What is to be said of a set of parts that no training unit had; empty when one had."""
        key = "+".join(there)
        return "" if key in self.subsets or not self.schema.parts else f"the parts {key}, which no training unit had"

    def flags(self, examples: Sequence[Example]) -> list[str]:
        """`flag` of each example, or that it gets the shares of the classes in training."""
        said = []
        for example in examples:
            absent = self._absent(example)
            if absent and self.settings.fallback == "prior":
                said.append(f"{', '.join(absent)} absent: the shares of the classes in training")
            else:
                said.append(self.flag([p for p in self.schema.parts if p not in absent]))
        return said

    def _absent(self, example: Example) -> list[str]:
        """The parts of training that this unit lacks; where parts are pooled, those it names without having them."""
        if self.schema.parts:
            there = _there(example)
            return [p for p in self.schema.parts if p not in there]
        return [p.name for p in example.parts if not p.present]

    def predict(self, examples: Sequence[Example], probabilities: Callable[[Matrix], Matrix]) -> Probabilities:
        """Probabilities (n, k), each row computed alone by `probabilities` from (m,) to (k,)."""
        out = np.empty((len(examples), len(self.prior)))
        for i, example in enumerate(examples):
            row = self.row(example)
            out[i] = self.prior if row is None else probabilities(row)
        return out

    def weights(self) -> dict[str, npt.NDArray[Any]]:
        own = {"table.fill": self.fill, "table.prior": self.prior}
        return own if self.combat is None else {**own, **self.combat.weights()}

    def config(self) -> dict[str, Any]:
        return {
            "parts": list(self.schema.parts),
            "features": list(self.schema.features),
            "subsets": dict(self.subsets),
            "flagged": list(self.flagged),
            "combat": None if self.combat is None else self.combat.config(),
            "kept": None if self.schema.kept is None else list(self.schema.kept),
            "stable": None if self.agreement is None else dict(self.agreement),
        }

    @classmethod
    def restore(
        cls, settings: TableModel, weights: Mapping[str, npt.NDArray[Any]], config: Mapping[str, Any]
    ) -> Reader:
        """From what `weights()` and `config()` gave."""
        return cls(
            settings=settings,
            schema=Schema(
                parts=tuple(config["parts"]),
                features=tuple(config["features"]),
                kept=None if config["kept"] is None else tuple(config["kept"]),
            ),
            subsets=config["subsets"],
            flagged=tuple(config["flagged"]),
            fill=weights["table.fill"],
            prior=weights["table.prior"],
            combat=None if config["combat"] is None else Combat.restore(weights, config["combat"]),
            agreement=config["stable"],
        )


@dataclass(frozen=True, kw_only=True)
class Table:
    """Training units as a table: x (n, m) without gaps, truth (n,), the units kept, and the reader that made it."""

    reader: Reader
    x: Matrix
    truth: Truth
    kept: tuple[Example, ...]
    class_weights: Matrix

    @property
    def patients(self) -> tuple[str, ...]:
        """The patient of each row."""
        return tuple(e.patient for e in self.kept)

    def held(self, examples: Sequence[Example], task: Task) -> tuple[Matrix, Truth]:
        """Rows and truth of other units (tune); as `rows`."""
        x, kept = self.rows(examples)
        return x, np.array([task.truth(e) for e in kept], dtype=np.intp)

    def rows(self, examples: Sequence[Example]) -> tuple[Matrix, tuple[Example, ...]]:
        """Rows of other units (tune), and the units; incomplete ones are left out where training left them out.

        Raises ModelError when none is left.
        """
        pairs = [(self.reader.row(e), e) for e in in_order(_usable(examples, self.reader))]
        kept = [(row, e) for row, e in pairs if row is not None]
        if not kept:
            raise ModelError(
                "no tune unit" + (" with every part" if examples else "") + " to choose on",
                expected="an inner tune split",
                todo="raise validation.tune, or give the patients of the tune part images that can be read",
            )
        return np.stack([row for row, _ in kept]), tuple(e for _, e in kept)


def fit_table(settings: TableModel, train: Sequence[Example], task: Task) -> Table:
    """Learn the columns, which of them are stable, the filling and the harmonisation from training examples.

    Raises ModelError for a part that is in no training unit, an absent part where `missing` refuses it, or a covariate
    for ComBat that is the label.
    """
    if settings.combat is not None and settings.combat in task.outcome:
        raise ModelError(
            f"ComBat by {settings.combat!r}, which is the label",
            expected="a covariate such as site or scanner",
            todo="name another covariate, or leave combat out",
        )
    train = in_order(train)
    schema, agreement = _stable(settings, train)
    read = [(e, *schema.row(e)) for e in train]
    if settings.missing == "refuse":
        for example, _, there in read:
            if absent := [p for p in schema.parts if p not in there]:
                raise _absent(example, absent, settings)
    if settings.missing == "complete":
        read = _complete(read, schema)
    kept = [e for e, _, _ in read]
    x = np.stack([values for _, values, _ in read])
    truth = np.array([task.truth(e) for e in kept], dtype=np.intp)
    combat = None
    if settings.combat is not None:
        batch = [_batch(e, settings.combat) for e in kept]
        _refuse_label(settings.combat, batch, truth)
        combat = Combat.fit(x, batch, schema.blocks, unseen=settings.combat_unseen)
        x = np.stack([combat.apply(row, b, e.unit_id) for row, b, e in zip(x, batch, kept, strict=True)])
    weights = task.weights(kept) if settings.balanced else np.ones_like(task.weights(kept))
    share = np.bincount(truth, minlength=len(weights)) * weights
    absent_once = {p for _, _, there in read for p in schema.parts if p not in there}
    reader = Reader(
        settings=settings,
        schema=schema,
        subsets=dict(sorted(Counter("+".join(there) for _, _, there in read).items())),
        flagged=tuple(p for p in schema.parts if p in absent_once),
        fill=np.nanmedian(x, axis=0),
        prior=share / share.sum(),
        combat=combat,
        agreement=agreement,
    )
    flags = [[float(p not in there) for p in reader.flagged] for _, _, there in read]
    x = np.concatenate([np.where(np.isfinite(x), x, reader.fill), np.array(flags).reshape(len(x), -1)], axis=1)
    return Table(reader=reader, x=x, truth=truth, kept=tuple(kept), class_weights=weights)


def _stable(settings: TableModel, train: Sequence[Example]) -> tuple[Schema, dict[str, Any] | None]:
    """The columns, only the stable ones where that is asked, and what their choice rests on."""
    schema = _schema(settings, train)
    return (schema, None) if settings.stable is None else stable(schema, train, settings.stable)


def _schema(settings: TableModel, train: Sequence[Example]) -> Schema:
    if not train:
        raise ModelError("no training unit", expected="at least one", todo="see quarantine.csv for their images")
    first = next((e for e in train if any(p.present for p in e.parts)), train[0])
    seen = Features.of(first)
    features = seen.names or tuple(f"f{i}" for i in range(seen.dimension))
    absent = sorted({p.name for e in train for p in e.parts if not p.present})
    if settings.by_part is False and absent:
        raise ModelError(
            f"part {absent[0]!r} absent in training units, with by_part: false",
            expected="every part there, since a mean over all parts does not show what is absent",
            todo="leave by_part out",
        )
    patients: dict[str, set[str]] = {}
    for example in train:
        for part in example.parts:
            patients.setdefault(part.name, set()).add(example.patient)
    recur = bool(absent) or any(len(who) > 1 for who in patients.values())
    if not (recur if settings.by_part is None else settings.by_part):
        return Schema(parts=(), features=features)
    never = sorted(set(absent) - {p.name for e in train for p in e.parts if p.present})
    if never:
        raise ModelError(
            f"part {', '.join(map(repr, never))} absent in all {len(train)} training units",
            expected="every part in at least one training unit",
            todo="leave it out of the study (scan: sequences:), or use fewer folds",
        )
    return Schema(parts=tuple(sorted(patients)), features=features)


_Read = tuple[Example, Matrix, tuple[str, ...]]


def _complete(read: list[_Read], schema: Schema) -> list[_Read]:
    whole = [(e, values, there) for e, values, there in read if there == schema.parts]
    if not whole:
        raise ModelError(
            f"no complete unit among {len(read)} training units",
            expected=f"units that have all of {', '.join(schema.parts)}",
            todo="choose missing: impute, or name fewer sequences",
        )
    return whole


def _usable(examples: Sequence[Example], reader: Reader) -> list[Example]:
    """Those that count when something is chosen: the complete ones where training kept only complete ones."""
    if reader.settings.missing != "complete":
        return list(examples)
    return [e for e in examples if _there(e) >= set(reader.schema.parts)]


def _there(example: Example) -> set[str]:
    return {p.name for p in example.parts if p.present}


def _absent(example: Example, absent: Sequence[str], settings: TableModel) -> ModelError:
    rule = "missing: complete without a fallback" if settings.missing == "complete" else "missing: refuse"
    return ModelError(
        f"part {', '.join(map(repr, absent))} of unit {example.unit_id!r} absent, with {rule}",
        expected="every part there",
        todo="declare missing: impute, or missing: complete with fallback: prior, or leave the unit out",
    )


def _refuse_label(name: str, batch: Sequence[str], truth: npt.NDArray[np.intp]) -> None:
    """Stop where every batch holds one class and every class one batch: what ComBat would remove is the label."""
    pairs = set(zip(batch, truth.tolist(), strict=True))
    if 1 < len(pairs) == len(set(batch)) == len(set(truth.tolist())):
        raise ModelError(
            f"ComBat by {name!r}, which is the label under another name in all {len(batch)} training units",
            expected="a covariate such as site or scanner, with units of several classes in a batch",
            todo="name another covariate, or leave combat out",
        )


def _batch(example: Example, name: str) -> str:
    value = example.covariates.get(name)
    if value is None or value != value:  # NaN is not itself
        raise ModelError(
            f"no {name!r} for unit {example.unit_id!r}",
            expected="the covariate that ComBat is to remove, for every unit",
            todo=f"add it to the patients table, or leave combat out (there: {', '.join(sorted(example.covariates))})",
        )
    return str(value)
