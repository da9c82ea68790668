"""What travels with a classifier beside its weights: recalibration, conformal sets, and who is unlike the training.

Everything here is fitted inside a fold: on the tune patients, which the weights were not fitted on, and, for what the
training looks like, on the training patients. Nothing of a test patient is read before the guard is finished.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from phenolens.core.conformal import ALPHAS
from phenolens.core.errors import ModelError
from phenolens.core.predictions import SET_GROUPS, SET_NONE, SET_PATIENTS
from phenolens.core.types import Example
from phenolens.models.calibrator import Calibrator, fit_calibrator
from phenolens.models.conformal import Conformal, Sets, fit_conformal
from phenolens.models.contract import Model, Probabilities
from phenolens.models.cross import Cross
from phenolens.models.outside import Outside, fit_outside
from phenolens.tasks._contract import Task

VERSION = 2
"""Raised when a guard comes to give other numbers from the same fold."""
PREFIX = "guard."
"""How the names of its arrays begin, among the weights of the model."""
DECLARED = "set_90"
"""The set by which a prediction abstains."""


@dataclass(frozen=True, kw_only=True)
class GuardSettings:
    """What is fitted beside each model; the section `guard` of the study file."""

    calibrate: Literal["none", "intercept", "slope"] = "intercept"
    conformal: Literal["none", "split", "class", "cross"] = "split"
    out_of_distribution: bool = True
    groups: int = 5

    @property
    def crosses(self) -> bool:
        """Whether the model is fitted again without each of `groups` groups of patients."""
        return self.conformal == "cross"


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What a guard says of one unit: q (k,) or None, the sets by column or why there is none, the distance from the
    training over its threshold or None, and why the prediction abstains (empty where it does not)."""

    q: npt.NDArray[np.float64] | None
    sets: Mapping[str, tuple[str, ...] | None]
    ood: float | None
    abstains: str


