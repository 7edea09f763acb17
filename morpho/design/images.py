"""Means over the images of each cell, on boxes of equal cells: mirrored, turned, repeated; each is self-adjoint.

Fields have the axes z, y, x and are zero where no cell exists.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Protocol

from mpi4py import MPI

import numpy as np

from morpho.interfaces import Array
from morpho.mesh import VoxelMesh
from morpho.mesh.window import Box, Piece


class Mean(Protocol):
    """A mean over the images of each cell, or several, one after the other, that commute."""

    def of(self, field: Array) -> Array: ...


class Turned:
    """(f + f o g) / 2 for a turn or reflection g of the box onto itself: means of groups of two.

    Args:
        swap: two directions (0 is x) that change places, which takes as many cells along both; None for none.
        reverse: directions that are reversed, before they change places.
    """

    def __init__(self, mesh: VoxelMesh, reverse: Sequence[int], swap: tuple[int, int] | None = None) -> None:
        cells = mesh.cells
        self._flip = tuple(2 - d for d in reverse)
        self._swap = None if swap is None else (2 - swap[0], 2 - swap[1])

        def wanted(box: Box) -> Box:
            low, high = (list(end) for end in box)
            for d in reverse:
                low[d], high[d] = cells[d] - high[d], cells[d] - low[d]
            if swap is not None:
                a, b = swap
                low[a], low[b], high[a], high[b] = low[b], low[a], high[b], high[a]
            return tuple(low), tuple(high)

        self._piece = Piece(mesh.comm, mesh.partition, wanted)

    def of(self, field: Array) -> Array:
        """The mean of a field and its image, a new array (collective)."""
        image = self._piece.of(field)
        if self._swap is not None:
            image = image.swapaxes(*self._swap)
        mean = np.add(np.flip(image, self._flip), field)
        mean *= 0.5
        return mean


class Repeated:
    """The mean of so many pieces along a direction; as many as there are cells make an extrusion.

    Args:
        d: direction, 0 is x.
        times: pieces, which divides the cells along it.
    """

    def __init__(self, mesh: VoxelMesh, line: MPI.Comm, d: int, times: int) -> None:
        self._line, self._axis, self.times = line, 2 - d, times
        self._length = mesh.cells[d] // times
        self._first, self._count = mesh.low[d], mesh.shape[2 - d]

    def of(self, field: Array) -> Array:
        """The mean, in each piece, a new array (collective)."""
        shape = list(field.shape)
        shape[self._axis] = self._length
        if self._length == 1:
            piece = np.add.reduce(field, axis=self._axis, keepdims=True)
        else:
            piece = np.zeros(shape)
            for here, there in self._parts():
                piece[there] += field[here]
        if self._line.size > 1:
            self._line.Allreduce(MPI.IN_PLACE, piece, MPI.SUM)
        piece /= self.times
        mean = np.empty(field.shape)
        if self._length == 1:
            mean[:] = piece
        else:
            for here, there in self._parts():
                mean[here] = piece[there]
        return mean

    def _parts(self) -> list[tuple[tuple[slice, ...], tuple[slice, ...]]]:
        """Where each of this rank's runs of layers lies in its box, and where in a piece."""
        found, at = [], self._first
        while at < self._first + self._count:
            begin = at % self._length
            end = min(self._length, begin + self._first + self._count - at)
            here = slice(at - self._first, at - self._first + end - begin)
            before = (slice(None),) * self._axis
            found.append(((*before, here), (*before, slice(begin, end))))
            at += end - begin
        return found


def mean_of(means: Sequence[Mean], field: Array) -> Array:
    """Over the images by all of them (collective)."""
    return reduce(lambda found, mean: mean.of(found), means, field)
