"""Geometric multigrid on nested boxes of cells, all with the same element matrix, as a preconditioner in float32.

A coarse cell gets the mean modulus of its children. Compared with Galerkin products this costs a few more iterations,
and saves their set-up and their memory: every grid runs the same kernel. What the mean makes too stiff is made up for
by a W-cycle, which costs little since each grid has an eighth of the cells of the one before.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from mpi4py import MPI

import numpy as np
import scipy.linalg

from morpho.errors import SolverError
from morpho.fem.voxel.coarsening import (
    Dofs,
    Floats,
    Mask,
    cell_shape,
    coarsen_mask,
    coarsen_springs,
    complete,
    entries,
    node_shape,
)
from morpho.fem.voxel.cycle import Level, as_list, w_cycle
from morpho.fem.voxel.element import Element, node_offsets
from morpho.fem.voxel.grid import Grid
from morpho.fem.voxel.halo import SharedPlanes
from morpho.fem.voxel.merged import Merged, Move
from morpho.fem.voxel.present import Present
from morpho.fem.voxel.vectors import (
    Runs,
    add_prolonged,
    add_scaled_by_nodes,
    assemble,
    chebyshev_step,
    clear,
    coarsen_moduli,
    copy,
    restrict,
    scale_by_nodes,
    smoothing_weights,
    sum_at_nodes,
    sum_squares_at_nodes,
    whole_rows,
)
from morpho.fem.voxel.work import Work
from morpho.interfaces import Array
from morpho.mesh.partition import FEW, Partition, on_fewer, split
from morpho.pages import zeros

COARSEST = 500  #: unknowns that are solved for directly
SMALL = 5000  #: unknowns of a grid that every rank keeps whole
GATHERED = 30  #: so many times fewer than one of few ranks has on the finest grid make a grid small, too
WORTH = 4  #: so many times fewer ranks are worth moving a grid to them
DEEP = 4  #: depth from which on the cycle of many ranks visits the next grid once: twice would double its messages
FAINT = 1e-9  #: relative stiffness to the ground of what nothing holds, on the coarsest grid
STEPS = (1, 2, 4)  #: smoothing steps on the finest grid, the next one, and all others
DEEPER = (1, 4, 8)  #: where designs are of thin struts

#: Weights of the fourth-kind Chebyshev smoother, up to 4 steps optimized (Lottes 2023; Phillips & Fischer 2022)
WEIGHTS = {
    1: (1.12500000000000,),
    2: (1.02387287570313, 1.26408905371085),
    4: (1.00391310427285, 1.04035811188593, 1.14863498546254, 1.38268869241000),
    8: (1.0,) * 8,
}


class Rule(NamedTuple):
    """What the number of ranks on the finest grid decides about all of them."""

    small: float  #: unknowns of a grid that every rank keeps whole
    deep: float  #: depth from which on a cycle visits the next grid once

    def visits(self, depth: int, is_exact: bool) -> int:
        """Cycles of the next grid in one of this depth, which may solve for it exactly (local)."""
        return 1 if depth == 0 or depth >= self.deep or is_exact else 2


class Smoothed:
    """This rank's part of a grid with a smoother, and the coarser grid; see `cycle` for the same on one rank."""

    is_exact = False

    def __init__(
        self,
        element: Element,
        planes: SharedPlanes,
        mask: Mask,
        depth: int,
        springs: Array | None,
        present: Present,
        coarser: Grid,
        work: Work | None,
        rule: Rule,
    ) -> None:
        nz, ny, _, nx = mask.shape
        self.element, self.planes, self.present, self.coarser = element, planes, present, coarser
        sparse = present.sparse
        self.held: Dofs = np.flatnonzero(mask)
        self.sprung, self.springs = entries(springs)
        self.spread = complete(springs, planes)
        self.depth, self.steps = depth, steps_at(depth)
        self.visits = rule.visits(depth, coarser.is_exact)
        work = work or Work(mask.shape, cell_shape(mask), sparse)
        self.E = work.zeros(cell_shape(mask))
        self.x, self.b, self.r = work.x, work.b, work.r
        self.step = work.zeros(mask.shape if self.steps > 1 else (0, 0, 0, 0))
        self.flexibility = work.zeros((nz, ny, 1, nx))  #: of each node, inverse of the raised diagonal
        self.modes = -element.modes.astype(np.float32)
        self.scale = (1 / (element.bound * element.diagonal)).astype(np.float32)

    @property
    def runs(self) -> Runs:
        return self.present.runs

    def refresh(self) -> None:
        self.present.update(self.E)
        set_flexibility(self.flexibility, self.E, self.spread, self.element, self.planes, self.present.sparse)
        coarsen_moduli(self.coarser.E, self.E, self.element.layers)
        self.coarser.refresh()

    def deepen(self, deeper: bool) -> None:
        self.steps = steps_at(self.depth, deeper)
        self.coarser.deepen(deeper)

    def cycle(self) -> None:
        self._hold(self.b)
        self._smooth(from_zero=True)
        for _ in range(self.visits):
            self._residual()
            self.planes.keep_owned(self.r)
            clear(self.coarser.b, self.coarser.runs)
            restrict(self.coarser.b, self.r, self.runs)
            self.planes.sum(self.coarser.b)
            self.coarser.cycle()
            add_prolonged(self.x, self.coarser.x, self.runs)
            self._hold(self.x)
            self._smooth(from_zero=False)

    def close(self) -> None:
        self.coarser.close()

    def _smooth(self, from_zero: bool) -> None:
        """Chebyshev steps of the fourth kind on A x = b, diagonally scaled (collective)."""
        weights = np.array(WEIGHTS[self.steps], np.float32)
        if self.steps == 1:
            scale = weights[0] * np.float32(4 / 3) * self.scale
            if from_zero:
                scale_by_nodes(self.x, self.b, self.flexibility, scale, self.runs)
            else:
                self._residual()
                add_scaled_by_nodes(self.x, self.r, self.flexibility, scale, self.runs)
            return
        if from_zero:
            clear(self.x, self.runs)
            copy(self.r, self.b, self.runs)
        else:
            self._residual()
        clear(self.step, self.runs)
        for i, weight in enumerate(weights, start=1):
            momentum, factor = np.float32((2 * i - 3) / (2 * i + 1)), np.float32((8 * i - 4) / (2 * i + 1))
            scaled = factor * self.scale
            chebyshev_step(self.x, self.step, self.r, self.flexibility, scaled, momentum, weight, self.runs)
            if i < self.steps:
                self._subtract(self.step)

    def _residual(self) -> None:
        """r = b - A x (collective)."""
        copy(self.r, self.b, self.runs)
        self._subtract(self.x)

    def _subtract(self, v: Floats) -> None:
        """r -= A v (collective)."""
        self.planes.keep_owned(self.r)
        self.element.kernels.add_stiffness(self.r, v, self.E, self.modes, self.present.pieces)
        self.r.reshape(-1)[self.sprung] -= self.springs * v.reshape(-1)[self.sprung]
        self.planes.sum(self.r)
        self._hold(self.r)

    def _hold(self, v: Floats) -> None:
        v.reshape(-1)[self.held] = 0


