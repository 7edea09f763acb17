"""The worst compliance of the load cases, smoothly."""

from __future__ import annotations

import numpy as np

from morpho.interfaces import Array, Gradient
from morpho.responses.response import Value

P = 20.0  #: exponent; with eight cases alike the value is 1.11 times the largest


class Worst:
    """(sum (w_i c_i)^p)^(1/p) >= max w_i c_i of the compliances c_i and weights w_i: a sum with weights that move.

    Supports must not move, which makes compliances negative.
    """

    of_state = True
    name = "worst compliance"

    def __init__(self) -> None:
        self.complaints: list[str] = []

    def at(self, rho: Array, gradient: Gradient) -> Value:
        k = gradient.n_given
        weighted = gradient.weights[:k] * gradient.cases[:k]
        top = float(weighted.max())
        share = np.maximum(weighted / top, 0.0)
        mean = float(np.sum(share**P))
        slope = mean ** (1 / P - 1) * share ** (P - 1) * gradient.weights[:k]
        return Value(top * mean ** (1 / P), np.asarray(slope @ gradient.d_cases[:k]))

    def floor(self, gradient: Gradient) -> float:
        return 0.0
