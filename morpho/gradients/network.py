"""The network of the synthetic gradient and its online training, in torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from morpho.gradients.adam import Adam, restore_generator, saved_generator
from morpho.gradients.architectures import Architecture, Layer, layers
from morpho.gradients.physics import Floats

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


def convolved(own: Any, x: Any, patch: tuple[int, ...]) -> Any:
    """A convolution of 3 cells (torch's, padded by 1), of patches (m, cells, channels) of two along each axis (local).

    As a matrix, for all cells of a patch see each other: training is four times as fast as by torch's convolution.
    """
    places = np.indices(patch).reshape(len(patch), -1)
    steps = np.ravel_multi_index(tuple(places[:, None] - places[:, :, None] + 1), own.kernel_size)
    matrix = own.weight.flatten(2)[:, :, steps].permute(2, 0, 3, 1)  # cell and channel out, cell and channel in
    out = x.flatten(1) @ matrix.reshape(-1, x[0].numel()).T
    return out.reshape(len(x), x.shape[1], -1) + own.bias


class Network:
    """Shared by all cells and load cases, trained on differences between two designs.

    Every rank trains the same network on the same samples.

    Args:
        batch: samples of a training step.
        patch: cells along the axes of a patch, which `conv` looks at together; () where it is each by itself.
        value_weight: in the loss, of values beside differences.
    """

    def __init__(
        self,
        features: int,
        hidden: int,
        batch: int,
        seed: int,
        architecture: Architecture = "mlp",
        patch: tuple[int, ...] = (),
        value_weight: float = 0.0,
    ) -> None:
        import torch

        self.torch, self.patch, self.value_weight = torch, patch, value_weight
        self.batch = max(1, batch // math.prod(patch))
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.random = torch.Generator().manual_seed(seed)
        self.layers = layers(architecture, features, hidden, len(patch))
        self.maps = [self._made(layer).to(self.device) for layer in self.layers]
        self.first, self.last = self.maps[0], self.maps[-1]
        torch.nn.init.zeros_(self.last.weight)
        self.adam = Adam([p for own in self.maps for p in own.parameters()])
        self.has_scale = False
        self.mean: Floats = np.zeros(features, np.float32)  #: of each feature, from the first samples
        self.spread: Floats = np.ones(features, np.float32)

    def _made(self, layer: Layer) -> Any:
        """W and b of a layer, from this network's generator (local)."""
        nn = self.torch.nn
        if layer.window:
            kind = (nn.Conv2d, nn.Conv3d)[len(layer.window) - 2]
            own = kind(layer.inputs, layer.outputs, layer.window, padding=1, bias=layer.bias)
        else:
            own = nn.Linear(layer.inputs, layer.outputs, layer.bias)
        if layer.bias:
            with self.torch.no_grad():
                own.weight.uniform_(-1, 1, generator=self.random).mul_(own.weight[0].numel() ** -0.5)
                own.bias.uniform_(-1, 1, generator=self.random)
        return own

    def train(self, after: Floats, before: Floats, target: Floats, steps: int, value: Floats | None = None) -> None:
        """Fit N(after) - N(before) to the target, and N(after) to the value if it is given (local).

        Args:
            after, before: (samples, features), the cells of a patch one after the other; with no columns in `before`,
                N(after) is fitted to the target.
            target, value: (samples,).
        """
        torch = self.torch
        self._scale_by(after)
        both = [self._grouped(self._scaled(x)) for x in (after, before) if x.size]
        y = self._grouped(torch.from_numpy(target).to(self.device))
        absolute = None if value is None else self._grouped(torch.from_numpy(value).to(self.device))
        count = min(self.batch, len(both[0]))
        for _ in range(steps):
            pick = torch.randint(len(both[0]), (count,), generator=self.random).to(self.device)
            out = self._output(torch.cat([x[pick] for x in both]))
            loss = self.loss(out, y[pick], None if absolute is None else absolute[pick])
            self.adam.step(torch.autograd.grad(loss, self.adam.parameters))

    def loss(self, out: Any, target: Any, value: Any = None) -> Any:
        """Of N(after), followed by N(before) if the target is a difference, as tensors (local)."""
        error, count = self.torch.nn.functional.smooth_l1_loss, len(target)
        found = out[:count] - out[count:] if len(out) > count else out
        loss = error(found, target, beta=ROUNDED)
        return loss if value is None else loss + self.value_weight * error(out[:count], value, beta=ROUNDED)

    def infer(self, samples: Floats) -> Floats:
        """N (samples,) of features (samples, features), the cells of a patch one after the other (local)."""
        with self.torch.no_grad():
            out = self._output(self._grouped(self._scaled(samples)))
        return np.asarray(out.cpu().numpy().ravel())

    def _output(self, x: Any) -> Any:
        """N (m,) of scaled features (m, features), or (m, cells) of patches (m, cells, features) (local)."""
        for layer, own in zip(self.layers, self.maps, strict=True):
            y = convolved(own, x, self.patch) if layer.window else own(x)
            y = activation(y) if layer.activation else y
            x = x + y if layer.residual else y
        return x.squeeze(-1)

    def _grouped(self, rows: Any) -> Any:
        """(patches, cells, ...) from (samples, ...), if there are patches (local)."""
        return rows.reshape(-1, math.prod(self.patch), *rows.shape[1:]) if self.patch else rows

    def _scale_by(self, samples: Floats) -> None:
        """Take the scaling of the features from the first samples (local)."""
        if not self.has_scale:
            self.has_scale, self.mean, self.spread = True, samples.mean(0), samples.std(0) + np.float32(SPREAD_FLOOR)

    def _scaled(self, samples: Floats) -> Any:
        return self.torch.from_numpy((samples - self.mean) / self.spread).to(self.device)

    def weights(self) -> Weights:
        """Of `mlp`, for `kernels.infer` (local)."""
        W, b, w = (p.detach().cpu().numpy().astype(np.float32) for p in self.adam.parameters)
        W = W / self.spread
        return Weights(W, b - W @ self.mean, w[0].copy())

    def save(self) -> dict[str, Any]:
        """Everything that training goes on from, as JSON values (local)."""
        if not self.has_scale:
            return {}
        scale = {"mean": self.mean.tolist(), "spread": self.spread.tolist()}
        return scale | self.adam.save() | {"random": saved_generator(self.random)}

    def restore(self, saved: dict[str, Any]) -> None:
        """What `save` gave (local).

        Raises:
            InputError: it is of another network.
        """
        if saved:
            self.adam.restore(saved)
            restore_generator(self.random, saved["random"])
            self.has_scale = True
            self.mean, self.spread = (np.array(saved[name], np.float32) for name in ("mean", "spread"))
