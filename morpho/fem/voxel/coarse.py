"""Two scales on a box of equal cells: the grid of blocks is one of the multigrid's own, with the same element matrix.

A block gets the mean modulus of its cells. With the Galerkin product of the constant child matrices instead, blocks
of four are about as accurate as blocks of two with the mean, but take matrices of their own (300 numbers a block) and
several times the iterations; blocks of two with the mean cost less and need neither.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import cached_property

import numpy as np

from morpho.errors import SolverError
from morpho.fem.blocks import CoarseState, Floats, Indices
from morpho.fem.dummy import SIGNS
from morpho.fem.voxel.block_kernels import (
    block_energy_2d,
    block_energy_3d,
    block_energy_scalar_2d,
    block_energy_scalar_3d,
)
from morpho.fem.voxel.cg import ConjugateGradients, Operator
from morpho.fem.voxel.coarsening import Dofs, cell_shape, coarsen_mask
from morpho.fem.voxel.equation import VoxelEquation
from morpho.fem.voxel.halo import SharedPlanes
from morpho.fem.voxel.loads import NodalForces
from morpho.fem.voxel.multigrid import build
from morpho.fem.voxel.present import Present, whole_pieces
from morpho.fem.voxel.vectors import (
    add_prolonged,
    mean_of_nodes,
    multiply_by,
    restrict,
    sum_at_nodes,
    sum_in_blocks,
    whole_rows,
)
from morpho.fem.voxel.work import Work
from morpho.interfaces import Array
from morpho.pages import zeros

RTOL = 0.1  #: relative residual of the solves on blocks, which start from the last design
MAX_ITERATIONS = 200
INVERSE = np.array([0, *(1 / np.arange(1, 9, dtype=np.float32))], np.float32)  #: of the number of cells at a corner
NOTHING = np.zeros((0, 0, 0))  #: moduli between solves
ENERGY = {  #: by dimension and components
    (2, 1): block_energy_scalar_2d,
    (2, 2): block_energy_2d,
    (3, 1): block_energy_scalar_3d,
    (3, 3): block_energy_3d,
}


class VoxelCoarse:
    """`blocks.CoarsePhysics` of the voxel engine.

    Args:
        block: cells along the edge of a block, a power of two; no block is cut between ranks.
    """

    def __init__(self, fine: VoxelEquation, block: int) -> None:
        self.fine, self.block = fine, block
        self.planes, mesh, element = fine.planes, fine.box, fine.element
        mask, cells, depth = fine.held_mask(), mesh.cells, block.bit_length() - 1
        self._shapes = [mask.shape]  #: of nodal arrays, from cells to blocks
        for _ in range(depth):
            mask = coarsen_mask(mask, self.planes)
            self._shapes.append(mask.shape)
            cells = tuple(-(-n // 2) for n in cells)
        self.shape = cell_shape(mask)
        self.n_blocks = int(np.prod(self.shape))

        springs = np.zeros(mask.shape)
        for forces in fine.springs:
            springs += self._restricted(forces.dofs, forces.values)
        self.planes.keep_owned(springs)
        sprung = np.flatnonzero(springs)
        held = np.flatnonzero(mask)
        # In the preconditioner convection counts: it may be all that holds the temperature.
        ground = np.asarray(springs / fine.material.E) if element.components == 1 and fine.springs else None
        present = Present(self.planes, mask.shape, sparse=mesh.filled is not None)
        work = Work(mask.shape, self.shape, present.sparse)
        grid = build(element, self.planes, mask, depth, cells, ground, present, work)
        self._E, stiffness = NOTHING, springs.reshape(-1)[sprung]
        operator = Operator(element, self.planes, lambda _: self._E, held, sprung, stiffness, present)
        self._cg = ConjugateGradients(operator, grid, work, float(fine.material.E), RTOL, MAX_ITERATIONS)
        # Mean modulus times block^(dim-2), the factor between the element matrices; missing cells count as void.
        self._scale = block ** (element.dim - 2) / block**element.dim
        self._modes = element.modes.astype(np.float32)
        given = (*fine.forces, *fine.dummies)
        self._loads = [NodalForces.of(self._restricted(forces.dofs, forces.values)) for forces in given]
        self._owned = [forces.owned(self.planes, mask.shape) for forces in self._loads]
        self._values = self._held_values(operator.held)
        self._is_set_up = False  #: whether the preconditioner is for this design
        self.u = [np.zeros(mask.shape) for _ in given]  #: of the load cases, then of the dummy loads
        self._u_before = [u.copy() for u in self.u]  #: when the cells were last in step

    @cached_property
    def owner(self) -> Indices:
        z, y, x = (np.arange(n, dtype=np.int32) // self.block for n in self.fine.box.shape)
        return self.fine.box.listed((z[:, None, None] * self.shape[1] + y[:, None]) * self.shape[2] + x)

    @cached_property
    def _cells_of(self) -> Floats:
        counts = np.bincount(self.owner, minlength=self.n_blocks)
        return np.maximum(counts, 1, out=counts).astype(np.float32)

    @cached_property
    def _smooth_cells(self) -> CornerMean:
        mesh = self.fine.box
        return CornerMean(self.planes, mesh.grid(np.ones(mesh.n, np.float32)), self.fine.element.layers)

    @cached_property
    def _smooth_blocks(self) -> CornerMean:
        return CornerMean(self.planes, np.ones(self.shape, np.float32), self.fine.element.layers)

    def solve(self, rho: Array) -> CoarseState:
        start = time.perf_counter()
        fine, cg, k = self.fine, self._cg, len(self.fine.weights)
        self._E = np.empty(self.shape)
        sum_in_blocks(self._E, fine.box.grid(fine.material.stiffness(rho)), self.block)
        self._E *= self._scale
        cg.operator.present.update(self._E)
        np.divide(self._E, fine.material.E, out=cg.preconditioner.E, casting="same_kind")
        self._is_set_up = False
        energy_of_cells = ENERGY[fine.box.dim, fine.element.components]
        energy = np.empty((k, fine.box.n), np.float32)
        compliance, mean_energy, iterations, stored = np.zeros(k), np.zeros(k), 0, np.empty(self.shape)
        weight_work = np.zeros((k, fine.box.n)) if any(d.any() for d in fine.weight_density) else None
        full = fine.box.filled is None
        cases, loads = len(fine.cases), [np.zeros(self._shapes[-1]) for _ in self._loads]
        for i, (u, load, given) in enumerate(zip(self.u, loads, self._loads, strict=True)):
            given.put(load)
            owned: NodalForces | None = self._owned[i]
            if i < cases and (fine.moving or fine.weight_density[i].any()):
                load += self._self_weight(i, rho)
                owned = None
            iterations += self._solve_case(u, load, self._values if i < cases else np.zeros_like(self._values), owned)
        for j, (u, load, i) in enumerate(self._loaded(loads)):
            cells = energy[j].reshape(fine.box.shape) if full else np.empty(fine.box.shape, np.float32)
            energy_of_cells(cells, u, self._modes, self.block)
            if not full:
                energy[j] = fine.box.listed(cells)
            fine.element.kernels.strain_energy(stored, u, fine.element.modes, whole_pieces(self.shape))
            A = cg.operator
            sums = [float(np.vdot(stored, self._E)), float(np.sum(self._E)) / self._scale, A.spring_energy(u)]
            energy_of_all, stiffness_of_all, in_springs = self.planes.comm.allreduce(np.array(sums))
            compliance[j] = 2 * cg.operator.dot(load, u) - energy_of_all - in_springs
            mean_energy[j] = energy_of_all / stiffness_of_all
            if weight_work is not None:
                weight_work[j] = self._weight_work(i, u)
        cg.rest()
        self._E = NOTHING
        if not np.isfinite(compliance).all():
            raise SolverError("the displacement of the blocks is not finite; check the supports and the material")
        seconds = time.perf_counter() - start
        return CoarseState(compliance, energy, mean_energy, weight_work, iterations, seconds)

    def _loaded(self, loads: list[Array]) -> Iterator[tuple[Array, Array, int]]:
        """Displacement, load and number of the load case of all of them, see `VoxelEquation` (collective)."""
        pairs, cases = self.fine.pairs, len(self.fine.cases)
        for i in range(cases):
            yield self.u[i], loads[i], i
        scale = pairs.fix(self._cg.operator.norm, self.u[:cases], self.u[cases:])
        for i, lam, unit, s in zip(pairs.cases, self.u[cases:], loads[cases:], scale, strict=True):
            for sign in SIGNS:
                yield self.u[i] + sign * s * lam, loads[i] + sign * s * unit, i

    def _solve_case(self, u: Array, load: Array, values: Array, given: NodalForces | None) -> int:
        """Improve u, unless that of the last design will do; iterations (collective)."""
        cg = self._cg
        residual, norm = cg.start(u, lambda out: np.copyto(out, load), values, given, loosely=True)
        if residual <= RTOL * norm:
            return 0
        if not self._is_set_up:
            cg.preconditioner.refresh()
            self._is_set_up = True
        return cg.solve(u)[0]

    def mean(self, values: Array | Floats) -> Floats:
        sums = np.empty(self.shape, np.float32)
        sum_in_blocks(sums, self.fine.box.grid(np.asarray(values)), self.block)
        return np.asarray(sums.ravel() / self._cells_of)

    def smooth_blocks(self, values: Floats) -> Floats:
        return self._smooth_blocks.apply(values.reshape(self.shape)).ravel()

    def smooth(self, values: Array | Floats) -> Floats:
        mesh = self.fine.box
        return mesh.listed(self._smooth_cells.apply(mesh.grid(np.asarray(values))))

    def improve(self) -> None:
        for u, now, before in zip(self.fine.displacements(), self.u, self._u_before, strict=False):
            step = now - before
            for shape in self._shapes[-2:0:-1]:
                finer = np.zeros(shape)
                add_prolonged(finer, step, whole_rows(shape))
                step = finer
            add_prolonged(u, step, self.fine.cg.operator.runs)
            before[:] = now

    def follow(self) -> None:
        self._u_before = self._u_before or [np.empty_like(u) for u in self.u]
        for before, u in zip(self._u_before, self.u, strict=True):
            before[:] = u

    def part(self) -> None:
        self._u_before.clear()

    def close(self) -> None:
        self._cg.preconditioner.close()

    def _restricted(self, dofs: Dofs, values: Array) -> Array:
        """A fine load vector, complete on shared nodes, on the nodes of the blocks (collective)."""
        load = zeros(self._shapes[0], sparse=True)
        load.reshape(-1)[dofs] = values
        for shape in self._shapes[1:]:
            self.planes.keep_owned(load)
            coarse = np.zeros(shape)
            restrict(coarse, load, whole_rows(load.shape))
            self.planes.sum(coarse)
            load = coarse
        return load

    def _held_values(self, held: Dofs) -> Array:
        """Prescribed displacement of held dofs of the blocks: the mean over the held dofs they move (collective)."""
        supports = self.fine.supports
        values = self._restricted(supports.dofs, supports.values).reshape(-1)[held]
        weights = self._restricted(supports.dofs, np.ones(len(supports.dofs))).reshape(-1)[held]
        return np.asarray(values / np.maximum(weights, 1e-300))

    def _self_weight(self, i: int, rho: Array) -> Array | float:
        """Nodal forces of the weight of case i (collective)."""
        density = self.fine.weight_density[i]
        if not density.any():
            return 0.0
        mass = np.empty(self.shape)
        sum_in_blocks(mass, self.fine.box.grid(rho), self.block)
        nodes = np.empty((*self.u[i].shape[:2], 1, self.u[i].shape[3]))
        sum_at_nodes(nodes, mass, self.fine.element.layers)
        self.planes.sum(nodes)
        return np.asarray(nodes * (density * self.fine.box.cell_volume / 2**self.fine.box.dim)[:, None])

    def _weight_work(self, i: int, u: Array) -> Array:
        """(n,) work of the weight density of case i in each cell, a displacement averaged over its block (local)."""
        work, mean = np.zeros(self.n_blocks), np.empty(self.shape)
        for c, density in enumerate(self.fine.weight_density[i]):
            mean_of_nodes(mean, u, c, self.fine.element.layers)
            work += density * self.fine.box.cell_volume * mean.ravel()
        return np.asarray(work[self.owner])


class CornerMean:
    """Smooths cell values by way of the corners: a corner gets the mean of its cells, a cell that of its corners."""

    def __init__(self, planes: SharedPlanes, there: Floats, layers: int) -> None:
        """For cells (z, y, x) that are there, 1 or 0 each (collective)."""
        self.planes, self.layers = planes, layers
        self._counts = self._at_corners(there).astype(np.uint8)

    def apply(self, values: Array | Floats) -> Floats:
        """Smoothed values (z, y, x) in float32 (collective)."""
        corners = self._at_corners(values.astype(np.float32, copy=False))
        multiply_by(corners, INVERSE, self._counts)
        out = np.empty(values.shape, np.float32)
        mean_of_nodes(out, corners, 0, self.layers)
        return out

    def _at_corners(self, values: Floats) -> Floats:
        """Sum over the cells of all ranks around each of this rank's corners (collective)."""
        nz, ny, nx = values.shape
        corners = np.empty((nz + self.layers - 1, ny + 1, 1, nx + 1), np.float32)
        sum_at_nodes(corners, values, self.layers)
        self.planes.sum(corners)
        return corners
