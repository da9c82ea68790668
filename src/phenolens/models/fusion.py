"""The fitted model behind `sequence_fusion`: what it reads, its networks, and what it says of a prediction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch

from phenolens.core.types import Example
from phenolens.models.contract import Probabilities
from phenolens.models.determinism import fixed_torch
from phenolens.models.fusion_inputs import BagReading, Sequences
from phenolens.models.fusion_network import BagFusion, VolumeFusion
from phenolens.models.linear import softmax
from phenolens.models.volumes import Reading

Matrix = npt.NDArray[np.float64]
_NETWORK = "network."
"""How the names of the network's arrays begin."""


class Settings(Protocol):
    """The hyper-parameters, as documented in `zoo/sequence_fusion.py`."""

    @property
    def width(self) -> int: ...
    @property
    def attention_width(self) -> int: ...
    @property
    def members(self) -> int: ...
    @property
    def components(self) -> int: ...
    @property
    def screen(self) -> float: ...
    @property
    def dropout(self) -> float: ...
    @property
    def input_dropout(self) -> float: ...
    @property
    def drop_sequence(self) -> float: ...
    @property
    def new_subset(self) -> Literal["predict", "refuse"]: ...
    @property
    def network(self) -> Literal["small", "resnet10", "resnet18"]: ...
    @property
    def maps(self) -> int: ...
    @property
    def augment(self) -> bool: ...
    @property
    def batch(self) -> int: ...
    @property
    def learning_rate(self) -> float | None: ...
    @property
    def weight_decay(self) -> float | None: ...
    @property
    def epochs(self) -> int | None: ...
    @property
    def patience(self) -> int | None: ...


@dataclass(frozen=True, kw_only=True)
class FittedFusion:
    """Read what is there, then the networks, whose logits are averaged; on the CPU, one example at a time."""

    settings: Settings
    sequences: Sequences
    reading: BagReading | Reading
    network: BagFusion | VolumeFusion
    told: Mapping[str, Any]

    def predict(self, examples: Sequence[Example]) -> Probabilities:
        """Probabilities (n, k). Raises ModelError for sequences that training never had, or not as declared, and for
        absence that was filled with zeros."""
        logits = np.empty((len(examples), self.told["classes"]))
        for i, example in enumerate(examples):
            logits[i] = self._parts(example)[1].sum(0)
        return softmax(logits)

    def flags(self, examples: Sequence[Example]) -> list[str]:
        """What is to be said of each example's set of sequences; empty where a training unit had it."""
        return [self.sequences.flag(e) for e in examples]

    def parts(self, example: Example) -> dict[str, float]:
        """The attention of each sequence that is there, summing to one: the mean over the members."""
        attention, _, there = self._parts_there(example)
        return {self.sequences.names[i]: float(attention[i]) for i in there}

    def contributions(self, example: Example) -> dict[str, Matrix]:
        """What each sequence that is there adds to the logits (k,), centred over the classes; they add up to the
        logits. The bias is shared evenly."""
        _, added, there = self._parts_there(example)
        return {self.sequences.names[i]: added[i] - added[i].mean() for i in there}

    def _parts_there(self, example: Example) -> tuple[Matrix, Matrix, list[int]]:
        attention, added = self._parts(example)
        there = self.sequences.parts(example, self.settings)
        return attention, added, [i for i, name in enumerate(self.sequences.names) if name in there]

    def _parts(self, example: Example) -> tuple[Matrix, Matrix]:
        """Attention (s,) and what each sequence adds to the logits (s, k), float64; zeros where it is absent."""
        with fixed_torch(0), torch.inference_mode():
            if isinstance(self.network, BagFusion):
                assert isinstance(self.reading, BagReading)
                points, held = self.reading.inputs(example, self.settings)
                there = torch.from_numpy(held).expand(self.settings.members, 1, -1)
                attention, added = self.network(torch.from_numpy(points)[None], there)
            else:
                from phenolens.models.fusion_volumes import read_volumes

                assert isinstance(self.reading, Reading)
                inputs = read_volumes(self.sequences, self.reading, example, self.settings)
                attention, added = (v[None] for v in self.network.parts(*inputs))
        return attention[:, 0].double().mean(0).numpy(), added[:, 0].double().mean(0).numpy()

    def weights(self) -> dict[str, npt.NDArray[Any]]:
        state = {_NETWORK + name: value.numpy().copy() for name, value in self.network.state_dict().items()}
        return {**state, **self.reading.arrays()}

    def config(self) -> dict[str, Any]:
        """The sets of sequences seen in training, what was read, and how the fit went."""
        return {
            **self.told,
            "sequences": list(self.sequences.names),
            "sets": dict(self.sequences.sets),
            "reading": self.reading.to_json(),
        }

    @classmethod
    def restore(
        cls, settings: Settings, weights: Mapping[str, npt.NDArray[Any]], config: Mapping[str, Any]
    ) -> FittedFusion:
        """From what `weights()` and `config()` gave, with the hyper-parameters it was fitted with."""
        sequences = Sequences(names=tuple(config["sequences"]), sets=dict(config["sets"]))
        told = {name: value for name, value in config.items() if name not in ("sequences", "sets", "reading")}
        reading: BagReading | Reading
        if told["reads"] == "bag":
            reading = BagReading.restore(sequences, weights, config["reading"])
        else:
            reading = Reading.restore(weights, config["reading"])
        with fixed_torch(0):
            network = network_of(settings, sequences, reading, told["classes"])
        start = len(_NETWORK)
        held = {n[start:]: torch.from_numpy(np.array(v)) for n, v in weights.items() if n.startswith(_NETWORK)}
        network.load_state_dict(held)
        return cls(settings=settings, sequences=sequences, reading=reading, network=network.eval(), told=told)


def network_of(
    settings: Settings, sequences: Sequences, reading: BagReading | Reading, classes: int
) -> BagFusion | VolumeFusion:
    """The network with random weights."""
    if not isinstance(reading, BagReading):
        from phenolens.models.fusion_volumes import volume_network

        return volume_network(settings, sequences, reading, classes)
    return BagFusion(
        members=settings.members,
        sequences=len(sequences.names),
        inputs=reading.width,
        width=settings.width,
        attention_width=settings.attention_width,
        classes=classes,
        dropout=settings.dropout,
        input_dropout=settings.input_dropout,
    )
