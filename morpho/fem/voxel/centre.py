"""Fields at the centres of the cells of a box, and the transpose: what functionals see and say."""

from __future__ import annotations

import numpy as np

from morpho.fem.law import Law
from morpho.fem.voxel.element import mode_stiffness
from morpho.fem.voxel.turned import Turn
from morpho.fem.voxel.vectors import add_differences, add_differences_transposed, mean_of_nodes
from morpho.functionals.functional import VON_MISES
from morpho.interfaces import Array


class Centre:
    """From nodal arrays (z, y, component, x) to (n, ...) values at the centres and back (local)."""

    def __init__(self, turn: Turn, law: Law) -> None:
        mesh = turn.mesh.laid
        self.mesh, self.law, self.layers, self._order = mesh, law, mesh.dim - 1, turn.order
        #: of a difference of sums over the nodes on both sides, for each axis
        self._weights = 1 / (2 ** (mesh.dim - 1) * mesh.spacing[: mesh.dim])
        axes = Turn(turn.mesh, mesh.dim).order
        #: (component, axis) of the terms of each strain in the arrays
        self._terms = [[(self._order[c], axes[axis]) for c, axis in terms] for terms in law.strains]

    def value(self, u: Array) -> Array:
        """(n, components)."""
        out = np.empty((self.law.components, *self.mesh.shape))
        for c, cells in zip(self._order, out, strict=True):
            mean_of_nodes(cells, u, c, self.layers)
        return self._columns(out)

    def gradient(self, u: Array) -> Array:
        """(n, m) strain or gradient."""
        out = np.zeros((len(self.law.strains), *self.mesh.shape))
        for cells, terms in zip(out, self._terms, strict=True):
            for c, axis in terms:
                add_differences(cells, u, c, axis, self._weights[axis], self.layers)
        return self._columns(out)

    def _columns(self, fields: Array) -> Array:
        """(n, m) from (m, z, y, x)."""
        return np.column_stack([self.mesh.listed(field) for field in fields])

    def add_transposed(self, g: Array, d_value: Array | None, d_gradient: Array | None) -> None:
        """Add to the nodal array g what derivatives in `value` and `gradient` come to, of this rank's cells."""
        if d_value is not None:
            share = 0.5**self.mesh.dim
            for c, d in zip(self._order, np.ascontiguousarray(d_value.T, np.float64), strict=True):
                for corner in self._corners():
                    g[:, :, c][corner] += share * self.mesh.grid(np.asarray(d))
        if d_gradient is not None:
            for d, terms in zip(np.ascontiguousarray(d_gradient.T, np.float64), self._terms, strict=True):
                for c, axis in terms:
                    add_differences_transposed(
                        g, self.mesh.grid(np.asarray(d)), c, axis, self._weights[axis], self.layers
                    )

    def _corners(self) -> list[tuple[slice, slice, slice]]:
        """Of the cells, in an array (z, y, x) of nodes."""
        ends = (slice(None, -1), slice(1, None))
        layers = ends if self.layers == 2 else (slice(None),)
        return [(z, y, x) for z in layers for y in ends for x in ends]


def centre_strains(spacing: Array, law: Law) -> Array:
    """(m, nodes * components) strain or gradient at the centre of a cell from its nodes, in the order of `brick`.

    Args:
        spacing: (dim,) edges.
    """
    dim, c = len(spacing), law.components
    offsets = np.array([[number >> axis & 1 for axis in range(dim)] for number in range(2**dim)])
    slopes = (2 * offsets - 1) / (2 ** (dim - 1) * spacing)  #: (nodes, dim)
    B = np.zeros((len(law.strains), 2**dim, c))
    for row, terms in zip(B, law.strains, strict=True):
        for component, axis in terms:
            row[:, component] += slopes[:, axis]
    return B.reshape(len(B), -1)


def von_mises_modes(spacing: Array, law: Law) -> Array:
    """Modes of the square of the von Mises stress, for the kernels of the energy; see `centre_strains`."""
    stress = law.matrix() @ centre_strains(spacing, law)
    return mode_stiffness(stress.T @ VON_MISES @ stress, len(spacing))
