"""A coarse grid that moves to fewer ranks, where each of many would have too little of it to compute with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mpi4py import MPI

import numpy as np
from numpy.typing import NDArray

from morpho.errors import SolverError
from morpho.fem.voxel.grid import Grid
from morpho.fem.voxel.halo import SharedPlanes
from morpho.fem.voxel.present import Present
from morpho.fem.voxel.vectors import whole_rows
from morpho.fem.voxel.work import Work
from morpho.mesh.partition import Partition
from morpho.parallel import any_rank

Box = tuple[tuple[int, ...], tuple[int, ...]]  #: first and last plus one along z, y, x
Boxes = Callable[[int], Box | None]  #: of a rank, None for nothing; the same function on all ranks


class Move:
    """The way of a grid from all ranks to the fewer ones of another partition, and back.

    Those get a communicator of their own, which lives until `close`.
    """

    def __init__(self, planes: SharedPlanes, fewer: Partition, depth: int) -> None:
        self.comm, every = planes.comm, planes.partition
        size, count = self.comm.size, int(np.prod(fewer.grid))
        number = {i * size // count: i for i in range(count)}  # of the ranks that get a part: far from each other
        own = self.comm.Split(0 if self.comm.rank in number else MPI.UNDEFINED, self.comm.rank)
        self.planes = None if own == MPI.COMM_NULL else SharedPlanes(own, fewer)  #: None where nothing comes

        def here(ends: int, is_owned: bool = False) -> Boxes:
            return lambda rank: _box(every, rank, depth, ends, is_owned)

        def there(ends: int, is_owned: bool = False) -> Boxes:
            return lambda rank: _box(fewer, number[rank], depth, ends, is_owned) if rank in number else None

        self.cells = Transfer(self.comm, here(0), here(0), there(0))  #: (z, y, x) to the fewer ranks
        self.nodes = Transfer(self.comm, here(1), here(1, is_owned=True), there(1))  #: (z, y, component, x) to them
        self.back = Transfer(self.comm, there(1), there(1, is_owned=True), here(1))  #: and from them
        self.shape = self.nodes.shape  #: nodes (z, y, x) of this rank's part there, None for no part

    def moved(self, v: NDArray[Any]) -> NDArray[Any] | None:
        """Nodal values (z, y, component, x) of this rank's part there (collective)."""
        out = None if self.shape is None else np.zeros((*self.shape[:2], v.shape[2], self.shape[2]), v.dtype)
        self.nodes.move(v, out)
        return out

    def close(self) -> None:
        """Free the communicator (collective)."""
        if self.planes is not None:
            self.planes.comm.Free()


class Transfer:
    """Moves the values of boxes of a grid between ranks.

    Args:
        source: the box of the array that a rank has.
        given: what it gives of that: no two ranks give the same.
        target: the box of the array that a rank gets.
    """

    def __init__(self, comm: MPI.Comm, source: Boxes, given: Boxes, target: Boxes) -> None:
        self.comm = comm
        has, gives, gets = source(comm.rank), given(comm.rank), target(comm.rank)
        ranks = range(comm.size)
        self._send = [] if has is None else [(r, part) for r in ranks if (part := _common(gives, target(r), has))]
        self._receive = [] if gets is None else [(r, part) for r in ranks if (part := _common(given(r), gets, gets))]
        self.shape = None if gets is None else tuple(b - a for a, b in zip(*gets, strict=True))  #: of the target

    def move(self, source: NDArray[Any] | None, target: NDArray[Any] | None) -> None:
        """Fill the target; arrays (z, y, x) or (z, y, component, x), None where a rank has no such box (collective)."""
        requests, arriving = [], []
        for rank, part in self._receive:
            assert target is not None
            arriving.append((view := target[_across(part, target)], block := np.empty(view.shape, view.dtype)))
            requests.append(self.comm.Irecv(block, rank))
        for rank, part in self._send:
            assert source is not None
            requests.append(self.comm.Isend(np.ascontiguousarray(source[_across(part, source)]), rank))
        MPI.Request.Waitall(requests)
        for view, block in arriving:
            view[:] = block


class Merged:
    """This rank's part of a grid that fewer ranks go on with, as one grid of theirs."""

    is_exact = False

    def __init__(
        self, move: Move, shape: tuple[int, ...], present: Present, work: Work | None, grid: Grid | None
    ) -> None:
        cells = max(shape[0] - 1, 1), shape[1] - 1, shape[3] - 1
        self.move, self.present, self.grid = move, present, grid
        self.E, work = np.zeros(cells, np.float32), work or Work(shape, cells)
        self.x, self.b, self.runs = work.x, work.b, whole_rows(shape)

    def refresh(self) -> None:
        self.present.look(self.E)
        self.move.cells.move(self.E, None if self.grid is None else self.grid.E)
        failure: SolverError | None = None
        try:
            if self.grid is not None:
                self.grid.refresh()
        except SolverError as error:  # on all ranks that have the grid; the others are told
            failure = error
        if any_rank(self.move.comm, failure is not None):
            raise failure or SolverError("the stiffness is not positive definite; check the densities and the supports")

    def deepen(self, deeper: bool) -> None:
        if self.grid is not None:
            self.grid.deepen(deeper)

    def cycle(self) -> None:
        self.move.nodes.move(self.b, None if self.grid is None else self.grid.b)
        if self.grid is not None:
            self.grid.cycle()
        self.move.back.move(None if self.grid is None else self.grid.x, self.x)

    def close(self) -> None:
        if self.grid is not None:
            self.grid.close()
        self.move.close()


def _box(partition: Partition, rank: int, depth: int, ends: int, is_owned: bool) -> Box:
    """Cells of a rank on the grid of a depth, or nodes with one more at the ends; of those that it owns (local)."""
    low, high = partition.box(rank)
    first = [a // 2**depth for a in low]
    last = [-(-b // 2**depth) + ends for b in high]
    if is_owned:
        first = [a + (a > 0) for a in first]
    flat = len(low) == 2
    return (*([0] * flat), *first[::-1]), (*([1] * flat), *last[::-1])


def _common(one: Box | None, other: Box | None, whole: Box) -> tuple[slice, ...] | None:
    """Where the box that two have in common lies in another, None where there is none (local)."""
    if one is None or other is None:
        return None
    ends = [(max(a, b), min(c, d)) for a, b, c, d in zip(one[0], other[0], one[1], other[1], strict=True)]
    if any(a >= b for a, b in ends):
        return None
    return tuple(slice(a - start, b - start) for (a, b), start in zip(ends, whole[0], strict=True))


def _across(part: tuple[slice, ...], array: NDArray[Any]) -> tuple[slice, ...]:
    """The part (z, y, x) of an array with axes z, y(, component), x (local)."""
    return part if array.ndim == 3 else (*part[:2], slice(None), part[2])
