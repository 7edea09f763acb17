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
        rho = x - self.eta
        rho *= self.beta
        np.tanh(rho, out=rho)
        rho += low
        rho /= low + high
        np.clip(rho, 0.0, 1.0, out=rho)

        def pull(d: Array) -> Array:
            """d beta (1 - t^2) / (low + high) with t = tanh(beta (x - eta)), which follows from rho."""
            slope = rho * (low + high)
            slope -= low
            slope *= slope
            np.subtract(1.0, slope, out=slope)
            slope *= self.beta / (low + high)
            slope *= d
            return slope

        return rho, pull

    def inverse(self, rho: float) -> float:
        """The x that becomes rho (local)."""
        low, high = np.tanh(self.beta * self.eta), np.tanh(self.beta * (1 - self.eta))
        t = np.clip(rho * (low + high) - low, -BELOW_ONE, BELOW_ONE)
        return float(np.clip(self.eta + np.arctanh(t) / self.beta, 0.0, 1.0))
