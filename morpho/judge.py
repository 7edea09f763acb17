"""What designs are worth: exact objectives, whatever source led to them, and what is left of a design in 0 and 1."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from mpi4py import MPI

import numpy as np
from numpy.typing import NDArray

from morpho.errors import SolverError
from morpho.feasibility import responses
from morpho.gradients.physics import from_state
from morpho.gradients.values import thresholded
from morpho.interfaces import Array
from morpho.loop import TIGHT
from morpho.parts import Parts
from morpho.problem.spec import Problem
from morpho.redistribute import Redistribution

RTOL = 1e-3  #: relative residual of the solves that judge a design on the way; the error of the value is its square
SOLID = 0.5  #: density from which a cell of the design in 0 and 1 is solid

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Worth:
    """A design at the final values of every continuation."""

    objective: float  #: nan if the linear solver failed
    feasible: bool


@dataclass(frozen=True)
class BlackAndWhite:
    """The design of equal volume in 0 and 1."""

    value: float  #: the objective, the compliance where that is no matter of stiffness; nan if the linear solver failed
    pieces: int  #: that hang together by the faces of cells; 1 if nothing is loose


def judge(
    problem: Problem, comm: MPI.Comm, key: NDArray[np.int64], designs: Sequence[Floats]
) -> tuple[list[Worth], BlackAndWhite]:
    """The worth of physical densities (n,) of a run, in their order, and of the last one in 0 and 1 (collective).

    Every solve starts from the displacement of the design before; there has to be one design at least. `key` (n,) has
    the numbers of this rank's cells in that run.
    """
    with finished_parts(problem, comm) as parts:
        here = Redistribution(comm, key, np.asarray(parts.mesh.key, np.int64)).apply
        worths = [_worth(parts, here(design.astype(np.float64)), RTOL) for design in designs[:-1]]
        last = here(designs[-1].astype(np.float64))
        worths.append(_worth(parts, last, TIGHT))
        rho = thresholded(comm, last, parts.mesh.volumes)
        pieces = parts.physics.pieces(rho > SOLID)
        try:
            exact = from_state(parts.physics, parts.physics.solve(rho, TIGHT))
            value = parts.responses.stiffness(rho, exact)
        except SolverError:
            value = float("nan")
    return worths, BlackAndWhite(value, pieces)


@contextmanager
def finished_parts(problem: Problem, comm: MPI.Comm) -> Iterator[Parts]:
    """What the last iteration of a run works with, with exact gradients (collective)."""
    gradient = problem.gradient.model_copy(update={"source": "exact"})
    with Parts(problem.model_copy(update={"gradient": gradient}), comm) as parts:
        parts.enter_iteration(max(1, problem.optimizer.max_iterations))
        yield parts


def _worth(parts: Parts, rho: Array, rtol: float) -> Worth:
    try:
        exact = from_state(parts.physics, parts.physics.solve(rho, rtol))
    except SolverError:
        return Worth(float("nan"), False)
    evaluation = parts.responses.evaluate(rho, exact, lambda d: d, lambda d: d)
    found = responses(parts.responses.bounds, [float(g) for g in evaluation.constraints])
    return Worth(evaluation.objective, all(response.feasible for response in found.values()))
