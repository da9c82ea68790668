"""The fitted model behind `cnn3d`: late fusion of one network a group of sequences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from phenolens.core.errors import ModelError
from phenolens.core.types import Example, FloatArray
from phenolens.models.contract import Probabilities
from phenolens.models.determinism import fixed_torch
from phenolens.models.linear import softmax
from phenolens.models.training import Schedule
from phenolens.models.volume_network import Late, Shape, build, dimensions
from phenolens.models.volumes import OF_READING, Groups, Inputs, Reading, present


class Settings(Schedule, Shape, Protocol):
    """The hyper-parameters, as documented in `zoo/cnn3d.py`."""

    @property
    def join(self) -> str: ...
    @property
    def sequence(self) -> str | None: ...
    @property
    def drop_sequence(self) -> float: ...
    @property
    def fallback(self) -> str: ...
    @property
    def new_subset(self) -> str: ...
    @property
    def augment(self) -> bool: ...


@dataclass(frozen=True, kw_only=True)
class FittedVolumes:
    """Standardise each volume, then the networks; on the CPU, float32, one example at a time."""

    settings: Settings
    reading: Reading
    network: Late
    told: Mapping[str, Any]

    def predict(self, examples: Sequence[Example]) -> Probabilities:
        """Probabilities (n, k). Raises ModelError where nothing of a unit can be read, or not as declared."""
        logits = np.log(np.tile(self.told["prior"], (len(examples), 1)))
        with fixed_torch(0), torch.inference_mode():
            for i, example in enumerate(examples):
                inputs = self._inputs(example)
                if any(x is not None for x in inputs):
                    logits[i] = self.network(*stacked([inputs])).numpy()[0]
        return softmax(logits)

    def flags(self, examples: Sequence[Example]) -> list[str]:
        """Why a prediction is to be read with care: nothing to read, or a set of sequences not seen in training."""
        names = {name for group in self.reading.groups for name in group}
        return [self._flag(set_of(e, names)) for e in examples]

    def _flag(self, found: str) -> str:
        if not any(set(group) <= set(found.split("+")) for group in self.reading.groups):
            return "nothing the model reads is there: equal probabilities"
        return "" if found in self.told["sets"] else f"no training unit had exactly {found}"

    def contributions(self, example: Example) -> dict[str, npt.NDArray[np.float64]]:
        """What each group of sequences adds to the logits (k,), centred over the classes; they add up to the logits.

        Keys are names of sequences, joined by + where they were stacked as channels.
        """
        inputs = self._inputs(example)
        held = [g for g, x in enumerate(inputs) if x is not None]
        made = {}
        with fixed_torch(0), torch.inference_mode():
            for g in held:
                x = torch.from_numpy(squeezed(inputs[g]))[None]
                logits = self.network.networks[g](x)[0].numpy().astype(np.float64)
                made["+".join(self.reading.groups[g])] = (logits - logits.mean()) / len(held)
        return made

    def gradients(self, example: Example, target: int) -> dict[str, FloatArray]:
        """Input × gradient of the log-odds of class number `target`, (c, z, y, x) for each part that is there."""
        inputs = self._inputs(example)
        made: dict[str, FloatArray] = {}
        with fixed_torch(0):
            x, there = stacked([inputs])
            leaves = [None if v is None else v.requires_grad_() for v in x]
            logits = self.network(leaves, there)[0]
            others = torch.cat([logits[:target], logits[target + 1 :]])
            grown = torch.autograd.grad(
                logits[target] - torch.logsumexp(others, 0), [v for v in leaves if v is not None]
            )
        held = [g for g, v in enumerate(inputs) if v is not None]
        for g, gradient in zip(held, grown, strict=True):
            value = inputs[g]
            assert value is not None
            names = self.reading.groups[g]
            product = value * gradient[0].numpy().reshape(value.shape)
            made |= dict(zip(names, np.split(product, len(names)), strict=True))
        return made

    def _inputs(self, example: Example) -> Inputs:
        names = {name for group in self.reading.groups for name in group}
        there = set(present(example))
        if self.settings.sequence is None and there - names:
            raise ModelError(
                f"sequence {sorted(there - names)[0]!r} in unit {example.unit_id!r}, which no training unit had",
                expected=f"some of {', '.join(sorted(names))}",
                todo="correct its sequence in images.csv, or leave the image out",
            )
        inputs = self.reading.inputs(example)
        found = set_of(example, names)
        if all(x is None for x in inputs):
            if self.settings.fallback == "refuse":
                raise nothing(example, self.reading.groups)
        elif self.settings.new_subset == "refuse" and found not in self.told["sets"]:
            raise ModelError(
                f"the sequences {found} in unit {example.unit_id!r}, a set that no training unit had",
                expected=f"one of {'; '.join(self.told['sets'])}",
                todo="leave the unit out, or declare new_subset: predict",
            )
        return inputs

    def weights(self) -> dict[str, npt.NDArray[Any]]:
        state = {name: value.numpy().copy() for name, value in self.network.state_dict().items()}
        return {**state, **self.reading.arrays()}

    def config(self) -> dict[str, Any]:
        """What was read, on which grid, the sets of sequences seen in training, and how the fit went."""
        return {**self.told, "reading": self.reading.to_json()}

    @classmethod
    def restore(
        cls, settings: Settings, weights: Mapping[str, npt.NDArray[Any]], config: Mapping[str, Any]
    ) -> FittedVolumes:
        """From what `weights()` and `config()` gave, with the hyper-parameters it was fitted with."""
        reading = Reading.restore(weights, config["reading"])
        with fixed_torch(0):
            network = networks(settings, reading, len(config["prior"]))
        held = {n: torch.from_numpy(np.array(v)) for n, v in weights.items() if not n.startswith(OF_READING)}
        network.load_state_dict(held)
        told = {name: value for name, value in config.items() if name != "reading"}
        return cls(settings=settings, reading=reading, network=network.eval(), told=told)


def nothing(example: Example, groups: Groups) -> ModelError:
    """The error of a unit that has nothing of what is read."""
    wanted = " or ".join(" + ".join(group) for group in groups)
    there = ", ".join(sorted(present(example))) or "no image"
    return ModelError(
        f"{there} in unit {example.unit_id!r} of patient {example.patient!r}",
        expected=wanted,
        todo="leave the unit out, choose join: late, or declare fallback: prior",
    )


def set_of(example: Example, names: set[str]) -> str:
    """The sequences of `names` that are there, joined by +."""
    return "+".join(sorted(names & set(present(example))))


def networks(settings: Settings, reading: Reading, classes: int) -> Late:
    """A network a group, with random weights."""
    assert reading.grid.shape is not None
    dims = dimensions(reading.grid.shape)
    return Late([build(settings, dims, len(g) * reading.grid.channels, classes) for g in reading.groups])


def squeezed(x: FloatArray | None) -> FloatArray:
    """(c, z, y, x), or (c, y, x) where it is one slice thick."""
    assert x is not None
    return x[:, 0] if x.shape[1] == 1 else x


def stacked(rows: Sequence[Inputs]) -> tuple[list[torch.Tensor | None], torch.Tensor]:
    """Inputs of several examples as batches a group, and which are there (b, groups)."""
    there = torch.tensor([[x is not None for x in row] for row in rows])
    made: list[torch.Tensor | None] = []
    for g in range(there.shape[1]):
        held = [squeezed(row[g]) for row in rows if row[g] is not None]
        made.append(torch.from_numpy(np.stack(held)) if held else None)
    return made, there
