"""The scalar PDE behind the Helmholtz filter."""

from __future__ import annotations

from petsc4py import PETSc

import numpy as np
import ufl
from dolfinx import fem, la
from dolfinx.fem import petsc as fem_petsc

from morpho.fem.forms import cell_measure, cell_space
from morpho.fem.ksp import LinearSolver
from morpho.interfaces import Array
from morpho.mesh import Mesh

RTOL = 1e-12


class HelmholtzPde:
    """Solves -R^2 lap(p) + p = s with zero flux on the boundary, for one source value s per cell.

    The mass matrix is lumped: with the consistent one p over- and undershoots the source where R is below the cell
    size, and a negative density has no stiffness.

    `apply` is the symmetric operator M = B^T K^-1 B, with B the integrals of the degree-1 shape functions over the
    cells. M 1 = cell volumes, so that dividing by the volumes preserves constants. Holds PETSc objects: `close`.
    """

    def __init__(self, mesh: Mesh, length: float) -> None:
        self.mesh = mesh
        dx = cell_measure(mesh, 1)
        V, Q = fem.functionspace(mesh.domain, ("Lagrange", 1)), cell_space(mesh)
        u, v, w = ufl.TrialFunction(V), ufl.TestFunction(V), ufl.TestFunction(Q)
        mass = ufl.Measure("dx", domain=mesh.domain, metadata={"quadrature_rule": "vertex", "quadrature_degree": 1})
        R2 = fem.Constant(mesh.domain, length**2)
        form = fem.form(R2 * ufl.inner(ufl.grad(u), ufl.grad(v)) * dx + u * v * mass)
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

    def apply(self, s: Array) -> Array:
        """(n,) integrals of p over the owned cells for the source s (n,) (collective)."""
        self._source.x.array[self._cell_dof] = s
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
        return np.array(fem.assemble_vector(self._to_cells).array[self._cell_dof])

    def close(self) -> None:
        """Free the PETSc objects (collective)."""
        self._solver.close()
        self._A.destroy()
        self._b.destroy()
