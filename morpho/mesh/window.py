"""A cell field on a rank's box and on what lies around it, on boxes of equal cells."""

from __future__ import annotations

from typing import Any

from mpi4py import MPI

import numpy as np
from numpy.typing import NDArray

from morpho.mesh.partition import Partition

Box = tuple[tuple[int, ...], tuple[int, ...]]  #: first cell and last cell plus one, along x, y(, z)
Slices = tuple[slice, ...]  #: along z, y, x


class Window:
    """This rank's box widened by layers of other ranks' cells, however far those reach.

    Args:
        width: layers on each side along x, y(, z); fewer where the whole box ends.
    """

    def __init__(self, comm: MPI.Comm, partition: Partition, width: tuple[int, ...]) -> None:
        self.comm = comm
        boxes = [partition.box(rank) for rank in range(comm.size)]
        own, wide = boxes[comm.rank], _widened(boxes[comm.rank], width, partition.cells)
        self.shape = _shape(wide)  #: of the window along z, y, x
        self.inner = _slices(own, wide)  #: this rank's box in its window
        self._own_shape = _shape(own)
        others = [(rank, box) for rank, box in enumerate(boxes) if rank != comm.rank]
        receive = [(rank, _common(wide, box)) for rank, box in others]
        send = [(rank, _common(own, _widened(box, width, partition.cells))) for rank, box in others]
        self._receive = [(rank, _slices(part, wide)) for rank, part in receive if part]
        self._send = [(rank, _slices(part, own)) for rank, part in send if part]

    def extend(self, values: NDArray[Any]) -> NDArray[Any]:
        """Values (n,) of any type with those around them, axes z, y, x; a view if there are none (collective)."""
        own = values.reshape(self._own_shape)
        if not self._receive:
            return own
        wide = np.empty(self.shape, values.dtype)
        wide[self.inner] = own
        received = [np.empty(wide[part].shape, wide.dtype) for _, part in self._receive]
        requests = [
            self.comm.Irecv(_bytes(block), rank) for (rank, _), block in zip(self._receive, received, strict=True)
        ]
        requests += [self.comm.Isend(_bytes(np.ascontiguousarray(own[part])), rank) for rank, part in self._send]
        MPI.Request.Waitall(requests)
        for (_, part), block in zip(self._receive, received, strict=True):
            wide[part] = block
        return wide


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
