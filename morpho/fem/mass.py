"""Mass of a cell as a function of its physical density."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from morpho.interfaces import Array

LIGHT = 0.1  #: density below which mass falls faster, so that void has no modes of its own
C6, C7 = 6e5, -5e6  #: c6 rho^6 + c7 rho^7 meets rho and its slope there
LEAST = 1e-12


@dataclass(frozen=True)
class Mass:
    """density rho, and next to nothing in void (Du & Olhoff 2007, eq. 5 with a smooth transition)."""

    density: float

    def of(self, rho: Array) -> Array:
        """(n,) per volume."""
        light = C6 * rho**6 + C7 * rho**7 + LEAST
        return np.asarray(self.density * np.where(rho > LIGHT, rho, light))

    def slope(self, rho: Array) -> Array:
        """(n,) derivative with respect to rho."""
        light = 6 * C6 * rho**5 + 7 * C7 * rho**6
        return np.asarray(self.density * np.where(rho > LIGHT, 1.0, light))
