"""The networks of `onsg` as lists of layers, which they are built and drawn from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Architecture = Literal["mlp", "residual", "conv"]
ARCHITECTURES: tuple[Architecture, ...] = ("mlp", "residual", "conv")
WINDOW = 3  #: cells along the edge of a convolution
ACTIVATION = "z (1 + z / (1 + |z|)) / 2"  #: `network.activation` in words


@dataclass(frozen=True)
class Layer:
    """a(W x + b), or x + a(W x + b) where it is residual."""

    inputs: int
    outputs: int
    window: tuple[int, ...] = ()  #: of a convolution, which keeps the size of the patch; () for a linear layer
    bias: bool = True
    activation: str = ACTIVATION  #: "" for none
    residual: bool = False

    @property
    def kind(self) -> str:
        return f"convolution {' x '.join(map(str, self.window))}" if self.window else "linear"

    @property
    def parameters(self) -> int:
        return self.inputs * self.outputs * math.prod(self.window) + self.bias * self.outputs


Layers = tuple[Layer, ...]


def layers(architecture: Architecture, features: int, hidden: int, dim: int = 3) -> Layers:
    """What `onsg.architecture` names, from the features of a cell to one number (local).

    `mlp` and `residual` see each cell by itself, `conv` the cells of a block together. The last layer has no bias: it
    starts as zero, and with it the network.
    """
    window = (WINDOW,) * dim if architecture == "conv" else ()
    depth = {"mlp": 0, "residual": 2, "conv": 1}[architecture]
    inner = [Layer(hidden, hidden, window, residual=True)] * depth
    return Layer(features, hidden, window), *inner, Layer(hidden, 1, bias=False, activation="")


def parameters(network: Layers) -> int:
    """Of all layers (local)."""
    return sum(layer.parameters for layer in network)
