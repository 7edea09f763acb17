"""Cells that are one cell of the design: their design variables count as one, their mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from morpho.design.images import Mean, mean_of
from morpho.interfaces import Array, Pullback
from morpho.mesh import Mesh, VoxelMesh


class EqualCells:
    """y_i = sum_j m_j x_j / sum_j m_j over the images j of each cell i, m_j = 1 for cells that count, else 0.

    The mean A over all images is self-adjoint (their turns and reflections form a group), so the pullback of
    y = A m x / A m is d -> m A (d / A m). Cells none of whose images count are left as they are; nothing is pulled back
    from them. An orthogonal projection where all count, or none, of the images of a cell: equal variables stay so.
    """

    def __init__(self, mesh: Mesh | VoxelMesh, means: Sequence[Mean], counted: NDArray[np.bool_] | None = None) -> None:
        """Of the means, with the cells (n,) that count, by default all (collective)."""
        self._means = means
        self._field: Callable[[Array], Array] = mesh.grid if isinstance(mesh, VoxelMesh) else _same
        self._listed: Callable[[Array], Array] = mesh.listed if isinstance(mesh, VoxelMesh) else _same
        there = None if isinstance(mesh, Mesh) else mesh.filled
        self._counted = self._share = None
        if mesh.comm.allreduce(counted is not None or there is not None):
            self._counted = np.ones(mesh.n) if counted is None else counted.astype(np.float64)
            self._share = self._mean(self._counted)

    def apply(self, x: Array) -> tuple[Array, Pullback]:
        """The means (n,) and their pullback (collective)."""
        if self._counted is None or self._share is None:
            return self._mean(x), self._mean
        counted, share = self._counted, self._share
        y = np.divide(self._mean(counted * x), share, out=np.array(x), where=share > 0)

        def pull(d: Array) -> Array:
            spread = np.divide(d, share, out=np.zeros_like(d), where=share > 0)
            return np.asarray(counted * self._mean(spread))

        return y, pull

    def _mean(self, values: Array) -> Array:
        return self._listed(mean_of(self._means, self._field(np.ascontiguousarray(values))))


def _same(values: Array) -> Array:
    return values
