"""Training of a network in torch, and what it goes on from after a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from morpho.errors import InputError
from morpho.gradients.physics import Floats

LEARNING_RATE, WEIGHT_DECAY, BETA1, BETA2 = 3e-3, 0.1, 0.9, 0.999


class Adam:
    """AdamW (Loshchilov & Hutter 2019). torch's own imports half a second of compiler when it is made."""

    def __init__(self, parameters: list[Any]) -> None:
        self.parameters, self.steps = parameters, 0
        self.first = [p.detach().clone().zero_() for p in parameters]
        self.second = [p.detach().clone().zero_() for p in parameters]

    def step(self, gradients: Sequence[Any]) -> None:
        """One update of the parameters, in place (local)."""
        self.steps += 1
        rate = LEARNING_RATE / (1 - BETA1**self.steps)
        unbiased = (1 - BETA2**self.steps) ** -0.5
        for p, g, m, v in zip(self.parameters, gradients, self.first, self.second, strict=True):
            m.mul_(BETA1).add_(g, alpha=1 - BETA1)
            v.mul_(BETA2).addcmul_(g, g, value=1 - BETA2)
            p.data.mul_(1 - LEARNING_RATE * WEIGHT_DECAY).addcdiv_(m, v.sqrt().mul_(unbiased).add_(1e-8), value=-rate)

    def values(self) -> list[Floats]:
        """Of all parameters (local)."""
        return _arrays(self.parameters)

    def take(self, values: Sequence[Any]) -> None:
        """What `values` gave (local)."""
        _fill(self.parameters, values)

    def save(self) -> dict[str, Any]:
        """Parameters and the state of their training, as JSON values (local)."""
        parameters, *moments = ([a.tolist() for a in _arrays(t)] for t in (self.parameters, self.first, self.second))
        return {"parameters": parameters, "moments": moments, "steps": self.steps}

    def restore(self, saved: dict[str, Any]) -> None:
        """What `save` gave (local).

        Raises:
            InputError: it is of another network.
        """
        if [np.shape(values) for values in saved["parameters"]] != [tuple(p.shape) for p in self.parameters]:
            raise InputError(
                "gradient: the network of the checkpoint has other layers; give its architecture and hidden"
            )
        self.take(saved["parameters"])
        for tensors, values in zip((self.first, self.second), saved["moments"], strict=True):
            _fill(tensors, values)
        self.steps = saved["steps"]


def saved_generator(random: Any) -> list[int]:
    """State of a generator of torch as JSON values (local)."""
    return list(random.get_state().numpy().tolist())


def restore_generator(random: Any, saved: list[int]) -> None:
    """What `saved_generator` gave (local)."""
    import torch

    random.set_state(torch.tensor(saved, dtype=torch.uint8))


def _arrays(tensors: Sequence[Any]) -> list[Floats]:
    return [t.detach().cpu().numpy() for t in tensors]


def _fill(tensors: Sequence[Any], values: Sequence[Any]) -> None:
    import torch

    for tensor, value in zip(tensors, values, strict=True):
        tensor.data.copy_(torch.as_tensor(np.asarray(value)))
