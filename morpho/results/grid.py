"""This rank's piece of the mesh, as plain arrays or as a box of equal cells."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from mpi4py import MPI

import numpy as np
from numpy.typing import NDArray

from morpho.interfaces import Array


@dataclass(frozen=True)
class Grid:
    """Owned cells of one rank with the points they need."""

    points: Array  #: (p, 3) coordinates
    cells: NDArray[np.integer]  #: (n, nv) local point numbers in VTK node order
    vtk_cell_type: int  #: 5 triangle, 9 quadrilateral, 10 tetrahedron, 12 hexahedron
    key: NDArray[np.int64]  #: (n,) global cell number in 0..N-1, the same for every number of ranks
    comm: MPI.Comm
    #: (p,) number of each point among those of all ranks; the own ones come first, and are numbered one after the other
    #: from rank to rank. None: every point is this rank's own, also where another rank has one there
    point_key: NDArray[np.int64] | None = None
    own_points: int | None = None  #: how many are own ones, None for all


@dataclass(frozen=True)
class ImageGrid:
    """One rank's box out of a box of equal cells; cells and points are ordered with x fastest, then y, then z.

    Neighbouring ranks repeat the points between them; in 2-D there is a single layer of points in z.
    """

    cells: tuple[int, ...]  #: of the whole box, along x, y(, z)
    low: tuple[int, ...]  #: first cell of this rank
    high: tuple[int, ...]  #: last cell of this rank plus one
    origin: Array  #: (3,) lowest corner of the whole box
    spacing: Array  #: (3,) edges of a cell
    comm: MPI.Comm
    slots: NDArray[np.integer] | None = None  #: (n,) numbers in this rank's box of the cells that exist, None for all

    def spread(self, values: NDArray[Any]) -> NDArray[Any] | Spread:
        """Values (n, ...) of the cells that exist, with zeros for the others (local)."""
        if self.slots is None:
            return values
        count = math.prod(b - a for a, b in zip(self.low, self.high, strict=True))
        return Spread(values, self.slots, count)


@dataclass(frozen=True)
class Spread:
    """Values (n, ...) at some places of an array, zeros elsewhere; a slice of it is made when it is asked for."""

    values: NDArray[Any]
    slots: NDArray[np.integer]  #: (n,) the places, sorted
    count: int  #: entries of the array

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.count, *self.values.shape[1:])

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, part: slice) -> NDArray[Any]:
        start, stop, _ = part.indices(self.count)
        first, after = np.searchsorted(self.slots, (start, stop))
        out = np.zeros((stop - start, *self.values.shape[1:]), self.values.dtype)
        out[self.slots[first:after] - start] = self.values[first:after]
        return out
