"""The matrix of a rectangular or brick element in the basis of its modes, and bounds of its spectrum."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from types import ModuleType

import numpy as np
import scipy.linalg

from morpho.fem.voxel import kernels_2d, kernels_3d, kernels_scalar
from morpho.interfaces import Array

#: The diagonal D of A is raised to D (1 + unevenness (c / c_eff - 1)) with c cells around a node, of which
#: c_eff = (sum E)^2 / sum E^2 count. Then the largest eigenvalue is nearly the same for every design; found by trial
#: on random, binary and optimized fields (tests/fem/test_voxel_multigrid.py).
UNEVENNESS, MARGIN = 1.2, 1.12

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


@dataclass(frozen=True)
class Element:
    """The element matrix that all grids share, in the forms the grids need."""

    K: Array
    dim: int
    components: int  #: of the state at a node
    modes: Array  #: float64, see `element.mode_stiffness`
    diagonal: Array  #: (components,) of K; the same at all nodes
    bound: float  #: of the spectrum of the stiffness scaled by the smoother's diagonal
    unevenness: float  #: how much larger that diagonal is where few of the cells around a node are stiff

    @classmethod
    def of(cls, K: Array, dim: int) -> Element:
        """That of an element matrix in a dimension (local)."""
        components = len(K) // 2**dim
        largest, inside = spectral_bounds(K, dim)
        unevenness = UNEVENNESS * (largest / inside - 1) / (2**dim - 1)
        diagonal = np.diag(K)[:components].copy()
        return cls(K, dim, components, mode_stiffness(K, dim), diagonal, MARGIN * inside, unevenness)

    @property
    def kernels(self) -> ModuleType:
        if self.components == 1:
            return kernels_scalar
        return kernels_2d if self.dim == 2 else kernels_3d

    @property
    def is_compiled(self) -> bool:
        """Whether numba has kept the kernels of an earlier run beside their source (local)."""
        assert self.kernels.__file__ is not None
        source = Path(self.kernels.__file__)
        return any(source.with_name("__pycache__").glob(f"{source.stem}.*.nbi"))

    @property
    def layers(self) -> int:
        """Layers of cells that a coarse cell spans in z."""
        return self.dim - 1
