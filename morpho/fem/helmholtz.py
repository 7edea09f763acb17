"""The scalar PDE behind the Helmholtz filter."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from morpho.fem.forms import cell_measure, cell_space
from morpho.fem.ksp import LinearSolver
from morpho.interfaces import Array
from morpho.late import PETSc, fem, fem_petsc, la, ufl
from morpho.mesh import Mesh
from morpho.parallel import global_dot, global_sum

RTOL = 1e-12
FLOOR = 1e-6  #: of R^2, what is left of it at least where cells are wider than the filter


class HelmholtzPde:
    """Solves -R^2 lap(p) + p = s with zero flux on the boundary, for one source value s per cell.

    The mass matrix is lumped: with the consistent one p over- and undershoots the source where R is below the cell
    size, and a negative density has no stiffness.

    The way from cells to nodes and back smooths as well, by the mean square distance of a cell's vertices from its
    centre: twice that along each direction is part of the second moment 2 R^2 of the whole, so the equation takes
    R^2 less that distance. Where cells are wider than R allows (`too_coarse`), the filter is wider than asked for.

    `apply` is the symmetric operator M = B^T K^-1 B, with B the integrals of the degree-1 shape functions over the
    cells. M 1 = cell volumes, so that dividing by the volumes preserves constants. Holds PETSc objects: `close`.
    """

    def __init__(self, mesh: Mesh, length: float) -> None:
        self.mesh = mesh
        dx = cell_measure(mesh, 1)
        V, Q = fem.functionspace(mesh.domain, ("Lagrange", 1)), cell_space(mesh)
        u, v, w = ufl.TrialFunction(V), ufl.TestFunction(V), ufl.TestFunction(Q)
        mass = ufl.Measure("dx", domain=mesh.domain, metadata={"quadrature_rule": "vertex", "quadrature_degree": 1})
        tensors = fem.functionspace(mesh.domain, ("Discontinuous Lagrange", 0, (mesh.dim, mesh.dim)))
        R2 = fem.Function(tensors)
        values, coarse = _squared_lengths(mesh, length)
        R2.x.array.reshape(-1, mesh.dim**2)[tensors.dofmap.list[: mesh.n, 0]] = values.reshape(mesh.n, -1)
        form = fem.form(ufl.inner(R2 * ufl.grad(u), ufl.grad(v)) * dx + u * v * mass)
        self.too_coarse = global_sum(mesh.comm, mesh.volumes[coarse]) / mesh.total_volume  #: share of the volume
        self._A = fem_petsc.create_matrix(form)
        self._A.setOption(PETSc.Mat.Option.SPD, True)
        fem_petsc.assemble_matrix(self._A, form)
        self._A.assemble()
        self._source, self._p = fem.Function(Q), fem.Function(V)
        self._to_nodes = fem.form(self._source * v * mass)
        self._to_cells = fem.form(self._p * w * mass)
        self._cell_dof = Q.dofmap.list[: mesh.n, 0]
        self.owned = V.dofmap.index_map.size_local
        self._b = PETSc.Vec().createMPI((self.owned, None), comm=mesh.comm)
        self._solver = LinearSolver(self._A, prefix="filter_", preset="jacobi", rtol=RTOL, max_iterations=10_000)
        self.iterations = 0
        self.volumes = fem.assemble_vector(fem.form(w * mass)).array[self._cell_dof].copy()
        self._total_volume = global_sum(mesh.comm, self.volumes)

    def apply(self, s: Array) -> Array:
        """(n,) integrals of p over the owned cells for the source s (n,) (collective).

        The mean passes through as it is: with R far above the size of the mesh there is little beside it to solve for.
        """
        mean = global_dot(self.mesh.comm, self.volumes, s) / self._total_volume
        self._source.x.array[self._cell_dof] = s - mean
        right = fem.assemble_vector(self._to_nodes)
        right.scatter_reverse(la.InsertMode.add)
        self._b.array[:] = right.array[: self.owned]
        self._p.x.array[:] = 0.0
        x = PETSc.Vec().createWithArray(self._p.x.array[: self.owned], comm=self.mesh.comm)
        try:
            self.iterations, _ = self._solver.solve(self._b, x)
        finally:
            x.destroy()
        self._p.x.scatter_forward()
        return np.asarray(fem.assemble_vector(self._to_cells).array[self._cell_dof] + mean * self.volumes)

    def close(self) -> None:
        """Free the PETSc objects (collective)."""
        self._solver.close()
        self._A.destroy()
        self._b.destroy()


def _squared_lengths(mesh: Mesh, length: float) -> tuple[Array, NDArray[np.bool_]]:
    """R^2 less what averaging adds, (n, dim, dim) per owned cell, and where next to nothing is left of it (local).

    Along the axes of a brick; of simplices the mean over the directions, which keeps the matrix nearer to a monotone
    one.
    """
    x = mesh.domain.geometry.x[mesh.domain.geometry.dofmap[: mesh.n]][:, :, : mesh.dim]
    x = x - x.mean(axis=1, keepdims=True)
    spread = np.einsum("nvi,nvj->nij", x, x) / x.shape[1]
    least = FLOOR * length**2
    if mesh.cell_name in ("triangle", "tetrahedron"):
        left = length**2 - np.trace(spread, axis1=1, axis2=2) / mesh.dim
        return np.maximum(left, least)[:, None, None] * np.eye(mesh.dim), left < least
    values, axes = np.linalg.eigh(spread)
    left = length**2 - values
    return np.einsum("nij,nj,nkj->nik", axes, np.maximum(left, least), axes), (left < least).any(axis=1)
