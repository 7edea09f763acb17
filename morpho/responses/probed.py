"""A displacement or mean temperature of a part: the output of a mechanism, what may not give way or get hot."""

from __future__ import annotations

import numpy as np

from morpho.interfaces import Array, Gradient
from morpho.responses.response import Value

FLOOR = 0.1  #: of the displacement that the stiffness at both ends would allow


class Probed:
    """Weighted sum of what probes see, each under a load case; not self-adjoint. See `fem.dummy`."""

    of_state = True

    def __init__(self, name: str, terms: list[tuple[int, float]]) -> None:
        """Numbers of probes of the problem, with their weights."""
        self.complaints: list[str] = []
        self.name, self._terms = name, terms

    def at(self, rho: Array, gradient: Gradient) -> Value:
        value = sum(weight * gradient.displacement(q) for q, weight in self._terms)
        derivative = sum(weight * gradient.d_displacement(q) for q, weight in self._terms)
        return Value(float(value), np.asarray(derivative))

    def floor(self, gradient: Gradient) -> float:
        sizes = [weight * sum(gradient.pair(q)) / (4 * float(gradient.scale[q])) for q, weight in self._terms]
        return FLOOR * float(sum(sizes))
