"""Steady heat conduction by Fourier's law; convection and sources stand with the loads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from morpho.fem.brick import integral
from morpho.fem.forms import Form
from morpho.interfaces import Array
from morpho.late import ufl


@dataclass(frozen=True)
class Heat:
    """q = -k grad T, isotropic; the coefficient is the conductivity k."""

    dim: int
    components = 1
    field = "temperature"

    @property
    def strains(self) -> tuple[tuple[tuple[int, int], ...], ...]:
        return tuple(((0, a),) for a in range(self.dim))

    def matrix(self) -> Array:
        return np.eye(self.dim)

    def element(self, spacing: Array) -> Array:
        return conductance(spacing)

    def integrand(self, u: Form, v: Form) -> Form:
        return ufl.inner(ufl.grad(u), ufl.grad(v))


def conductance(spacing: Array) -> Array:
    """(2**dim, 2**dim) matrix of a rectangle or brick at conductivity 1, exactly integrated; nodes x fastest (local).

    Args:
        spacing: (dim,) edges.
    """
    return np.asarray(sum(integral(spacing, k, k) for k in range(len(spacing))))
