"""The contract of a response, and the bound that makes a constraint of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from morpho.interfaces import Array, Gradient


@dataclass(frozen=True)
class Value:
    """What a response is at a design, with its derivative with respect to rho."""

    value: float
    d_rho: Array  #: (n,)


class Response(Protocol):
    """A number that a design is judged by: an objective, or with a bound a constraint."""

    name: str  #: in result.json
    of_state: bool  #: whether it depends on the displacement; a sensitivity filter smooths its derivative then
    complaints: list[str]  #: what only the mesh can tell is wrong with it

    def at(self, rho: Array, gradient: Gradient) -> Value:
        """Its value at the physical density (n,), whose load cases are known (collective)."""
        ...

    def floor(self, gradient: Gradient) -> float:
        """A size that its changes may be compared with where it passes zero, 0 where it does not (local)."""
        ...


@dataclass(frozen=True)
class Bound:
    """A response that has to stay on one side of a limit; normalised by its size, feasible when <= 0."""

    response: Response
    limit: float
    place: str  #: in the problem file
    sign: float = 1.0  #: 1: at most the limit, -1: at least

    def value(self, found: float) -> float:
        """The normalised constraint (local)."""
        return self.sign * (found / abs(self.limit) - np.sign(self.limit))

    def derivative(self, found: Array) -> Array:
        """(n,) of the normalised constraint, from that of the response; one number repeated stays so (local)."""
        scale = self.sign * abs(self.limit)
        return np.broadcast_to(found[:1] / scale, found.shape) if found.strides == (0,) else np.asarray(found / scale)

    def response_value(self, constraint: float) -> float:
        """What the response is where the normalised constraint is this (local)."""
        return self.limit + self.sign * abs(self.limit) * constraint
