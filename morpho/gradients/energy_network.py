"""The strain energy of a block as a network, its derivative, and Sobolev training (Czarnecki et al. 2017), in torch.

    W = sum_e s_e q_e exp(N(phi_e))

s is the stiffness of a cell relative to that of solid, q its strain energy at unit stiffness in the displacement of
the block. phi sees the stiffnesses of the block only, so that W is quadratic in the displacement and never negative.
Sums and means run over the cells of the block.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np

from morpho.gradients.adam import Adam, restore_generator, saved_generator
from morpho.gradients.architectures import Layer, Layers
from morpho.gradients.physics import Floats
from morpho.interfaces import Array

Loss = Literal["full", "stochastic", "value"]

FEATURES = (
    "log stiffness",
    "log of the mean stiffness of the block",
    "mean log stiffness of the block",
    "mean square of the log stiffness of the block",
)
SOFT = 1e-2  #: relative stiffness that is added before a logarithm
HALF = -math.log(SOFT) / 2  #: 1 + log(s + SOFT) / HALF is between -1 and 1
LARGEST = 3.0  #: bound of N
CELLS = 2048  #: in the blocks of a training step
COLUMNS = 5  #: of a sample


def layers_of(inputs: int, hidden: int) -> Layers:
    """What `perceptron` is made of (local)."""
    sizes = ((inputs, hidden), (hidden, hidden))
    return *(Layer(*size, activation="tanh(z)") for size in sizes), Layer(hidden, 1, activation="")


def perceptron(inputs: int, hidden: int, random: Any) -> Any:
    """Two hidden layers of tanh and an output that starts as zero, from a torch generator (local)."""
    import torch

    layers: list[Any] = []
    *inner, end = layers_of(inputs, hidden)
    for layer in inner:
        linear = torch.nn.Linear(layer.inputs, layer.outputs)
        with torch.no_grad():
            linear.weight.uniform_(-1, 1, generator=random).mul_((3 / layer.inputs) ** 0.5)
            linear.bias.uniform_(-1, 1, generator=random)
        layers += [linear, torch.nn.Tanh()]
    last = torch.nn.Linear(end.inputs, end.outputs)
    torch.nn.init.zeros_(last.weight)
    torch.nn.init.zeros_(last.bias)
    return torch.nn.Sequential(*layers, last)


def sobolev_loss(off: Any, d_off: Any, form: Loss, weight: float, random: Any) -> Any:
    """Mean square of the errors of values (m,) plus `weight` times that of their derivatives (m, d) (local).

    `stochastic` sees the derivatives in one random direction per sample, times d, so that its mean is the full loss;
    `value` does not see them, and they may be None.
    """
    import torch

    loss = off.square().mean()
    if form == "full":
        loss = loss + weight * d_off.square().sum(1).mean()
    elif form == "stochastic":
        direction = torch.randn(d_off.shape, generator=random).to(d_off)
        direction /= direction.norm(dim=1, keepdim=True)
        loss = loss + weight * d_off.shape[1] * (d_off * direction).sum(1).square().mean()
    return loss


def normalised(samples: Array) -> Floats:
    """Samples (m, COLUMNS, d) for `EnergyNetwork.train`, in units in which both parts of the loss count alike (local).

    A value is measured by that of its block plus the mean, and so are derivatives. Columns of the samples: s, q, the
    exact energy at unit stiffness e (the derivative of the exact W with respect to s), ds / d rho, and the share of a
    cell in the means over its block, 0 where there is none; all are 0 there.
    """
    s, _, e, slope, _ = samples.transpose(1, 0, 2)
    value, size = (s * e).sum(1), np.linalg.norm(slope * e, axis=1)
    value, size = value + value.mean(), size + size.mean()
    scale = np.ones((len(samples), COLUMNS, 1))
    scale[:, 1:3, 0] = 1 / value[:, None]
    scale[:, 3, 0] = value / size
    return np.asarray(samples * scale, np.float32)


class EnergyNetwork:
    """N of the energy of a block, shared by all blocks and load cases; with N = 0 the energy is that of the block."""

    def __init__(self, hidden: int = 16, loss: Loss = "full", weight: float = 1.0, seed: int = 0) -> None:
        import torch

        self.torch, self.loss, self.weight = torch, loss, weight
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.random = torch.Generator().manual_seed(seed)
        self.layers = perceptron(len(FEATURES), hidden, self.random).to(self.device)
        self.adam = Adam(list(self.layers.parameters()))

    def predict(self, s: Any, q: Any, share: Any) -> tuple[Any, Any]:
        """Values W (k, m) and their derivatives with respect to s (k, m, d), the energies at unit stiffness (local).

        Args:
            s, share: (m, d) of m blocks.
            q: (k, m, d) of k load cases.
        """
        s, share = self._tensor(s), self._tensor(share)
        values, energies = [], []
        s.requires_grad_()
        ratio = self._ratio(s, share)
        for own in self._tensor(q):
            value = (s * own * ratio).sum(1)
            energies.append(self.torch.autograd.grad(value.sum(), s, retain_graph=True)[0].cpu().numpy())
            values.append(value.detach().cpu().numpy())
        return np.stack(values), np.stack(energies)

    def train(self, samples: Floats, steps: int) -> None:
        """Fit W and its derivatives to normalised samples (m, COLUMNS, d) (local)."""
        torch, data = self.torch, self._tensor(samples)
        count = min(max(1, CELLS // data.shape[2]), len(data))
        for _ in range(steps):
            pick = torch.randint(len(data), (count,), generator=self.random).to(self.device)
            s, q, e, slope, share = data[pick].unbind(1)
            s.requires_grad_(self.loss != "value")
            value, d_off = (s * q * self._ratio(s, share)).sum(1), None
            if self.loss != "value":
                (own,) = torch.autograd.grad(value.sum(), s, create_graph=True)
                d_off = slope * (own - e)
            off = value - (s.detach() * e).sum(1)
            loss = sobolev_loss(off, d_off, self.loss, self.weight, self.random)
            self.adam.step(torch.autograd.grad(loss, self.adam.parameters))

    def _ratio(self, s: Any, share: Any) -> Any:
        """exp(N) of each cell (m, d) (local)."""
        torch = self.torch
        log, mean = _log(s), (share * s).sum(1, keepdim=True)
        block = [_log(mean), (share * log).sum(1, keepdim=True), (share * log.square()).sum(1, keepdim=True)]
        phi = torch.stack([log, *(part.expand_as(log) for part in block)], dim=2)
        return torch.exp(LARGEST * torch.tanh(self.layers(phi).squeeze(2) / LARGEST))

    def _tensor(self, values: Any) -> Any:
        return self.torch.as_tensor(values, dtype=self.adam.parameters[0].dtype).to(self.device)

    def save(self) -> dict[str, Any]:
        """Everything that training goes on from, as JSON values (local)."""
        return self.adam.save() | {"random": saved_generator(self.random)}

    def restore(self, saved: dict[str, Any]) -> None:
        """What `save` gave (local).

        Raises:
            InputError: it is of another network.
        """
        self.adam.restore(saved)
        restore_generator(self.random, saved["random"])


def _log(s: Any) -> Any:
    return 1 + (s + SOFT).log() / HALF