class Whole:
    """This rank's part of a grid that every rank keeps the whole of."""

    def __init__(
        self,
        element: Element,
        planes: SharedPlanes,
        mask: Mask,
        depth: int,
        cells: tuple[int, ...],
        springs: Array | None,
        present: Present,
        work: Work | None,
        rule: Rule,
    ) -> None:
        self.planes = planes
        low = planes.partition.box(planes.comm.rank)[0]
        corner = [n // 2**depth for n in (*low, 0)[:3]][::-1]
        self.E = np.zeros(cell_shape(mask), np.float32)
        work = work or Work(mask.shape, self.E.shape)
        self.x, self.b = work.x, work.b
        z, y, x = (slice(a, a + n) for a, n in zip(corner, self.E.shape, strict=True))
        self._cells = z, y, x
        z, y, x = (slice(a, a + n) for a, n in zip(corner, np.delete(mask.shape, 2), strict=True))
        self._nodes = z, y, slice(None), x
        z, y, x = (slice(a.start + first, a.stop) for a, first in zip((z, y, x), planes.first_owned, strict=True))
        self._owned = z, y, slice(None), x
        nz, ny, nx = node_shape(cells)
        whole = np.zeros((nz, ny, element.components, nx), dtype=bool)
        whole[self._nodes] = mask
        planes.comm.Allreduce(MPI.IN_PLACE, whole, MPI.LOR)
        alone = SharedPlanes(MPI.COMM_SELF, split(cells, 1))
        every = Present(alone, whole.shape, present.sparse)
        self.grid = build(element, alone, whole, depth, cells, self._all(springs, whole.shape), every, rule=rule)
        self.present, self.runs = present, whole_rows(mask.shape)
        self.is_exact = self.grid.is_exact

    def refresh(self) -> None:
        self.present.look(self.E)
        self._collect(self.grid.E, self._cells, self.E)
        self.grid.refresh()

    def deepen(self, deeper: bool) -> None:
        self.grid.deepen(deeper)

    def cycle(self) -> None:
        self._collect(self.grid.b, self._owned, self.planes.owned(self.b))
        self.grid.cycle()
        self.x[:] = self.grid.x[self._nodes]

    def close(self) -> None:
        """Nothing to free (local)."""

    def _all(self, springs: Array | None, shape: tuple[int, ...]) -> Array | None:
        """Owned springs of all ranks (collective)."""
        if springs is None:
            return None
        every = np.zeros(shape)
        every[self._nodes] = springs
        self.planes.comm.Allreduce(MPI.IN_PLACE, every, MPI.SUM)
        return every

    def _collect(self, whole: Floats, here: tuple[slice, ...], part: Floats) -> None:
        whole[:] = 0
        whole[here] = part
        self.planes.comm.Allreduce(MPI.IN_PLACE, whole, MPI.SUM)


class Alone:
    """All grids from one depth on, when this rank has the whole of them; the coarsest is solved directly."""

    def __init__(
        self,
        element: Element,
        planes: SharedPlanes,
        mask: Mask,
        depth: int,
        springs: Array | None,
        present: Present,
        work: Work | None,
        rule: Rule,
    ) -> None:
        self.element, self.planes, self.depth = element, planes, depth
        self.grids: list[Level] = []
        self.presents: list[Present] = []
        self.spread: list[Array | None] = []
        while mask.size > COARSEST:
            nz, ny, _, nx = mask.shape
            steps = steps_at(depth)
            coarse = coarsen_mask(mask, planes)
            visits = rule.visits(depth, coarse.size <= COARSEST)
            work = work or Work(mask.shape, cell_shape(mask), present.sparse)
            x, b, r, E = work.x, work.b, work.r, work.zeros(cell_shape(mask))
            step = work.zeros(mask.shape if steps > 1 else (0, 0, 0, 0))
            flexibility, work = work.zeros((nz, ny, 1, nx)), work.coarser(coarse.shape, cell_shape(coarse))
            weights, held = np.array(WEIGHTS[steps], np.float32), np.flatnonzero(mask)
            taking = present.pieces, present.runs
            self.grids.append(Level(E, x, b, r, step, flexibility, held, *entries(springs), weights, visits, *taking))
            self.presents.append(present)
            present = Present(planes, coarse.shape, present.sparse)
            self.spread.append(complete(springs, planes))
            springs = coarsen_springs(springs, coarse.shape, planes)
            mask, depth = coarse, depth + 1
        self.coarsest, self.is_exact = Direct(element, mask, springs), not self.grids
        self.modes = -element.modes.astype(np.float32)
        self.scale = (1 / (element.bound * element.diagonal)).astype(np.float32)
        last = self.coarsest
        first: Any = last if self.is_exact else self.grids[0]
        self.E, self.x, self.b = first.E, first.x, first.b
        self._every = whole_rows(last.x.shape)

    @property
    def runs(self) -> Runs:
        return self._every if self.is_exact else self.presents[0].runs

    def refresh(self) -> None:
        for i, (grid, present) in enumerate(zip(self.grids, self.presents, strict=True)):
            present.update(grid.E)
            self.grids[i] = grid._replace(pieces=present.pieces, runs=present.runs)
            set_flexibility(grid.flexibility, grid.E, self.spread[i], self.element, self.planes, present.sparse)
            coarser = self.grids[i + 1].E if i + 1 < len(self.grids) else self.coarsest.E
            coarsen_moduli(coarser, grid.E, self.element.layers)
        self.coarsest.refresh()
        if not self.is_exact:
            self._compiled = as_list(self.grids)

    def deepen(self, deeper: bool) -> None:
        for i, grid in enumerate(self.grids):
            self.grids[i] = grid._replace(weights=np.array(WEIGHTS[steps_at(self.depth + i, deeper)], np.float32))
        if not self.is_exact:
            self._compiled = as_list(self.grids)

    def cycle(self) -> None:
        if self.is_exact:
            self.coarsest.cycle()
        else:
            last = self.coarsest
            w_cycle(self._compiled, self.modes, self.scale, last.inverse, last.x, last.b)

    def close(self) -> None:
        """Nothing to free (local)."""


class Direct:
    """The coarsest grid, by its inverse."""

    def __init__(self, element: Element, mask: Mask, springs: Array | None) -> None:
        number, shape = np.arange(mask.size).reshape(mask.shape), cell_shape(mask)
        corners = [
            number[z : z + shape[0], y : y + shape[1], :, x : x + shape[2]] for z, y, x in node_offsets(element.dim)
        ]
        self.dofs = np.stack(corners).transpose(1, 2, 4, 0, 3).reshape(-1, len(element.K))
        self.K, self.held, self.springs = element.K, np.flatnonzero(mask), 0.0 if springs is None else springs.ravel()
        self.E = np.zeros(shape, np.float32)
        self.x, self.b = (np.zeros(mask.shape, np.float32) for _ in range(2))
        self.inverse = np.zeros((mask.size, mask.size))

    def refresh(self) -> None:
        A = np.zeros_like(self.inverse)
        assemble(A, self.dofs, self.E.ravel(), self.K)
        A[np.diag_indices(len(A))] += self.springs
        A[self.held] = 0
        A[:, self.held] = 0
        A[self.held, self.held] = 1
        loose = np.flatnonzero(A.diagonal() == 0)  # nodes without a cell
        A[loose, loose] = 1
        if not np.all(self.E):  # what hangs in the air is held a little
            A[np.diag_indices(len(A))] *= 1 + FAINT
        try:
            factor = scipy.linalg.cholesky(A, lower=True, overwrite_a=True, check_finite=False)
        except scipy.linalg.LinAlgError:
            raise SolverError("the stiffness is not positive definite; check the densities and the supports") from None
        half, _ = scipy.linalg.lapack.dtrtri(factor, lower=1)
        np.matmul(half.T, half, out=self.inverse)
        self.inverse[self.held] = 0
        self.inverse[loose] = 0

    def cycle(self) -> None:
        self.x[:] = (self.inverse @ self.b.ravel().astype(np.float64)).reshape(self.x.shape)


def build(
    element: Element,
    planes: SharedPlanes,
    mask: Mask,
    depth: int,
    cells: tuple[int, ...],
    springs: Array | None = None,
    present: Present | None = None,
    work: Work | None = None,
    rule: Rule | None = None,
) -> Grid:
    """The grids from one depth on: parts while the ranks' boxes stay nested and are large, then wholes (collective).

    Many ranks leave the grids of which each would have little to fewer of them, and so on until few are left.

    A coarse dof is held where its basis function does not vanish at a held dof, so that interpolation respects the
    supports.

    Args:
        mask: held dofs of this rank's nodes, (z, y, component, x).
        cells: of the whole grid of this depth, along x, y(, z).
        springs: stiffness to the ground (z, y, component, x), at the nodes that this rank owns; None for none.
        present: what of this depth takes part; None for all.
        work: what the finest grid works in, None for arrays of its own.
        rule: None on the finest grid.
    """
    present = present or Present(planes, mask.shape)
    partition, size = planes.partition, planes.comm.size
    rule = rule or rule_of(element.components, partition, size)
    if size == 1:
        return Alone(element, planes, mask, depth, springs, present, work, rule)
    unknowns, is_last = element.components * math.prod(n + 1 for n in cells), depth == partition.levels
    if unknowns <= rule.small or (is_last and size <= FEW):
        return Whole(element, planes, mask, depth, cells, springs, present, work, rule)
    if size > FEW and (is_last or WORTH * math.prod(on_fewer(partition, depth).grid) <= size):
        return merge(element, planes, mask, depth, cells, springs, present, work, rule)
    coarse_mask = coarsen_mask(mask, planes)
    coarse_springs = coarsen_springs(springs, coarse_mask.shape, planes)
    coarse_present = Present(planes, coarse_mask.shape, present.sparse)
    coarse_cells = tuple(-(-n // 2) for n in cells)
    below = None if work is None else work.coarser(coarse_mask.shape, cell_shape(coarse_mask))
    coarser = build(element, planes, coarse_mask, depth + 1, coarse_cells, coarse_springs, coarse_present, below, rule)
    return Smoothed(element, planes, mask, depth, springs, present, coarser, work, rule)


def rule_of(components: int, partition: Partition, ranks: int) -> Rule:
    """The rule for a number of ranks (local)."""
    if ranks > FEW:
        return Rule(SMALL, DEEP)
    return Rule(max(SMALL, components * math.prod(partition.cells) / (GATHERED * ranks)), math.inf)


def merge(
    element: Element,
    planes: SharedPlanes,
    mask: Mask,
    depth: int,
    cells: tuple[int, ...],
    springs: Array | None,
    present: Present,
    work: Work | None,
    rule: Rule,
) -> Merged:
    """The grids from one depth on, on fewer ranks; see `build` (collective)."""
    move = Move(planes, on_fewer(planes.partition, depth), depth)
    held, stiff = move.moved(mask), None if springs is None else move.moved(springs)
    grid = None
    if move.planes is not None:
        assert held is not None
        if stiff is not None:
            move.planes.keep_owned(stiff)
        every = Present(move.planes, held.shape, present.sparse)
        grid = build(element, move.planes, held, depth, cells, stiff, every, rule=rule)
    return Merged(move, mask.shape, present, work, grid)


def steps_at(depth: int, deeper: bool = False) -> int:
    """Smoothing steps on the grid of a depth (local)."""
    steps = DEEPER if deeper else STEPS
    return steps[min(depth, len(steps) - 1)]


def set_flexibility(
    flexibility: Floats, E: Floats, springs: Array | None, element: Element, planes: SharedPlanes, sparse: bool
) -> None:
    """The smoother's weights (z, y, 1, x): the inverse of the raised diagonal at each node (collective).

    Springs (z, y, 1, x), complete on shared nodes, count where the state has one component. `sparse` as in `zeros`.
    """
    squares = zeros(flexibility.shape, flexibility.dtype, sparse)
    sum_at_nodes(flexibility, E, element.layers)
    sum_squares_at_nodes(squares, E, element.layers)
    planes.sum(flexibility)
    planes.sum(squares)
    smoothing_weights(flexibility, squares, 2**element.dim, element.unevenness)
    if springs is not None:
        flexibility /= 1 + flexibility * (springs / element.diagonal[0]).astype(np.float32)
