"""Adjoint states on a box of equal cells; what `fem.adjoint` needs of the engine."""

from __future__ import annotations

import numpy as np

from morpho.fem import dummy
from morpho.fem.eigen import Modes
from morpho.fem.voxel.centre import Centre
from morpho.fem.voxel.equation import VoxelEquation
from morpho.fem.voxel.pencil import VoxelPencil
from morpho.functionals.functional import Functional
from morpho.interfaces import Array


class VoxelAdjoints:
    """Adjoint states of functionals, nodal arrays (z, y, component, x) as the states are; see `adjoint.Adjoints`."""

    def __init__(self, equation: VoxelEquation, functionals: list[Functional]) -> None:
        self.equation, self.functionals, self.comm = equation, functionals, equation.comm
        self._centre = Centre(equation.turn, equation.law)
        places = [(k, i) for k, functional in enumerate(functionals) for i in functional.cases]
        self._pencils: dict[int, VoxelPencil] = {}
        self.states = {place: np.zeros(equation.shape) for place in places}

    def fields(self) -> list[Array]:
        return list(self.states.values())

    def centre(self, case: int) -> Array:
        return self._centre.value(self.equation.u[case])

    def gradient(self, case: int) -> Array:
        return self._centre.gradient(self.equation.u[case])

    def pulled(self, d_centre: Array | None, d_gradient: Array | None) -> Array:
        g = np.zeros(self.equation.shape)
        self._centre.add_transposed(g, d_centre, d_gradient)
        self.equation.planes.sum(g)
        g.reshape(-1)[self.equation.supports.dofs] = 0
        return g

    def solve(self, place: tuple[int, int], g: Array, rtol: float | None, at_most: int | None) -> tuple[Array, int]:
        cg, lam = self.equation.cg, self.states[place]
        cg.start(lam, lambda out: np.copyto(out, g), np.zeros(len(self.equation.supports.dofs)))
        return lam, cg.solve(lam, None, rtol, at_most)[0]

    def modes(self, count: int, fading: float, rho: Array, slope: Array, rtol: float | None) -> Modes:
        if count not in self._pencils:
            self._pencils[count] = VoxelPencil(self.equation, count)
        return self._pencils[count].solve(rho, self.equation.mass, slope, rtol or self.equation.rtol, fading)

    def vectors(self) -> list[Array]:
        """Nodal arrays of the eigenvectors that were asked for last (local)."""
        return [v.reshape(self.equation.shape) for p in self._pencils.values() for v in p.vectors[: p.count]]

    def multiple_of_state(self, g: Array) -> Array | None:
        own = self.equation
        plain = [not (own.moving or density.any()) for density in own.weight_density]
        states = [(forces, u) for forces, u, ok in zip(own.forces, own.u, plain, strict=True) if ok]
        f = np.empty(own.shape)
        for forces, u in [*states, *zip(own.dummies, own.lam, strict=True)]:
            forces.put(f)
            f.reshape(-1)[own.supports.dofs] = 0
            c = dummy.multiple(self.comm, own.planes.owned(g), own.planes.owned(f))
            if c is not None:
                return c * u
        return None

    def mutual(self, case: int, lam: Array, rho: Array) -> tuple[Array, Array, float]:
        own, A = self.equation, self.equation.cg.operator
        u, both, apart = own.u[case], np.empty(own.mesh.n), np.empty(own.mesh.n)
        own.put_energy(both, u + lam)
        own.put_energy(apart, u - lam)
        energy = (both - apart) / 4
        load_work: Array = np.zeros(own.mesh.n)
        work = own.owned_forces[case].work(lam)
        if own.weight_density[case].any():
            load_work = own.weight_work(case, lam)
            work += float(rho @ load_work)
        in_springs = (A.spring_energy(u + lam) - A.spring_energy(u - lam)) / 4
        return energy, load_work, work - float(own.box.listed(A.E) @ energy) - in_springs
