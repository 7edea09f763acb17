"""Two scales on a refined mesh: the blocks are the cells of an ancestor of the mesh."""

from __future__ import annotations

import time

import numpy as np
import scipy.sparse

from morpho.errors import InputError
from morpho.fem.assembled import AssembledEquation
from morpho.fem.blocks import CoarseState, Floats, Indices
from morpho.fem.material import Given
from morpho.interfaces import Array
from morpho.late import fem, la
from morpho.mesh import Mesh
from morpho.mesh.refine import nodes_of_parent

RTOL = 1e-3  #: relative residual of the solves on blocks
CHUNK = 50_000  #: cells whose nodes are looked up at a time


class AssembledCoarse:
    """`blocks.CoarsePhysics` of the assembled engine.

    A block gets the mean modulus of its cells; on triangles and tetrahedra that is the Galerkin product. Holds PETSc
    objects: use `close` (collective).

    Raises:
        InputError: a support has no node on the mesh of the blocks.
    """

    def __init__(self, fine: AssembledEquation, block: int) -> None:
        self.fine, self.block = fine, block
        mesh = fine.mesh
        self.owner: Indices = np.arange(fine.mesh.n, dtype=np.int32)
        levels = [mesh]
        for _ in range(block.bit_length() - 1):
            assert mesh.parent is not None and mesh.parent_cell is not None
            self.owner = mesh.parent_cell[self.owner]
            mesh = mesh.parent
            levels.append(mesh)
        self.mesh, self.n_blocks = mesh, mesh.n
        self.coarse = fine.on_mesh(mesh)
        if self.coarse.support_complaints:
            said = "; ".join(self.coarse.support_complaints)
            raise InputError(f"gradient.block: on the mesh of blocks of {block}: {said}; use smaller blocks")
        if self.coarse.pinned != fine.pinned:
            said = "a part is held less than on that of the cells; use smaller blocks"
            raise InputError(f"gradient.block: on the mesh of blocks of {block} {said}")
        self.P = _interpolation(levels)
        self.coarse.loads = [self._restricted(load) for load in fine.loads]
        self.coarse.dummies = [self._restricted(load) for load in fine.dummies]
        self.coarse.pairs = fine.pairs
        self.coarse.springs = self._restricted(fine.springs)
        self._volumes = np.bincount(self.owner, fine.mesh.volumes, self.n_blocks)
        self._share = fine.mesh.volumes / self._volumes[self.owner]
        self._smooth_cells, self._smooth_blocks = CornerMean(fine.mesh), CornerMean(mesh)
        self._simplices = mesh.cell_name in ("triangle", "tetrahedron")
        self._u_before = [u.copy() for u in self.coarse.displacements()]  #: when the cells were last in step

    def solve(self, rho: Array) -> CoarseState:
        start = time.perf_counter()
        fine, coarse = self.fine, self.coarse
        E = fine.material.stiffness(rho)
        coarse.material = Given(self._mean(E))
        state = coarse.solve(self._mean(rho), rtol=RTOL)
        weighs = any(density.any() for density in fine.weight_density)
        energy = np.empty((len(fine.weights), fine.mesh.n), np.float32)
        weight_work = np.zeros(energy.shape) if weighs else None
        sums = fine.comm.allreduce(np.append(state.energy @ coarse.material.E, E.sum()))
        for k, (u, i, _) in enumerate(coarse.loaded()):
            if self._simplices and not weighs:  # strains are those of the block
                energy[k] = state.energy[k][self.owner] * self._share
                continue
            energy[k], work = fine.cell_work(i, self._prolonged(u))
            if weight_work is not None:
                weight_work[k] = work
        seconds = time.perf_counter() - start
        mean_energy = sums[:-1] / sums[-1]
        return CoarseState(state.compliance, energy, mean_energy, weight_work, state.linear_iterations, seconds)

    def mean(self, values: Array | Floats) -> Floats:
        return self._mean(np.asarray(values, np.float64)).astype(np.float32)

    def smooth_blocks(self, values: Floats) -> Floats:
        return self._smooth_blocks.apply(values)

    def smooth(self, values: Array | Floats) -> Floats:
        return self._smooth_cells.apply(values)

    def improve(self) -> None:
        fields = (*self.fine.u, *self.fine.lam)
        for u, now, before in zip(fields, self.coarse.displacements(), self._u_before, strict=False):
            u.x.array[:] += self._prolonged(now - before)
            u.x.scatter_forward()
            before[:] = now

    def follow(self) -> None:
        self._u_before = [u.copy() for u in self.coarse.displacements()]

    def part(self) -> None:
        self._u_before.clear()

    def close(self) -> None:
        self.coarse.close()

    def _mean(self, values: Array) -> Array:
        """(n_blocks,) mean over the cells of each block, by volume (local)."""
        return np.asarray(np.bincount(self.owner, values * self.fine.mesh.volumes, self.n_blocks) / self._volumes)

    def _prolonged(self, u: Array) -> Array:
        """A displacement of the blocks at this rank's fine nodes that its own cells have (local)."""
        return np.asarray(self.P @ u.reshape(-1, self.fine.components)).ravel()

    def _restricted(self, load: Array) -> Array:
        """Owned entries of a fine load vector, on the nodes of the blocks (collective)."""
        nodal = load.reshape(-1, self.fine.components)
        result = fem.Function(self.coarse.V)
        result.x.array[:] = (self.P[: len(nodal)].T @ nodal).ravel()
        result.x.scatter_reverse(la.InsertMode.add)
        return np.array(result.x.array[: self.coarse.owned])


