"""The network of the synthetic gradient and its online training, in torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from morpho.gradients.physics import Floats

LEARNING_RATE, WEIGHT_DECAY, BETA1, BETA2 = 3e-3, 0.1, 0.9, 0.999
ROUNDED = 0.3  #: errors of the logarithm below this count quadratically, above linearly
SPREAD_FLOOR = 1e-2  #: added to the standard deviation of each feature


@dataclass(frozen=True)
class Weights:
    """out = w . activation(W x + b), with the scaling of the features taken in."""

    W: Floats  #: (hidden, features)
    b: Floats  #: (hidden,)
    w: Floats  #: (hidden,)


def activation(z: Any) -> Any:
    """z (1 + z / (1 + |z|)) / 2: nearly x sigmoid(x), without an exponential."""
    return 0.5 * (z + z * z / (1 + z.abs()))


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


class Network:
    """One hidden layer, shared by all cells and load cases, trained on differences between two designs.

    Every rank trains the same network on the same samples.
    """

    def __init__(self, features: int, hidden: int, batch: int, seed: int) -> None:
        import torch

        self.torch, self.batch = torch, batch
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.random = torch.Generator().manual_seed(seed)
        first = torch.nn.Linear(features, hidden)
        with torch.no_grad():
            first.weight.uniform_(-1, 1, generator=self.random).mul_(features**-0.5)
            first.bias.uniform_(-1, 1, generator=self.random)
        last = torch.nn.Linear(hidden, 1, bias=False)
        torch.nn.init.zeros_(last.weight)
        self.first, self.last = first.to(self.device), last.to(self.device)
        self.adam = Adam([*self.first.parameters(), *self.last.parameters()])
        self.has_scale = False
        self.mean: Floats = np.zeros(features, np.float32)  #: of each feature, from the first samples
        self.spread: Floats = np.ones(features, np.float32)

    def train(self, after: Floats, before: Floats, target: Floats, steps: int) -> None:
        """Fit N(after) - N(before) to the target (local).

        Args:
            after, before: (samples, features); with no columns in `before`, N(after) is fitted.
            target: (samples,).
        """
        torch = self.torch
        self._scale_by(after)
        both = [self._scaled(x) for x in (after, before) if x.size]
        y = torch.from_numpy(target).to(self.device)
        count = min(self.batch, len(y))
        for _ in range(steps):
            pick = torch.randint(len(y), (count,), generator=self.random).to(self.device)
            out = self.last(activation(self.first(torch.cat([x[pick] for x in both])))).squeeze(1)
            found = out[:count] - out[count:] if before.size else out
            loss = torch.nn.functional.smooth_l1_loss(found, y[pick], beta=ROUNDED)
            self.adam.step(torch.autograd.grad(loss, self.adam.parameters))

    def _scale_by(self, samples: Floats) -> None:
        """Take the scaling of the features from the first samples (local)."""
        if not self.has_scale:
            self.has_scale, self.mean, self.spread = True, samples.mean(0), samples.std(0) + np.float32(SPREAD_FLOOR)

    def _scaled(self, samples: Floats) -> Any:
        return self.torch.from_numpy((samples - self.mean) / self.spread).to(self.device)

    def weights(self) -> Weights:
        """For `kernels.infer` (local)."""
        W, b, w = (p.detach().cpu().numpy().astype(np.float32) for p in self.adam.parameters)
        W = W / self.spread
        return Weights(W, b - W @ self.mean, w[0].copy())

    def save(self) -> dict[str, Any]:
        """Everything that training goes on from, as JSON values (local)."""
        if not self.has_scale:
            return {}
        return {
            "mean": self.mean.tolist(),
            "spread": self.spread.tolist(),
            "parameters": [p.detach().cpu().numpy().tolist() for p in self.adam.parameters],
            "moments": [[m.cpu().numpy().tolist() for m in moment] for moment in (self.adam.first, self.adam.second)],
            "steps": self.adam.steps,
            "random": self.random.get_state().numpy().tolist(),
        }

    def restore(self, saved: dict[str, Any]) -> None:
        """What `save` gave (local)."""
        if not saved:
            return
        torch = self.torch
        self.has_scale = True
        self.mean, self.spread = (np.array(saved[name], np.float32) for name in ("mean", "spread"))
        with torch.no_grad():
            for p, values in zip(self.adam.parameters, saved["parameters"], strict=True):
                p.copy_(torch.tensor(values))
        for moment, values in zip((self.adam.first, self.adam.second), saved["moments"], strict=True):
            for m, value in zip(moment, values, strict=True):
                m.copy_(torch.tensor(value))
        self.adam.steps = saved["steps"]
        self.random.set_state(torch.tensor(saved["random"], dtype=torch.uint8))
