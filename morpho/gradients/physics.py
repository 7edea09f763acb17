"""What a gradient source sees of the state equation, and the way from strain energies to a gradient."""

from __future__ import annotations

import math
from typing import Any, Protocol

from mpi4py import MPI

import numpy as np
from numpy.typing import NDArray

from morpho.interfaces import Array, Gradient

Floats = NDArray[np.float32]


class State(Protocol):
    """What a state solve gives; see `fem.state`."""

    @property
    def compliance(self) -> Array: ...
    @property
    def d_compliance(self) -> Array: ...
    @property
    def energy(self) -> Array: ...
    @property
    def linear_iterations(self) -> int: ...
    @property
    def seconds(self) -> float: ...
    @property
    def converged(self) -> bool: ...
    @property
    def functionals(self) -> Any: ...


class Material(Protocol):
    def stiffness(self, rho: Array) -> Array: ...
    def derivative(self, rho: Array) -> Array: ...


class Physics(Protocol):
    """The state equation; methods are collective."""

    weights: Array
    comm: MPI.Comm
    void_matters: bool  #: whether the source looks at the state or the energies in void

    @property
    def material(self) -> Material: ...
    @property
    def mesh(self) -> Any:
        """Of which sources use `key`, `n` and `n_global`."""

    @property
    def scale(self) -> Array:
        """Of the pairs of load cases that stand for displacements, the last ones."""

    def solve(self, rho: Array, rtol: float | None = None, at_most: int | None = None) -> State: ...
    def coarse(self, block: int) -> Any: ...
    def displacements(self) -> list[Array]:
        """Of every load case, as this rank holds them; to be copied, and changed only to take a solve back."""

    def reduced(self, rho: Array, bases: list[list[Array]]) -> tuple[State, float]:
        """The state in the span of sets of displacements, and its relative residual."""


def from_state(physics: Physics, state: State) -> Gradient:
    """The gradient that a state solve gives, exact if it converged (local)."""
    found = state.functionals
    functionals = {} if found is None else {"values": found.values, "d_values": found.d_values}
    return Gradient(
        cases=state.compliance,
        d_cases=state.d_compliance,
        weights=physics.weights,
        kind="exact" if state.converged else "estimated",
        linear_iterations=state.linear_iterations,
        seconds=state.seconds,
        energy=state.energy,
        scale=physics.scale,
        **functionals,
    )


def from_energies(
    physics: Physics,
    rho: Array,
    cases: Array,
    energy: Array | Floats,
    weight_work: Array | None,
    seconds: float,
    coarse_iterations: int,
) -> Gradient:
    """dJ/d rho = 2 w - E'(rho) e from strain energies e (k, n) at unit stiffness and work w of self weight (local)."""
    slope = physics.material.derivative(rho)
    np.negative(slope, out=slope)
    d_cases = np.multiply(energy, slope, dtype=np.float64)
    if weight_work is not None:
        d_cases += 2 * weight_work
    return Gradient(
        cases,
        d_cases,
        physics.weights,
        "estimated",
        0,
        seconds,
        coarse_iterations=coarse_iterations,
        scale=physics.scale,
    )


def weight_work_of(physics: Physics, rho: Array, exact: Gradient) -> Array:
    """(k, n) work of self weight in each cell that an exact gradient with its energies holds (local)."""
    assert exact.energy is not None
    return np.asarray((exact.d_cases + physics.material.derivative(rho) * exact.energy) / 2)


def relative_error(comm: MPI.Comm, off: Array, d: Array) -> float:
    """2-norm of the difference (n,) from a gradient d (n,), relative to it; nan if that is zero (collective)."""
    sums = comm.allreduce(np.array([np.vdot(off, off), np.vdot(d, d)]))
    return math.sqrt(sums[0] / sums[1]) if sums[1] > 0 else math.nan
