"""Linear elasticity at small displacements."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from morpho.fem.brick import integral
from morpho.fem.forms import Form, epsilon, sigma
from morpho.fem.material import lame
from morpho.interfaces import Array
from morpho.late import ufl


@dataclass(frozen=True)
class Elasticity:
    """sigma = lam tr(eps) I + 2 mu eps, isotropic; the coefficient is Young's modulus."""

    dim: int
    nu: float
    plane: str
    field = "displacement"

    @property
    def components(self) -> int:
        return self.dim

    @property
    def strains(self) -> tuple[tuple[tuple[int, int], ...], ...]:
        shears = ((0, 1),) if self.dim == 2 else ((1, 2), (0, 2), (0, 1))
        return (*(((a, a),) for a in range(self.dim)), *(((a, b), (b, a)) for a, b in shears))

    def matrix(self) -> Array:
        """All six stresses, xx, yy, zz, yz, xz, xy, also in the plane."""
        lam, mu = lame(1.0, self.nu, self.dim, self.plane)
        shears = [5] if self.dim == 2 else [3, 4, 5]
        C = np.zeros((6, self.dim + len(shears)))
        through = 3 if self.dim == 3 or self.plane == "strain" else 2
        C[:through, : self.dim] = lam
        C[range(self.dim), range(self.dim)] += 2 * mu
        C[shears, range(self.dim, C.shape[1])] = mu
        return C

    def element(self, spacing: Array) -> Array:
        return stiffness(spacing, self.nu, self.plane)

    def integrand(self, u: Form, v: Form) -> Form:
        lam, mu = lame(1.0, self.nu, self.dim, self.plane)
        return ufl.inner(sigma(u, lam, mu), epsilon(v))


def stiffness(spacing: Array, nu: float, plane: str) -> Array:
    """Stiffness matrix of a rectangle or brick at Young's modulus 1, exactly integrated (local).

    Args:
        spacing: (dim,) edges.

    Returns:
        (2**dim * dim, ..) with nodes numbered x fastest, the components of a node next to each other.
    """
    dim = len(spacing)
    lam, mu = lame(1.0, nu, dim, plane)
    K = np.zeros((2**dim, dim, 2**dim, dim))
    for i in range(dim):
        for j in range(dim):
            K[:, i, :, j] += lam * integral(spacing, i, j) + mu * integral(spacing, j, i)
        K[:, i, :, i] += mu * sum(integral(spacing, k, k) for k in range(dim))
    return K.reshape(2**dim * dim, -1)
