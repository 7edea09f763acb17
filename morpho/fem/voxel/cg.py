"""Conjugate gradients in float64, preconditioned by a multigrid cycle in float32."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from mpi4py import MPI

import numpy as np

from morpho.errors import SolverError
from morpho.fem.voxel.halo import SharedPlanes
from morpho.fem.voxel.multigrid import Dofs, Element, Floats, Grid
from morpho.fem.voxel.pages import zeros
from morpho.fem.voxel.present import Present
from morpho.fem.voxel.vectors import Runs, advance, clear, copy, copy_scaled, dot, turn
from morpho.interfaces import Array
from morpho.parallel import any_rank

DIVERGED = 1e8  #: relative residual that no equation with a solution comes to


@dataclass
class Operator:
    """The stiffness of all cells and springs with held dofs taken out, in float64."""

    element: Element
    planes: SharedPlanes
    E: Array  #: (z, y, x)
    held: Dofs
    sprung: Dofs  #: of the nodes that this rank owns
    springs: Array  #: stiffness of each
    present: Present  #: what of the grid takes part

    @property
    def runs(self) -> Runs:
        return self.present.runs

    def add(self, y: Array, u: Array, sign: float = 1.0) -> None:
        """y += sign A u; held entries of y become zero (collective)."""
        self.planes.keep_owned(y)
        self.element.kernels.add_stiffness(y, u, self.E, sign * self.element.modes, self.present.pieces)
        y.reshape(-1)[self.sprung] += sign * self.springs * u.reshape(-1)[self.sprung]
        self.planes.sum(y)
        y.reshape(-1)[self.held] = 0

    def spring_energy(self, u: Array) -> float:
        """Twice the energy in the springs of this rank (local)."""
        return float(self.springs @ u.reshape(-1)[self.sprung] ** 2)

    def dot(self, a: Array, b: Array | Floats) -> float:
        """Inner product of two nodal fields, each node counted once (collective)."""
        return float(self.planes.comm.allreduce(dot(a, b, self.planes.first_owned, self.runs), MPI.SUM))

    def norm(self, a: Array) -> float:
        """2-norm of a nodal field (collective)."""
        return math.sqrt(self.dot(a, a))


class ConjugateGradients:
    """Warm-started preconditioned conjugate gradients; work arrays are kept between solves."""

    def __init__(
        self, operator: Operator, preconditioner: Grid, rtol: float, max_iterations: int, sparse: bool = False
    ) -> None:
        self.operator, self.preconditioner = operator, preconditioner
        self.rtol, self.max_iterations = rtol, max_iterations
        shape = preconditioner.b.shape
        self.r, self.p, self.q = (zeros(shape, sparse=sparse) for _ in range(3))

    def start(self, u: Array, values: Array) -> float:
        """Put `values` into the held dofs of u, and the residual for the load in self.r there; |load| (collective)."""
        A, held = self.operator, self.operator.held
        u.reshape(-1)[held] = values
        copy(self.q, self.r, A.runs)
        self.q.reshape(-1)[held] = 0
        if any_rank(A.planes.comm, bool(np.any(values))):
            clear(self.p, A.runs)
            self.p.reshape(-1)[held] = values
            A.add(self.q, self.p, -1.0)
        norm = A.norm(self.q)
        if norm == 0:
            clear(u, A.runs)
            u.reshape(-1)[held] = values
            clear(self.r, A.runs)
        else:
            A.add(self.r, u, -1.0)
        return norm

    def solve(
        self,
        u: Array,
        norm: float,
        settled: Callable[[], bool] | None = None,
        rtol: float | None = None,
        at_most: int | None = None,
        in_doubt: Callable[[float], bool] | None = None,
    ) -> tuple[int, float]:
        """Improve u until |r| <= rtol norm, or `settled`, or `at_most` iterations; these and |r| / norm (collective).

        On entry self.r holds the residual. Zero iterations are a result: the start may be good enough. A small residual
        is not believed while `in_doubt` of what the last iteration added to 2 f.u - u.Ku, inf before the first one.

        Raises:
            SolverError: it broke down, or took more than max_iterations.
        """
        A, M, r, p, q = self.operator, self.preconditioner, self.r, self.p, self.q
        rtol = self.rtol if rtol is None else rtol
        # The cycle sees the residual of a load of size 1, as float32 ends at 1e38; a power of two changes no other bit.
        scale = 2.0 ** -round(math.log2(norm)) if 0 < norm < math.inf else 1.0
        copy_scaled(M.b, r, scale, A.runs)
        rz = 0.0
        residual = A.norm(r)
        norm, gain = norm or 1.0, math.inf
        for iteration in range(self.max_iterations + 1):
            done = residual <= rtol * norm and not (in_doubt is not None and residual and in_doubt(gain))
            done = done or iteration == at_most
            if done or (iteration and settled is not None and settled()):
                return iteration, residual / norm
            M.cycle()
            rz, before = A.dot(r, M.x), rz
            turn(p, M.x, rz / before if iteration else 0.0, A.runs)
            clear(q, A.runs)
            A.add(q, p)
            pq = A.dot(p, q)
            if not (math.isfinite(rz) and math.isfinite(pq) and rz > 0 and pq > 0) or residual > DIVERGED * norm:
                raise SolverError(
                    f"the conjugate gradients broke down in iteration {iteration + 1} (r.z = {rz:.3g}, p.Ap = {pq:.3g})"
                )
            gain = rz * rz / pq
            squares = advance(u, r, p, q, rz / pq, M.b, scale, A.planes.first_owned, A.runs)
            residual = math.sqrt(A.planes.comm.allreduce(squares, MPI.SUM))
        raise SolverError(
            f"the conjugate gradients did not reach a relative residual of {rtol:g} in {self.max_iterations} "
            f"iterations ({residual / norm:.3g}; solver.max_iterations)"
        )
