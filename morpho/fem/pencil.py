"""Stiffness and mass on any mesh for eigenpairs, and what follows from these for the cells."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from morpho.fem import forms
from morpho.fem.assembled import AssembledEquation
from morpho.fem.eigen import GUARDS, Modes, lowest, waves
from morpho.fem.mass import Mass
from morpho.interfaces import Array
from morpho.late import PETSc, fem, la, ufl


class AssembledPencil:
    """`eigen.Pencil` on owned entries of vectors; a lumped mass."""

    def __init__(self, equation: AssembledEquation, count: int) -> None:
        self.equation, self.count = equation, count
        own, mesh = equation, equation.mesh
        low, high = (corner[: mesh.dim] for corner in mesh.corners)
        x = own.V.tabulate_dof_coordinates()[: own.owned // own.components, : mesh.dim]
        self._free = own.free(np.ones(own.owned))
        self.vectors: Array = waves((x - low) / (high - low), own.components, count + GUARDS) * self._free
        self._mass = np.zeros(own.owned)
        dx = forms.cell_measure(mesh, 1)
        self._density, self._squares = fem.Function(forms.cell_space(mesh)), fem.Function(own.V)
        self._cells = self._density.function_space.dofmap.list[: mesh.n, 0]
        w, v = ufl.TestFunction(self._density.function_space), ufl.TestFunction(own.V)
        ones = fem.Constant(mesh.domain, np.ones(own.components))
        self._lumped = fem.form(self._density * ufl.inner(ones, v) * dx)
        self._kinetic = fem.form(ufl.inner(ones, self._squares) * w * dx)

    def solve(self, rho: Array, mass: Mass, slope: Array, rtol: float, fading: float) -> Modes:
        """The eigenpairs at the density of the last solve, from the last ones (collective)."""
        own = self.equation
        self._density.x.array[self._cells] = mass.of(rho)
        self._density.x.scatter_forward()
        lumped = fem.assemble_vector(self._lumped)
        lumped.scatter_reverse(la.InsertMode.add)
        self._mass = np.array(lumped.array[: own.owned])
        values, self.vectors, iterations = lowest(self, self.vectors, self.count, rtol, fading)
        d_mass, slopes = mass.slope(rho), np.empty((self.count, own.mesh.n))
        for k in range(self.count):
            phi = self.ghosted(self.vectors[k])
            self._squares.x.array[:] = phi**2
            kinetic = fem.assemble_vector(self._kinetic).array[self._cells]
            slopes[k] = slope * own.cell_work(0, phi)[0] - values[k] * d_mass * kinetic
        return Modes(values[: self.count], slopes, iterations * len(self.vectors))

    def ghosted(self, vector: Array) -> Array:
        """A local vector from its owned entries (collective)."""
        function = fem.Function(self.equation.V)
        function.x.array[: self.equation.owned] = vector
        function.x.scatter_forward()
        return np.array(function.x.array)

    def stiffness(self, X: Array) -> Array:
        return self._each(X, self.equation.A.mult) * self._free

    def mass(self, X: Array) -> Array:
        return X * self._mass

    def precondition(self, R: Array) -> Array:
        assert self.equation.solver is not None
        return self._each(R, self.equation.solver.ksp.getPC().apply) * self._free

    def gram(self, X: Array, Y: Array) -> Array:
        return np.asarray(self.equation.comm.allreduce(X @ Y.T))

    def _each(self, X: Array, apply: Callable[[PETSc.Vec, PETSc.Vec], None]) -> Array:
        """A PETSc operator on vector after vector (collective)."""
        out, comm = np.empty(X.shape), self.equation.comm
        for k in range(len(X)):
            source, target = (PETSc.Vec().createWithArray(np.ascontiguousarray(v[k]), comm=comm) for v in (X, out))
            apply(source, target)
            out[k] = target.array
            source.destroy()
            target.destroy()
        return out
