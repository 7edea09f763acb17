"""Adjoint states on any mesh; what `fem.adjoint` needs of the engine."""

from __future__ import annotations

import numpy as np

from morpho.fem import dummy
from morpho.fem.assembled import AssembledEquation
from morpho.fem.eigen import Modes
from morpho.fem.pencil import AssembledPencil
from morpho.functionals.functional import Functional
from morpho.interfaces import Array
from morpho.late import fem


class AssembledAdjoints:
    """Adjoint states of functionals, local vectors with ghosts; loads are owned entries. See `adjoint.Adjoints`."""

    def __init__(self, equation: AssembledEquation, functionals: list[Functional]) -> None:
        self.equation, self.functionals, self.comm = equation, functionals, equation.comm
        self._centre = equation.centre
        places = [(k, i) for k, functional in enumerate(functionals) for i in functional.cases]
        self._pencils: dict[int, AssembledPencil] = {}
        self.states = {place: fem.Function(equation.V) for place in places}

    def fields(self) -> list[fem.Function]:
        return list(self.states.values())

    def centre(self, case: int) -> Array:
        return self._centre.value(self.equation.u[case].x.array)

    def gradient(self, case: int) -> Array:
        return self._centre.gradient(self.equation.u[case].x.array)

    def pulled(self, d_centre: Array | None, d_gradient: Array | None) -> Array:
        return self.equation.free(self._centre.transposed(d_centre, d_gradient)[: self.equation.owned])

    def solve(self, place: tuple[int, int], g: Array, rtol: float | None, at_most: int | None) -> tuple[Array, int]:
        lam = self.states[place]
        self.equation.b.array[:] = g
        taken, _ = self.equation.solve_for(lam, rtol, at_most, False)
        return np.asarray(lam.x.array), taken

    def modes(self, count: int, fading: float, rho: Array, slope: Array, rtol: float | None) -> Modes:
        if count not in self._pencils:
            self._pencils[count] = AssembledPencil(self.equation, count)
        return self._pencils[count].solve(rho, self.equation.mass, slope, rtol or self.equation.rtol, fading)

    def vectors(self) -> list[Array]:
        """Local vectors with ghosts of the eigenvectors that were asked for last (collective)."""
        return [p.ghosted(v) for p in self._pencils.values() for v in p.vectors[: p.count]]

    def multiple_of_state(self, g: Array) -> Array | None:
        own = self.equation
        plain = [not (own.moving or density.any()) for density in own.weight_density]
        states = [(load, u) for load, u, ok in zip(own.loads, own.u, plain, strict=True) if ok]
        for load, u in [*states, *zip(own.dummies, own.lam, strict=True)]:
            c = dummy.multiple(self.comm, g, own.free(load))
            if c is not None:
                return np.asarray(c * u.x.array)
        return None

    def mutual(self, case: int, lam: Array, rho: Array) -> tuple[Array, Array, float]:
        own, u, here = self.equation, self.equation.u[case].x.array, slice(self.equation.owned)
        both, work = own.cell_work(case, u + lam)
        apart, other = own.cell_work(case, u - lam)
        energy = (both - apart) / 4
        load = own.loads[case] + own.self_weight(case)
        held = float((own.springs * u[here]) @ lam[here])
        return energy, (work - other) / 2, float(load @ lam[here] - own.stiffness @ energy) - held
