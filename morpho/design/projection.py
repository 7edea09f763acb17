"""Smoothed Heaviside projection (Wang, Lazarov & Sigmund 2011)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from morpho.interfaces import Array, Pullback

BELOW_ONE = np.nextafter(1.0, 0.0)


@dataclass(frozen=True)
class HeavisideProjection:
    """rho = (tanh(beta eta) + tanh(beta (x - eta))) / (tanh(beta eta) + tanh(beta (1 - eta))) (local).

    Within [0, 1] to the last bit: a power of what rounding leaves below zero is not a number.
    """

    beta: float
    eta: float = 0.5

    def apply(self, x: Array) -> tuple[Array, Pullback]:
        low, high = np.tanh(self.beta * self.eta), np.tanh(self.beta * (1 - self.eta))
        t = np.tanh(self.beta * (x - self.eta))
        rho = low + t
        rho /= low + high
        # The slope waits for the pullback: a search for the volume asks for rho many times.
        return np.clip(rho, 0.0, 1.0, out=rho), lambda d: d * (self.beta * (1 - t * t) / (low + high))

    def inverse(self, rho: float) -> float:
        """The x that becomes rho (local)."""
        low, high = np.tanh(self.beta * self.eta), np.tanh(self.beta * (1 - self.eta))
        t = np.clip(rho * (low + high) - low, -BELOW_ONE, BELOW_ONE)
        return float(np.clip(self.eta + np.arctanh(t) / self.beta, 0.0, 1.0))