@dataclass(frozen=True, kw_only=True)
class Guard:
    """The fitted parts, each None where it was not asked for or could not be fitted; `why` says why it could not.

    `exact` says whether the promise of the sets holds as proved: only for a model that did not look at the tune
    patients, or for cross-conformal sets, whose refits never see the patients they score. A model that stopped or chose
    on the tune patients fits them a little better than new patients, and its split sets are approximate.
    """

    settings: GuardSettings
    classes: tuple[str, ...]
    exact: bool
    calibrator: Calibrator | None = None
    conformal: Sets | None = None
    outside: Outside | None = None
    why: str = ""

    def columns(self, part: str, p: Probabilities, examples: Sequence[Example]) -> dict[str, Any]:
        """The columns `q_CLASS`, `set_90`, `set_80` and `ood`, as asked for, of units with probabilities p (n, k).

        Those of tune units stay empty: the guard was fitted on them.
        """
        made = self._blank(len(p))
        if part == "tune":
            return made
        if self.calibrator is not None:
            made |= {f"q_{c}": q for c, q in zip(self.classes, self.calibrator.apply(p).T, strict=True)}
        if self.conformal is not None:
            seen = self.conformal.looked_at(p, examples)
            made |= {column: self.conformal.column(seen, alpha) for column, alpha in ALPHAS.items()}
        if isinstance(self.conformal, Cross):
            made |= self.conformal.counted(len(p))
        if self.outside is not None:
            made["ood"] = np.array([self.outside.distance(e) for e in examples])
        return made

    def _blank(self, rows: int) -> dict[str, Any]:
        asked, made = self.settings, dict[str, Any]()
        if asked.calibrate != "none":
            made |= {f"q_{c}": np.full(rows, np.nan) for c in self.classes}
        if asked.conformal != "none":
            made |= {column: [SET_NONE] * rows for column in ALPHAS}
        if asked.crosses:
            made |= {column: np.full(rows, np.nan) for column in (SET_PATIENTS, SET_GROUPS)}
        return {**made, "ood": np.full(rows, np.nan)} if asked.out_of_distribution else made

    def judge(self, p: npt.NDArray[np.float64], example: Example) -> Judged:
        """Of one unit with probabilities p (k,). It abstains outside the training, and where the set of DECLARED is
        empty or holds every class."""
        calibrated = self.calibrator is not None and self.calibrator.fitted
        sets: dict[str, tuple[str, ...] | None] = {}
        if self.conformal is not None:
            seen = self.conformal.looked_at(p[None], [example])
            for column, alpha in ALPHAS.items():
                there = self.conformal.offered(alpha)
                sets[column] = self.conformal.sets(seen, alpha)[0] if there else None
        ood = None if self.outside is None else self.outside.distance(example)
        return Judged(
            q=self.calibrator.apply(p[None])[0] if calibrated and self.calibrator is not None else None,
            sets=sets,
            ood=ood,
            abstains=_abstains(ood, sets.get(DECLARED), len(p)),
        )

    def unfitted(self) -> list[str]:
        """What was asked for and is not there, each with its reason."""
        said = []
        if self.calibrator is not None and not self.calibrator.fitted:
            said.append(f"not recalibrated: {self.calibrator.why}")
        if self.conformal is not None and (refused := self.conformal.refused(ALPHAS[DECLARED])):
            there = self.conformal.offered(ALPHAS[DECLARED])
            said.append(f"classes that are in every set: {refused}" if there else f"no set of classes: {refused}")
        if self.why:
            said.append(f"not compared with the training patients: {self.why}")
        return said

    def weights(self) -> dict[str, npt.NDArray[Any]]:
        """Arrays whose names begin with PREFIX."""
        parts = (self.calibrator, self.conformal, self.outside)
        return {name: held for part in parts if part is not None for name, held in part.weights().items()}

    def config(self) -> dict[str, Any]:
        """What `restore` needs beside the arrays, and what a reader should know of it; JSON."""
        exact = "exact: the model did not look at the tune patients"
        exact = "exact: no refit saw the patients it scored" if self.settings.crosses else exact
        near = "approximate: the model stopped or chose its settings on the tune patients too"
        return {
            "version": VERSION,
            "settings": asdict(self.settings),
            "exact": self.exact,
            "promise": exact if self.exact else near,
            "calibrator": None if self.calibrator is None else self.calibrator.config(),
            "conformal": None if self.conformal is None else self.conformal.config(),
            "outside": None if self.outside is None else self.outside.config(),
            "why": self.why,
        }

    @classmethod
    def restore(
        cls, weights: Mapping[str, npt.NDArray[Any]], config: Mapping[str, Any], classes: Sequence[str], model: Model
    ) -> Guard:
        """Exactly the same guard from what `weights()` and `config()` gave, and the model before fitting.

        Raises ModelError for another version.
        """
        if config["version"] != VERSION:
            raise ModelError(
                f"a guard of version {config['version']}",
                expected=f"version {VERSION}",
                todo="fit the model again, or install the phenolens it was fitted with",
            )
        parts = {name: config[name] for name in ("calibrator", "conformal", "outside")}
        calibrator, conformal, outside = parts.values()
        settings = GuardSettings(**config["settings"])
        sets: Sets | None = None
        if conformal is not None and settings.crosses:
            sets = Cross.restore(weights, conformal, classes, model)
        elif conformal is not None:
            sets = Conformal.restore(weights, conformal, classes)
        return cls(
            settings=settings,
            classes=tuple(classes),
            exact=config["exact"],
            calibrator=None if calibrator is None else Calibrator.restore(weights, calibrator),
            conformal=sets,
            outside=None if outside is None else Outside.restore(weights, outside),
            why=config["why"],
        )


def fit_guard(
    settings: GuardSettings | None,
    train: Sequence[Example],
    tune: Sequence[Example],
    p: Probabilities,
    task: Task,
    *,
    exact: bool,
    cross: Cross | None = None,
) -> Guard | None:
    """From the training units, and the tune units with their probabilities p (n, k); `exact` as in `Guard`.

    `cross` are the sets of the refits, where those are asked for.

    None where none is asked for, and for tasks that are not classification.
    """
    if settings is None or task.kind != "classification":
        return None
    classes, truth = task.classes, np.array([task.truth(e) for e in tune], dtype=np.intp)
    patients = [e.patient for e in tune]
    calibrator: Calibrator | None = None
    conformal: Sets | None = cross
    if settings.calibrate != "none":
        calibrator = fit_calibrator(p, truth, patients, classes, slope=settings.calibrate == "slope")
    if settings.conformal == "split" or settings.conformal == "class":
        conformal = fit_conformal(p, truth, patients, classes, kind=settings.conformal)
    found = fit_outside(train, tune) if settings.out_of_distribution else None
    return Guard(
        settings=settings,
        classes=classes,
        exact=exact or settings.crosses,
        calibrator=calibrator,
        conformal=conformal,
        outside=found if isinstance(found, Outside) else None,
        why=found if isinstance(found, str) else "",
    )


def _abstains(ood: float | None, declared: tuple[str, ...] | None, classes: int) -> str:
    why = []
    if ood is not None and ood > 1:
        why.append(f"unlike the training patients: {ood:.2f} times the distance that still counts as like them")
    if declared is not None and not declared:
        why.append("no class is likely enough: the set at alpha 0.1 is empty")
    if declared is not None and len(declared) == classes:
        why.append("no class can be left out: the set at alpha 0.1 holds all of them")
    return "; ".join(why)
