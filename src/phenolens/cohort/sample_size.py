"""How many patients a prediction model of so many parameters asks for, as advice: the criteria of Riley et al.

For a binary outcome (Riley et al., Statistics in Medicine 38:1276, 2019; BMJ 368:m441, 2020): a shrinkage of predictor
effects of at most 10%, a difference of at most 0.05 between apparent and adjusted R² (Nagelkerke), and the overall risk
within 0.05. They are of unpenalised regression; a penalised model of many features is not covered by them, which is
what the advice says.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, exp, floor, log

from phenolens.core.types import Finding

EXPECTED = 0.15
"""Nagelkerke's R² that the authors suggest to expect where nothing is known."""
_SHRINKAGE = 0.9
_OPTIMISM = 0.05
_MARGIN = 0.05
_Z = 1.96


@dataclass(frozen=True, kw_only=True)
class Needed:
    """Patients asked for by each criterion; all are needed."""

    shrinkage: int
    optimism: int
    intercept: int

    @property
    def patients(self) -> int:
        """The most that any criterion asks for."""
        return max(self.shrinkage, self.optimism, self.intercept)


def largest_r2(prevalence: float) -> float:
    """The largest Cox-Snell R² that a model of a binary outcome can have."""
    return 1 - exp(2 * (prevalence * log(prevalence) + (1 - prevalence) * log(1 - prevalence)))


def binary(parameters: int, prevalence: float, r2: float | None = None) -> Needed:
    """Patients needed for `parameters` candidate predictor parameters; r2 is the expected Cox-Snell R².

    Default r2: EXPECTED times the largest there can be. Raises ValueError for a prevalence or r2 outside the possible.
    """
    if not 0 < prevalence < 1 or parameters < 1:
        raise ValueError(f"{parameters} parameters and prevalence {prevalence}: 1 or more, and between 0 and 1, needed")
    most = largest_r2(prevalence)
    r2 = EXPECTED * most if r2 is None else r2
    if not 0 < r2 < min(most, _SHRINKAGE):
        raise ValueError(f"R² {r2}: between 0 and {min(most, _SHRINKAGE):.3f} needed")
    return Needed(
        shrinkage=ceil(parameters * _a_parameter(r2, _SHRINKAGE)),
        optimism=ceil(parameters * _a_parameter(r2, r2 / (r2 + _OPTIMISM * most))),
        intercept=ceil((_Z / _MARGIN) ** 2 * prevalence * (1 - prevalence)),
    )


def parameters_for(patients: int, prevalence: float) -> int:
    """The most candidate parameters that this many patients bear at the expected R²; 0 where not even one."""
    if binary(1, prevalence).intercept > patients:
        return 0
    most = largest_r2(prevalence)
    r2 = EXPECTED * most
    need = max(_a_parameter(r2, _SHRINKAGE), _a_parameter(r2, r2 / (r2 + _OPTIMISM * most)))
    return floor(patients / need)


def _a_parameter(r2: float, shrinkage: float) -> float:
    """Patients a parameter for a shrinkage (Riley 2019, equation 11)."""
    return 1 / ((shrinkage - 1) * log(1 - r2 / shrinkage))


def advice(counts: dict[str, int], features: int | None = None) -> list[Finding]:
    """A note on how many parameters the patients bear, class -> patients; the rarest class against the rest.

    `features` is the number of columns a table gives, where there is one. Nothing is said of fewer than two classes.
    """
    patients = sum(counts.values())
    if len(counts) < 2 or min(counts.values()) < 1:
        return []
    rarest = min(counts, key=lambda name: (counts[name], name))
    prevalence = counts[rarest] / patients
    bears, intercept = parameters_for(patients, prevalence), binary(1, prevalence).intercept
    what = f"{patients} patients, {counts[rarest]} of them {rarest}: by Riley's criteria they bear {bears} candidate "
    what += f"parameter{'s' * (bears != 1)} of an unpenalised model (expected Nagelkerke R² {EXPECTED})"
    if intercept > patients:
        what += f"; {intercept} patients are needed to tell the share of {rarest} itself within {_MARGIN}"
    if features is not None and features > bears:
        what += f"; {features:,} features would ask for {binary(features, prevalence).patients:,} patients"
    todo = "use penalised models, and read calibration with care; more patients or fewer features help"
    return [Finding(rule="sample-size", severity="note", what=what, todo=todo)]
