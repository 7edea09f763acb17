"""The lowest eigenpairs of K x = lambda M x: locally optimal block preconditioned CG (Knyazev 2001)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from morpho.errors import SolverError
from morpho.interfaces import Array

GUARDS = 2  #: vectors beside those that are asked for, which the last ones converge by
DEPENDENT = 1e-10  #: eigenvalue of a scaled Gram matrix below which directions count as dependent
MOST = 1000  #: iterations; a loose piece in void is a mode that takes some hundred to find
ENOUGH = 1e-3  #: relative residual that will do after so many: the error of the eigenvalue is its square


class Pencil(Protocol):
    """K and M on blocks of vectors (k, N) of this rank's nodal entries, which vanish where the state is held."""

    def stiffness(self, X: Array) -> Array:
        """K X; entries that several ranks have are made equal in X (collective)."""

    def mass(self, X: Array) -> Array:
        """M X (local)."""

    def precondition(self, R: Array) -> Array:
        """About K^-1 R (collective)."""

    def gram(self, X: Array, Y: Array) -> Array:
        """(k, l) inner products, each entry counted once over all ranks (collective)."""


@dataclass(frozen=True)
class Modes:
    """The lowest eigenpairs of a design."""

    values: Array  #: (k,) eigenvalues, ascending
    slopes: Array  #: (k, n) their derivatives with respect to rho
    linear_iterations: int


def lowest(pencil: Pencil, X: Array, count: int, rtol: float, fading: float = 0.0) -> tuple[Array, Array, int]:
    """The lowest eigenvalues, M-orthonormal eigenvectors (k, N) and iterations, from a start X (k, N) (collective).

    Args:
        count: pairs whose residual |K x - lambda M x| has to fall to rtol lambda |M x|.
        fading: the power of lambda_k / lambda_1 by which that of the others may be larger.

    Raises:
        SolverError: it did not converge.
    """
    k = len(X)
    X, KX, values, _ = _ritz(pencil, X, k)
    P: Array = np.zeros((0, X.shape[1]))
    for iteration in range(MOST + 1):
        MX = pencil.mass(X)
        R = KX - values[:, None] * MX
        sizes = np.sqrt(np.abs(np.diag(pencil.gram(R, R))))
        wanted = rtol * values * np.sqrt(np.abs(np.diag(pencil.gram(MX, MX))))
        wanted *= np.minimum(np.maximum(values / values[0], 1.0) ** fading, 1 / rtol)
        if not np.isfinite(sizes).all():
            raise SolverError("an eigenvalue is not finite; check the supports and the material")
        wanted = np.maximum(wanted, ENOUGH / rtol * wanted) if iteration == MOST else wanted
        if (sizes[:count] <= wanted[:count]).all():
            return values, X, iteration
        W = pencil.precondition(R[sizes > wanted] / sizes[sizes > wanted, None])
        W -= pencil.gram(W, MX) @ X
        before, (X, KX, values, C) = X, _ritz(pencil, np.concatenate([X, W, P]), k)
        P = X - C @ before  # what is new in the vectors
    raise SolverError(
        f"the eigenvalues did not converge to {ENOUGH:g} in {MOST} iterations; raise material.E_min_ratio, or look for "
        "parts that are hardly held"
    )


def _ritz(pencil: Pencil, S: Array, k: int) -> tuple[Array, Array, Array, Array]:
    """The k lowest Ritz vectors X of a basis S that may be dependent, K X, Ritz values, and what X has of the first k
    vectors of the basis (collective).

    K is applied to an orthonormal basis: combinations of K S would blow rounding up.
    """
    M = pencil.gram(S, pencil.mass(S))
    scale = 1 / np.sqrt(np.maximum(np.diag(M), 1e-300))
    weights, Q = np.linalg.eigh(scale[:, None] * (M + M.T) / 2 * scale)
    kept = weights > DEPENDENT * weights[-1]
    T = (scale[:, None] * Q[:, kept] / np.sqrt(weights[kept])).T
    S = T @ S
    KS = pencil.stiffness(S)
    K = pencil.gram(S, KS)
    values, Y = np.linalg.eigh((K + K.T) / 2)
    C = Y[:, :k].T
    return C @ S, C @ KS, values[:k], (C @ T)[:, :k]


def waves(x: Array, components: int, count: int) -> Array:
    """(count, nodes * components) smooth vectors at points x (nodes, dim) in the unit box, without symmetry (local)."""
    rng = np.random.default_rng(0)
    vectors = np.empty((count, len(x), components))
    for k in range(count):
        for c in range(components):
            vectors[k, :, c] = rng.normal() + np.cos(x @ rng.uniform(0, 4, x.shape[1]) + rng.uniform(0, 6))
    return vectors.reshape(count, -1)
