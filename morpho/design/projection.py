"""Smoothed Heaviside projection (Wang, Lazarov & Sigmund 2011)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from morpho.interfaces import Array, Pullback


@dataclass(frozen=True)
class HeavisideProjection:
    """rho = (tanh(beta eta) + tanh(beta (x - eta))) / (tanh(beta eta) + tanh(beta (1 - eta))) (local)."""

    beta: float
    eta: float = 0.5

    def apply(self, x: Array) -> tuple[Array, Pullback]:
        low, high = np.tanh(self.beta * self.eta), np.tanh(self.beta * (1 - self.eta))
        t = np.tanh(self.beta * (x - self.eta))
        slope = self.beta * (1 - t * t) / (low + high)
        return (low + t) / (low + high), lambda d: d * slope
