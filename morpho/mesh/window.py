"""A cell field on a rank's box and on what lies around it or elsewhere, on boxes of equal cells."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from mpi4py import MPI

import numpy as np
from numpy.typing import NDArray

from morpho.pages import zeros

Box = tuple[tuple[int, ...], tuple[int, ...]]  #: first cell and last cell plus one, along x, y(, z)
Slices = tuple[slice, ...]  #: along z, y, x


class Boxes(Protocol):
    """A box of cells of which each rank has a box; a `Partition` is one."""

    @property
    def cells(self) -> tuple[int, ...]:
        """Of the whole box, along x, y(, z)."""

    def box(self, rank: int) -> Box:
        """That of a rank."""


class Piece:
    """A box of cells that this rank wants of a field, whichever ranks own its parts.

    Args:
        wanted: the box that a rank wants, from the one that it owns; the same function on all ranks.
    """

    def __init__(self, comm: MPI.Comm, partition: Boxes, wanted: Callable[[Box], Box]) -> None:
        self.comm = comm
        boxes = [partition.box(rank) for rank in range(comm.size)]
        own, piece = boxes[comm.rank], wanted(boxes[comm.rank])
        self.shape = _shape(piece)  #: of what is wanted along z, y, x
        self._own_shape = _shape(own)
        others = [(rank, box) for rank, box in enumerate(boxes) if rank != comm.rank]
        receive = [(rank, _common(piece, box)) for rank, box in others]
        send = [(rank, _common(own, wanted(box))) for rank, box in others]
        self._receive = [(rank, _slices(part, piece)) for rank, part in receive if part]
        self._send = [(rank, _slices(part, own)) for rank, part in send if part]
        kept = _common(own, piece)
        self._kept = (_slices(kept, piece), _slices(kept, own)) if kept else None
        self._is_own = own == piece

    def of(self, values: NDArray[Any]) -> NDArray[Any]:
        """The piece of the field that has the values (n,), of any type, axes z, y, x; a view of them where it is just
        what this rank has (collective)."""
        own = values.reshape(self._own_shape)
        piece = own if self._is_own else np.empty(self.shape, values.dtype)
        if self._kept and not self._is_own:
            to, at = self._kept
            piece[to] = own[at]
        self.receive(piece, own)
        return piece

    def receive(self, piece: NDArray[Any], own: NDArray[Any]) -> None:
        """Put the parts that other ranks own into a piece, and send them theirs; axes z, y, x (collective)."""
        requests = [self.comm.Isend(_bytes(np.ascontiguousarray(own[part])), rank) for rank, part in self._send]
        received = [np.empty(piece[part].shape, piece.dtype) for _, part in self._receive]
        requests += [
            self.comm.Irecv(_bytes(block), rank) for (rank, _), block in zip(self._receive, received, strict=True)
        ]
        MPI.Request.Waitall(requests)
        for (_, part), block in zip(self._receive, received, strict=True):
            piece[part] = block


class Window:
    """This rank's box widened by layers of other ranks' cells, however far those reach.

    Args:
        width: layers on each side along x, y(, z); fewer where the whole box ends.
    """

    def __init__(self, comm: MPI.Comm, partition: Boxes, width: tuple[int, ...]) -> None:
        own = partition.box(comm.rank)
        self._piece = Piece(comm, partition, lambda box: _widened(box, width, partition.cells))
        self.shape, self._own_shape = self._piece.shape, _shape(own)  #: of the window along z, y, x, and of this box
        self.inner = _slices(own, _widened(own, width, partition.cells))  #: this rank's box in its window

    def extend(self, values: NDArray[Any], rows: NDArray[np.bool_] | None = None) -> NDArray[Any]:
        """Values (n,) of any type with those around them, axes z, y, x; a view if there are none (collective).

        Where only some rows (z, y) are not zero, the others take no memory.
        """
        own = values.reshape(self._own_shape)
        if rows is None or own.shape == self.shape:
            return self._piece.of(values)
        wide = zeros(self.shape, values.dtype, sparse=True)
        wide[self.inner][rows] = own[rows]
        self._piece.receive(wide, own)
        return wide

    def complete(self, values: NDArray[Any]) -> NDArray[Any]:
        """The array with the axes z, y, x of the window, whose inner part is there, with what lies around it
        (collective)."""
        self._piece.receive(values, values[self.inner])
        return values


def _bytes(block: NDArray[Any]) -> NDArray[np.uint8]:
    return block.reshape(-1).view(np.uint8)


def _widened(box: Box, width: tuple[int, ...], cells: tuple[int, ...]) -> Box:
    low, high = box
    return tuple(max(0, a - w) for a, w in zip(low, width, strict=True)), tuple(
        min(n, b + w) for b, w, n in zip(high, width, cells, strict=True)
    )


def _common(one: Box, other: Box) -> Box | None:
    low, high = tuple(map(max, one[0], other[0])), tuple(map(min, one[1], other[1]))
    return (low, high) if all(a < b for a, b in zip(low, high, strict=True)) else None


def _shape(box: Box) -> tuple[int, ...]:
    x, y, *z = (b - a for a, b in zip(*box, strict=True))
    return (*(z or [1]), y, x)


def _slices(part: Box, whole: Box) -> Slices:
    """Where a part of a box lies in it."""
    x, y, *z = (slice(a - start, b - start) for a, b, start in zip(*part, whole[0], strict=True))
    return (*(z or [slice(0, 1)]), y, x)
