"""The stiffness matrix of a rectangular or brick element, and what is left of it in the basis of its modes."""

from __future__ import annotations

import itertools
from functools import reduce

import numpy as np
import scipy.linalg

from morpho.fem.material import lame
from morpho.interfaces import Array

Mode = tuple[int, ...]  #: (component, x, y(, z)): a displacement component, linear (1) or constant (0) per direction


def stiffness(spacing: Array, nu: float, plane: str) -> Array:
    """Stiffness matrix of one element at Young's modulus 1, exactly integrated.

    Args:
        spacing: (dim,) edges.

    Returns:
        (2**dim * dim, ..) with nodes numbered x fastest, the components of a node next to each other.
    """
    dim = len(spacing)
    lam, mu = lame(1.0, nu, dim, plane)
    mass = [h * np.array([[2, 1], [1, 2]]) / 6 for h in spacing]
    slope = [np.array([[1, -1], [-1, 1]]) / h for h in spacing]
    mixed = [np.array([[-1, -1], [1, 1]]) / 2] * dim  # derivative of the test function times the trial function

    def integral(row: int, column: int) -> Array:
        """Integral of d phi_a / d x_row * d phi_b / d x_column."""
        factors = list(mass)
        if row == column:
            factors[row] = slope[row]
        else:
            factors[row], factors[column] = mixed[row], mixed[column].T
        return np.asarray(reduce(np.kron, factors[::-1]))

    K = np.zeros((2**dim, dim, 2**dim, dim))
    for i in range(dim):
        for j in range(dim):
            K[:, i, :, j] += lam * integral(i, j) + mu * integral(j, i)
        K[:, i, :, i] += mu * sum(integral(k, k) for k in range(dim))
    return K.reshape(2**dim * dim, -1)


#: The entries that do not vanish, as pairs of modes: 45 of 576 in 3-D, 33 of them different by symmetry. The kernels
#: are written for this order.
COUPLINGS: dict[int, tuple[tuple[Mode, Mode], ...]] = {
    2: (
        ((0, 1, 0), (0, 1, 0)),
        ((0, 1, 0), (1, 0, 1)),
        ((1, 0, 1), (1, 0, 1)),
        ((0, 0, 1), (0, 0, 1)),
        ((0, 0, 1), (1, 1, 0)),
        ((1, 1, 0), (1, 1, 0)),
        ((0, 1, 1), (0, 1, 1)),
        ((1, 1, 1), (1, 1, 1)),
    ),
    3: (
        ((0, 1, 0, 0), (0, 1, 0, 0)),  # normal strains
        ((0, 1, 0, 0), (1, 0, 1, 0)),
        ((0, 1, 0, 0), (2, 0, 0, 1)),
        ((1, 0, 1, 0), (1, 0, 1, 0)),
        ((1, 0, 1, 0), (2, 0, 0, 1)),
        ((2, 0, 0, 1), (2, 0, 0, 1)),
        ((0, 0, 1, 0), (0, 0, 1, 0)),  # shear strains
        ((0, 0, 1, 0), (1, 1, 0, 0)),
        ((1, 1, 0, 0), (1, 1, 0, 0)),
        ((0, 0, 0, 1), (0, 0, 0, 1)),
        ((0, 0, 0, 1), (2, 1, 0, 0)),
        ((2, 1, 0, 0), (2, 1, 0, 0)),
        ((1, 0, 0, 1), (1, 0, 0, 1)),
        ((1, 0, 0, 1), (2, 0, 1, 0)),
        ((2, 0, 1, 0), (2, 0, 1, 0)),
        ((0, 1, 1, 0), (0, 1, 1, 0)),  # bending
        ((0, 1, 1, 0), (2, 0, 1, 1)),
        ((2, 0, 1, 1), (2, 0, 1, 1)),
        ((0, 1, 0, 1), (0, 1, 0, 1)),
        ((0, 1, 0, 1), (1, 0, 1, 1)),
        ((1, 0, 1, 1), (1, 0, 1, 1)),
        ((1, 1, 1, 0), (1, 1, 1, 0)),
        ((1, 1, 1, 0), (2, 1, 0, 1)),
        ((2, 1, 0, 1), (2, 1, 0, 1)),
        ((0, 0, 1, 1), (0, 0, 1, 1)),  # torsion
        ((0, 0, 1, 1), (1, 1, 0, 1)),
        ((0, 0, 1, 1), (2, 1, 1, 0)),
        ((1, 1, 0, 1), (1, 1, 0, 1)),
        ((1, 1, 0, 1), (2, 1, 1, 0)),
        ((2, 1, 1, 0), (2, 1, 1, 0)),
        ((0, 1, 1, 1), (0, 1, 1, 1)),  # trilinear
        ((1, 1, 1, 1), (1, 1, 1, 1)),
        ((2, 1, 1, 1), (2, 1, 1, 1)),
    ),
}


def mode_stiffness(K: Array) -> Array:
    """(33,) in 3-D, (8,) in 2-D: the entries of K in the basis of sums and differences over the nodes.

    K = T^t M T with T the Hadamard matrix of the nodes: u000 = sum of the nodal values, u100 = sum of the right ones
    minus sum of the left ones, and so on. M has the entries of COUPLINGS and zeros.
    """
    dim = {8: 2, 24: 3}[len(K)]
    T = np.kron(reduce(np.kron, [np.array([[1, 1], [-1, 1]])] * dim), np.eye(dim))
    M = T @ K @ T.T / 4**dim
    return np.array([M[_row(a), _row(b)] for a, b in COUPLINGS[dim]])


def _row(mode: Mode) -> int:
    component, *linear = mode
    return sum(bit << d for d, bit in enumerate(linear)) * len(linear) + component


def spectral_bounds(K: Array) -> tuple[float, float]:
    """Largest eigenvalue of D^-1 A, with D the diagonal of A: at most, and inside a region of equal cells.

    The first is reached where one cell is much stiffer than its neighbours; it follows from the element alone. The
    second is the largest over the plane waves on an infinite grid.
    """
    dim = {8: 2, 24: 3}[len(K)]
    diagonal = np.diag(K)
    largest = scipy.linalg.eigh(K, np.diag(diagonal), eigvals_only=True)[-1]
    offsets = np.array(node_offsets(dim))[:, ::-1][:, :dim]
    scale = 2**dim * np.sqrt(np.outer(diagonal[:dim], diagonal[:dim]))
    inside = 0.0
    for phase in itertools.product(np.linspace(0, np.pi, 9), repeat=dim):
        wave = np.kron(np.exp(1j * offsets @ np.array(phase))[:, None], np.eye(dim))
        inside = max(inside, np.linalg.eigvalsh(wave.conj().T @ K @ wave / scale)[-1])
    return float(largest), float(inside)


def node_offsets(dim: int) -> list[tuple[int, int, int]]:
    """Offsets (z, y, x) of the nodes of a cell from its lowest one, in the order of `stiffness`."""
    return [(z, y, x) for z in range(dim - 1) for y in range(2) for x in range(2)]
