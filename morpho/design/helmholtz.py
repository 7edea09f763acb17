"""Density filter by a PDE (Lazarov & Sigmund 2011), for large radii and complicated domains."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np

from morpho.interfaces import Array, Pullback


class CellPde(Protocol):
    """The symmetric operator of a PDE from cell sources to cell integrals, see `fem.helmholtz`."""

    volumes: Array

    def apply(self, s: Array) -> Array: ...


def length_parameter(radius: float) -> float:
    """R of -R^2 lap(p) + p = s with the same length scale as a cone of this radius."""
    return radius / (2 * math.sqrt(3))


ROUNDING = 1e-9  #: how far beyond 0 and 1 a density may be by the tolerance of the solver alone


class HelmholtzFilter:
    """rho = V^-1 M x: the mean over each cell of the PDE solution; preserves constants and the volume.

    Clipped to [0, 1]: on meshes with obtuse angles or flat cells the discrete solution can leave it a little.
    """

    def __init__(self, pde: CellPde) -> None:
        self.pde = pde

    def apply(self, x: Array) -> tuple[Array, Pullback]:
        rho = self.pde.apply(x) / self.pde.volumes
        inside = (rho >= -ROUNDING) & (rho <= 1 + ROUNDING)
        return np.clip(rho, 0.0, 1.0, out=rho), lambda d: self.pde.apply(d * inside / self.pde.volumes)
