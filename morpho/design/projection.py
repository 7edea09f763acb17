"""Smoothed Heaviside projection (Wang, Lazarov & Sigmund 2011)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from morpho.design.smooth_step import project, pull
from morpho.interfaces import Array, Pullback

BELOW_ONE = np.nextafter(1.0, 0.0)


@dataclass(frozen=True)
class HeavisideProjection:
    """rho = (tanh(beta eta) + tanh(beta (x - eta))) / (tanh(beta eta) + tanh(beta (1 - eta))) (local)."""

    beta: float
    eta: float = 0.5

    def apply(self, x: Array) -> tuple[Array, Pullback]:
        rho = np.array(x)
        project(rho, self.beta, self.eta)

        def pullback(d: Array) -> Array:
            out = np.empty(len(rho))
            pull(out, without_repeats(d), rho, self.beta, self.eta)
            return out

        return rho, pullback

    def inverse(self, rho: float) -> float:
        """The x that becomes rho (local)."""
        low, high = np.tanh(self.beta * self.eta), np.tanh(self.beta * (1 - self.eta))
        t = np.clip(rho * (low + high) - low, -BELOW_ONE, BELOW_ONE)
        return float(np.clip(self.eta + np.arctanh(t) / self.beta, 0.0, 1.0))


def without_repeats(d: Array) -> Array:
    """The one entry of an array (n,) that repeats it without memory, else the array, contiguous (local)."""
    return np.array(d[:1]) if d.strides == (0,) else np.ascontiguousarray(d)
