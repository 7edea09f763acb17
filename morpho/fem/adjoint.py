"""The derivative of any functional of the states: one adjoint solve, or none where it is a state already.

With K(rho) u_i = f_i(rho) and K lam_i = dJ/du_i, lam_i zero where u_i is held,

    dJ/drho = J_rho + sum_i (lam_i . f_i' - E' a0(u_i, lam_i)),

a0 the bilinear energy of a cell at unit stiffness. The value J + lam_i . (f_i - K u_i) has an error that is quadratic
in those of u and lam, as that of a compliance has: loose solves give good values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from mpi4py import MPI

import numpy as np

from morpho.errors import OwnCodeError
from morpho.fem.eigen import Modes
from morpho.functionals.functional import Functional, Value
from morpho.interfaces import Array
from morpho.parallel import any_rank


class Adjoints(Protocol):
    """What an engine gives; states and loads are in its own form."""

    functionals: list[Functional]
    comm: MPI.Comm

    def fields(self) -> list[Any]:
        """The adjoint states, themselves (local)."""

    def centre(self, case: int) -> Array:
        """(n, components) state of a load case at the centre of each cell (local)."""

    def gradient(self, case: int) -> Array:
        """(n, m) strain or gradient of a load case at the centre of each cell (local)."""

    def pulled(self, d_centre: Array | None, d_gradient: Array | None) -> Array:
        """The load whose work in a state is that of derivatives (n, components) and (n, m) in its fields at the centres
        of the cells; zero where the state is held (collective)."""

    def solve(self, place: tuple[int, int], g: Array, rtol: float | None, at_most: int | None) -> tuple[Array, int]:
        """K^-1 g, starting from the last one of this functional and load case; and its iterations (collective)."""

    def modes(self, count: int, fading: float, rho: Array, slope: Array, rtol: float | None) -> Modes:
        """The lowest eigenpairs, from the last ones (collective)."""

    def vectors(self) -> list[Array]:
        """The eigenvectors that were asked for last (collective)."""

    def multiple_of_state(self, g: Array) -> Array | None:
        """K^-1 g where g is a multiple of the load of a state or of a dummy, else None (collective)."""

    def mutual(self, case: int, lam: Array, rho: Array) -> tuple[Array, Array, float]:
        """(n,) a0(u_i, lam), (n,) lam . f_i' and this rank's share of lam . (f_i - K u_i) (collective)."""


@dataclass(frozen=True)
class States:
    """`functionals.functional.States` of an engine."""

    adjoints: Adjoints
    rho: Array
    slope: Array  #: of the coefficient
    rtol: float | None
    spent: list[int]  #: linear iterations of the eigenpairs

    def modes(self, count: int, fading: float = 0.0) -> Modes:
        found = self.adjoints.modes(count, fading, self.rho, self.slope, self.rtol)
        self.spent.append(found.linear_iterations)
        return found

    def centre(self, case: int) -> Array:
        return self.adjoints.centre(case)

    def gradient(self, case: int) -> Array:
        return self.adjoints.gradient(case)


@dataclass(frozen=True)
class Sensitivities:
    """Values and derivatives with respect to rho of all functionals."""

    values: Array  #: (f,)
    d_values: Array  #: (f, n)
    linear_iterations: int


def evaluate(
    adjoints: Adjoints,
    rho: Array,
    slope: Array,
    rtol: float | None = None,
    at_most: int | None = None,
) -> Sensitivities:
    """All functionals of the present states (collective).

    Args:
        slope: (n,) derivative of the coefficient with respect to rho.
        rtol, at_most: of the adjoint solves, as of those of the states.
    """
    functionals, states, iterations = adjoints.functionals, States(adjoints, rho, slope, rtol, []), 0
    values, d_values = np.zeros(len(functionals)), np.zeros((len(functionals), len(rho)))
    done: list[tuple[Array, Array]] = []
    for k, functional in enumerate(functionals):
        found = functional.at(states)
        _check(functional, found, len(rho))
        if found.d_rho is not None:
            d_values[k] += found.d_rho
        rest = 0.0
        for i in sorted({*found.d_centre, *found.d_gradient}):
            g = adjoints.pulled(found.d_centre.get(i), found.d_gradient.get(i))
            lam = next((own for earlier, own in done if _equal(adjoints.comm, g, earlier)), None)
            lam = adjoints.multiple_of_state(g) if lam is None else lam
            if lam is None:
                lam, taken = adjoints.solve((k, i), g, rtol, at_most)
                iterations += taken
            done.append((g, lam))
            mutual, load_work, off = adjoints.mutual(i, lam, rho)
            d_values[k] += load_work - slope * mutual
            rest += off
        values[k] = found.value + adjoints.comm.allreduce(rest)
    return Sensitivities(values, d_values, iterations + sum(states.spent))


def _check(functional: Functional, found: Value, n: int) -> None:
    """See that a functional keeps to its contract (local).

    Raises:
        OwnCodeError: it does not; the built-in ones do.
    """
    name, said = type(functional).__name__, ""
    if not isinstance(found, Value):
        raise OwnCodeError(f"the response {name} returned {type(found).__name__}, expected a Value")
    given = [(f"d_centre[{i}]", d) for i, d in found.d_centre.items()]
    given += [(f"d_gradient[{i}]", d) for i, d in found.d_gradient.items()]
    if unknown := {*found.d_centre, *found.d_gradient} - set(functional.cases):
        said = f"has derivatives for load case {min(unknown)}, which is not in its cases {list(functional.cases)}"
    elif wrong := [key for key, d in given if np.ndim(d) != 2 or len(d) != n]:
        said = f"{wrong[0]}: expected an array with a row for each of this rank's {n} cells"
    elif found.d_rho is not None and np.shape(found.d_rho) != (n,):
        said = f"d_rho: got shape {np.shape(found.d_rho)}, expected ({n},)"
    if said:
        raise OwnCodeError(f"the response {name} {said}")


def _equal(comm: MPI.Comm, g: Array, other: Array) -> bool:
    """Whether two nodal vectors are the same on all ranks (collective)."""
    return not any_rank(comm, not np.array_equal(g, other))
