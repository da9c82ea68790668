"""Networks on bags before training, padded bags and what they read of them, for the tests of these models."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from phenolens.core.registry import MODELS
from phenolens.models.bag_network import BagNetwork, Bags
from phenolens.models.determinism import fixed_torch
from phenolens.models.linear import softmax


def built(name: str, dimension: int = 6, classes: int = 3, **params: Any) -> Any:
    """The untrained network of a model with weights of a fixed seed, without dropout."""
    with fixed_torch(5):
        return MODELS.create(name, params).build(dimension, classes).eval()


def bags(*each: npt.NDArray[Any], places: list[list[int]] | None = None) -> Bags:
    """Padded bags of the given instances, all at place 0 unless said."""
    longest = max(len(x) for x in each)
    z, mask = np.zeros((len(each), longest, each[0].shape[1]), np.float32), np.zeros((len(each), longest), bool)
    where = np.zeros(mask.shape, np.int64)
    for j, x in enumerate(each):
        z[j, : len(x)], mask[j, : len(x)] = x, True
        where[j, : len(x)] = 0 if places is None else places[j]
    return Bags(z=torch.from_numpy(z), places=torch.from_numpy(where), mask=torch.from_numpy(mask))


def drawn(n: int, d: int = 6, seed: int = 0) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def read(network: BagNetwork, given: Bags) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    with fixed_torch(0), torch.inference_mode():
        logits, scores = network(given)
    return logits.numpy(), softmax(scores.double().numpy())
