"""Guided evolution strategies: a random search for the gradient of a value, drawn towards surrogate gradients.

    eps = sigma sqrt(alpha / n) xi + sigma sqrt((1 - alpha) / k) U zeta,    xi, zeta normal
    g = beta / (2 sigma^2 P) sum_p [f(x + eps_p) - f(x - eps_p)] eps_p,     E g = beta Sigma grad f

U is an orthonormal basis of k surrogate gradients; Sigma = alpha / n I + (1 - alpha) / k U U^T has trace 1.
Source: Maheswaranathan et al. (arXiv 1806.10230). Vectors hold this rank's entries only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from mpi4py import MPI

import numpy as np
from numpy.typing import NDArray

from morpho import noise
from morpho.interfaces import Array

INDEPENDENT = 1e-3  #: a vector with less than this share of its length outside of the others' span adds nothing


def normal(keys: NDArray[np.int64], seed: int) -> Array:
    """(n,) normal numbers, one per key, by the transform of Box and Muller (local)."""
    radius, angle = noise.uniform(keys, 2 * seed), noise.uniform(keys, 2 * seed + 1)
    return np.asarray(np.sqrt(-2 * np.log1p(-radius)) * np.cos(2 * np.pi * angle))


def orthonormal_basis(comm: MPI.Comm, vectors: Array) -> Array:
    """(r, n) orthonormal rows that span those of vectors (k, n), the first ones first; r <= k (collective)."""
    basis = vectors
    for _ in range(2):  # the second pass takes away what rounding left of the first
        basis = _factor(comm.allreduce(basis @ basis.T)) @ basis
    return np.asarray(basis)


def _factor(gram: Array) -> Array:
    """(r, k) combinations of k vectors that are orthonormal, from the inner products of these (local)."""
    rows: list[Array] = []
    for i in range(len(gram)):
        if not 0 < gram[i, i] < np.inf:
            continue
        row: Array = np.zeros(len(gram))
        row[i] = 1 / math.sqrt(gram[i, i])
        for earlier in rows:
            row -= (earlier @ gram @ row) * earlier
        rest = math.sqrt(max(float(row @ gram @ row), 0.0))
        if rest > INDEPENDENT:
            rows.append(np.asarray(row / rest))
    return np.array(rows).reshape(len(rows), len(gram))


@dataclass(frozen=True)
class Search:
    """What directions are drawn from; the same ones on any number of ranks."""

    keys: NDArray[np.int64]  #: (n,) global numbers of this rank's entries
    n: int  #: entries of all ranks
    basis: Array  #: (k, n) orthonormal rows U
    sigma: float
    alpha: float

    def draw(self, number: int) -> tuple[Array, Array]:
        """The direction of this number, (n,): its part in the whole space and that in the subspace (local)."""
        k = len(self.basis)
        alpha = self.alpha if k else 1.0
        whole = self.sigma * math.sqrt(alpha / self.n) * normal(self.keys, 2 * number)
        zeta = normal(np.arange(k), 2 * number + 1)
        return whole, self.sigma * math.sqrt((1 - alpha) / max(k, 1)) * (zeta @ self.basis)

    def step(self, x: Array, number: int, lower: float, upper: float) -> tuple[Array, Array]:
        """The step (n,) to both sides of x (n,) in the direction of this number, and the direction (local).

        The step is shorter where a bound is near. There the direction keeps its part in the subspace at full length:
        what other entries say of a surrogate gradient holds for these too.
        """
        whole, guided = self.draw(number)
        full, room = whole + guided, np.maximum(np.minimum(x - lower, upper - x), 0.0)
        step = np.clip(full, -room, room)
        share = np.divide(step, full, out=np.ones_like(x), where=full != 0)
        return step, share * whole + guided


def gradient(differences: Array, directions: Array, sigma: float, beta: float) -> Array:
    """(m, n) gradients of m values from their differences (P, m) between the ends of P directions (P, n) (local)."""
    return np.asarray(beta / (2 * sigma**2 * len(directions)) * (differences.T @ directions))


def eigenvalue_sums(n: int, k: int, share: float, alpha: float | Array) -> tuple[Array, Array]:
    """S1, S2: mean of the eigenvalues of Sigma and of their squares, by share of |grad f|^2 (local).

    Args:
        share: of |grad f|^2 inside of the subspace.
    """
    outside = np.asarray(alpha) / n
    inside = outside + (1 - np.asarray(alpha)) / k
    return share * inside + (1 - share) * outside, share * inside**2 + (1 - share) * outside**2


def best_beta(n: int, k: int, share: float, alpha: float, pairs: int) -> float:
    """The scale beta with the least mean square error (local)."""
    S1, S2 = eigenvalue_sums(n, k, share, alpha)
    return float(S1 / (S2 + (S1 + S2) / pairs))


def best_alpha(n: int, k: int, share: float, pairs: int) -> float:
    """The share alpha of the whole space with the least mean square error at its best beta, to 0.001 (local)."""
    alphas: Array = np.linspace(0, 1, 1001, dtype=np.float64)
    S1, S2 = eigenvalue_sums(n, k, share, alphas)
    return float(alphas[np.argmax(S1**2 / (S2 + (S1 + S2) / pairs))])


def share_seen(inside: float, outside: float, n: int, k: int, alpha: float, pairs: int) -> float:
    """Share of |grad f|^2 inside of the subspace by the parts of |g|^2 inside and outside of it (local).

    Both parts have expectations linear in the share; that with their ratio is what is looked for.
    """
    c = alpha / n
    a = c + (1 - alpha) / k
    inside_at, inside_slope = k * a * c / pairs, a**2 * (1 + 1 / pairs) + k * a * (a - c) / pairs
    rest = (n - k) * c / pairs
    outside_at, outside_slope = c**2 * (1 + 1 / pairs) + rest * c, -(c**2) * (1 + 1 / pairs) + rest * (a - c)
    numerator = inside * outside_at - outside * inside_at
    denominator = outside * inside_slope - inside * outside_slope
    if denominator <= 0:
        return 1.0
    return min(1.0, max(0.0, numerator / denominator))
