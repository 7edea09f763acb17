"""Whole columns of cells along a direction on every rank, on boxes of equal cells."""

from __future__ import annotations

import itertools

from mpi4py import MPI

import numpy as np
from numpy.typing import NDArray

from morpho.interfaces import Array
from morpho.mesh import VoxelMesh
from morpho.mesh.window import Box


class Columns:
    """Moves fields between the boxes of the ranks and columns along a direction.

    The ranks of a line along it deal out the columns of their boxes, by the longer of the other two directions. As a
    box of ranks (`Boxes`) it is that of a layer, whose second direction comes first.
    """

    def __init__(self, mesh: VoxelMesh, line: MPI.Comm, d: int) -> None:
        """Of a mesh with the ranks beside this one along direction d, 0 is x (local)."""
        self._line, self._axis, self._own = line, 2 - d, mesh.shape
        self._partition = mesh.partition
        self._d = d
        whole = (*mesh.cells, 1)[:3]
        others = [e for e in (2, 1, 0) if e != d]  #: directions of a layer, slow one first
        self.cells = (whole[others[1]], whole[others[0]])
        self._others, self._cut = others, int(whole[others[1]] > whole[others[0]])
        self.shape = self._shape(self.box(mesh.comm.rank))  #: of this rank's part of a layer
        self._first, self.count = mesh.low[d], mesh.cells[d]

    def box(self, rank: int) -> Box:
        """First cell and last cell plus one of the layers of a rank, fast direction first."""
        low, high = self._partition.box(rank)
        place, parts = self._partition.place(rank)[self._d], self._partition.grid[self._d]
        ends = [((*low, 0)[e], (*high, 1)[e]) for e in self._others]
        a, b = ends[self._cut]
        ends[self._cut] = a + (b - a) * place // parts, a + (b - a) * (place + 1) // parts
        (slow_a, slow_b), (fast_a, fast_b) = ends
        return (fast_a, slow_a), (fast_b, slow_b)

    def gathered(self, field: NDArray[np.float64]) -> Array:
        """(count, slow, fast) columns, from this rank's box (z, y, x) (collective)."""
        layers = np.moveaxis(field, self._axis, 0)
        if self._line.size == 1:
            return np.ascontiguousarray(layers)
        parts = np.array_split(layers, self._ends(layers.shape[1 + self._cut]), axis=1 + self._cut)
        sent = np.concatenate([part.reshape(-1) for part in parts])
        received = np.empty((self.count, *self.shape))
        counts = self._counts()
        self._line.Alltoallv([sent, [part.size for part in parts]], [received, counts])
        return received

    def dealt(self, columns: Array) -> Array:
        """The transpose: this rank's box (z, y, x) from columns (collective)."""
        layers = np.empty(np.moveaxis(np.empty(self._own, dtype=bool), self._axis, 0).shape)
        if self._line.size == 1:
            layers[:] = columns
        else:
            cuts = self._ends(layers.shape[1 + self._cut])
            parts = np.array_split(layers, cuts, axis=1 + self._cut)
            received = np.empty(layers.size)
            sizes = [part.size for part in parts]
            self._line.Alltoallv([np.ascontiguousarray(columns), self._counts()], [received, sizes])
            for part, block in zip(parts, np.split(received, np.cumsum(sizes)[:-1]), strict=True):
                part[:] = block.reshape(part.shape)
        return np.ascontiguousarray(np.moveaxis(layers, 0, self._axis))

    def _ends(self, length: int) -> list[int]:
        return [length * (i + 1) // self._line.size for i in range(self._line.size - 1)]

    def _counts(self) -> list[int]:
        """Values of this rank's columns that each rank of the line has."""
        cuts = self._partition.cuts[self._d]
        return [(b - a) * self.shape[0] * self.shape[1] for a, b in itertools.pairwise(cuts)]

    @staticmethod
    def _shape(box: Box) -> tuple[int, int]:
        (fast_a, slow_a), (fast_b, slow_b) = box
        return slow_b - slow_a, fast_b - fast_a