class CornerMean:
    """Smooths cell values by way of the corners: a corner gets the mean of its cells, a cell that of its corners."""

    def __init__(self, mesh: Mesh) -> None:
        V = fem.functionspace(mesh.domain, ("Lagrange", 1))
        self._corners, self._nodes = V.dofmap.list[: mesh.n], fem.Function(V)
        self._weights = 1 / np.maximum(self._at_corners(np.ones(mesh.n)), 1.0)

    def apply(self, values: Array | Floats) -> Floats:
        """(n,) smoothed values in float32 (collective)."""
        nodes = self._at_corners(values) * self._weights
        return np.asarray(nodes[self._corners].mean(axis=1), np.float32)

    def _at_corners(self, values: Array | Floats) -> Array:
        """Sum over the cells of all ranks around each of this rank's corners (collective)."""
        x = self._nodes.x
        repeated = np.repeat(values, self._corners.shape[1])
        x.array[:] = np.bincount(self._corners.ravel(), repeated, len(x.array))
        x.scatter_reverse(la.InsertMode.add)
        x.scatter_forward()
        return np.array(x.array)


def _interpolation(levels: list[Mesh]) -> scipy.sparse.csr_matrix:
    """From nodes of the last mesh to those of the first; rows that no owned cell has are empty (local)."""
    result: scipy.sparse.csr_matrix | None = None
    for child in levels[:-1]:
        step = _one_level(child)
        result = step if result is None else result @ step
    assert result is not None
    return result.tocsr()


def _one_level(child: Mesh) -> scipy.sparse.csr_matrix:
    assert child.parent is not None and child.parent_cell is not None
    spaces = [fem.functionspace(mesh.domain, ("Lagrange", 1)) for mesh in (child, child.parent)]
    shape = tuple(V.dofmap.index_map.size_local + V.dofmap.index_map.num_ghosts for V in spaces)
    rows = spaces[0].dofmap.list[: child.n]
    nodes, first = np.unique(rows, return_index=True)  # one cell will do for each node
    cell, corner = np.divmod(first, rows.shape[1])
    x = child.domain.geometry.x[child.domain.geometry.dofmap[cell, corner]]
    parent: Indices = child.parent_cell[cell]
    weights = np.empty((len(nodes), rows.shape[1]))
    for start in range(0, len(nodes), CHUNK):
        part = slice(start, start + CHUNK)
        places, table = nodes_of_parent(child.parent, parent[part])
        nearest = np.argmin(np.linalg.norm(places - x[part, None], axis=2), axis=1)
        weights[part] = table[nearest]
    columns = spaces[1].dofmap.list[parent]
    entries = (weights.ravel(), (np.repeat(nodes, rows.shape[1]), columns.ravel()))
    matrix = scipy.sparse.csr_matrix(entries, shape=shape)
    matrix.eliminate_zeros()
    return matrix
