"""The matrix of a rectangular or brick element in the basis of its modes, and bounds of its spectrum."""

from __future__ import annotations

import itertools
from functools import reduce

import numpy as np
import scipy.linalg

from morpho.interfaces import Array

Mode = tuple[int, ...]  #: (component, x, y(, z)): a displacement component, linear (1) or constant (0) per direction


#: The entries that do not vanish, as pairs of modes, by dimension and components: of 576 of elasticity in 3-D 45, 33 of
#: them different by symmetry. The kernels are written for this order.
COUPLINGS: dict[tuple[int, int], tuple[tuple[Mode, Mode], ...]] = {
    (2, 1): (
        ((0, 1, 0), (0, 1, 0)),
        ((0, 0, 1), (0, 0, 1)),
        ((0, 1, 1), (0, 1, 1)),
    ),
    (3, 1): (
        ((0, 1, 0, 0), (0, 1, 0, 0)),
        ((0, 0, 1, 0), (0, 0, 1, 0)),
        ((0, 1, 1, 0), (0, 1, 1, 0)),
        ((0, 0, 0, 1), (0, 0, 0, 1)),
        ((0, 1, 0, 1), (0, 1, 0, 1)),
        ((0, 0, 1, 1), (0, 0, 1, 1)),
        ((0, 1, 1, 1), (0, 1, 1, 1)),
    ),
    (2, 2): (
        ((0, 1, 0), (0, 1, 0)),
        ((0, 1, 0), (1, 0, 1)),
        ((1, 0, 1), (1, 0, 1)),
        ((0, 0, 1), (0, 0, 1)),
        ((0, 0, 1), (1, 1, 0)),
        ((1, 1, 0), (1, 1, 0)),
        ((0, 1, 1), (0, 1, 1)),
        ((1, 1, 1), (1, 1, 1)),
    ),
    (3, 3): (
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


def mode_stiffness(K: Array, dim: int) -> Array:
    """The entries of an element matrix of a dimension in the basis of sums and differences over the nodes (local).

    K = T^t M T with T the Hadamard matrix of the nodes: u000 = sum of the nodal values, u100 = sum of the right ones
    minus sum of the left ones, and so on. M has the entries of COUPLINGS and zeros.
    """
    components = len(K) // 2**dim
    T = np.kron(reduce(np.kron, [np.array([[1, 1], [-1, 1]])] * dim), np.eye(components))
    M = T @ K @ T.T / 4**dim

    def row(mode: Mode) -> int:
        component, *linear = mode
        return sum(bit << d for d, bit in enumerate(linear)) * components + component

    return np.array([M[row(a), row(b)] for a, b in COUPLINGS[dim, components]])


def spectral_bounds(K: Array, dim: int) -> tuple[float, float]:
    """Largest eigenvalue of D^-1 A, with D the diagonal of A: at most, and inside a region of equal cells (local).

    The first is reached where one cell is much stiffer than its neighbours; it follows from the element alone. The
    second is the largest over the plane waves on an infinite grid.
    """
    components = len(K) // 2**dim
    diagonal = np.diag(K)
    largest = scipy.linalg.eigh(K, np.diag(diagonal), eigvals_only=True)[-1]
    offsets = np.array(node_offsets(dim))[:, ::-1][:, :dim]
    scale = 2**dim * np.sqrt(np.outer(diagonal[:components], diagonal[:components]))
    inside = 0.0
    for phase in itertools.product(np.linspace(0, np.pi, 9), repeat=dim):
        wave = np.kron(np.exp(1j * offsets @ np.array(phase))[:, None], np.eye(components))
        inside = max(inside, np.linalg.eigvalsh(wave.conj().T @ K @ wave / scale)[-1])
    return float(largest), float(inside)


def node_offsets(dim: int) -> list[tuple[int, int, int]]:
    """Offsets (z, y, x) of the nodes of a cell from its lowest one, in the order of `stiffness`."""
    return [(z, y, x) for z in range(dim - 1) for y in range(2) for x in range(2)]
