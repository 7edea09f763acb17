"""Conjugate gradients in float32 within refinement in float64, preconditioned by a multigrid cycle."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from mpi4py import MPI

import numpy as np
from numpy.typing import NDArray

from morpho.errors import SolverError
from morpho.fem.voxel.coarsening import Dofs, Floats
from morpho.fem.voxel.element import Element
from morpho.fem.voxel.grid import Grid
from morpho.fem.voxel.halo import SharedPlanes
from morpho.fem.voxel.mixed import add_to_single
from morpho.fem.voxel.present import Present
from morpho.fem.voxel.vectors import Runs, advance, clear, copy, copy_scaled, dot, turn
from morpho.fem.voxel.work import Work
from morpho.interfaces import Array
from morpho.pages import zeros
from morpho.parallel import any_rank

log = logging.getLogger("morpho")

REACH = 1e-3  #: by which float32 may reduce the residual before it is evaluated again
NEAR = 0.1  #: relative error of a residual by recurrence up to which the search goes on in its direction
TRUSTED = 1e-2  #: relative residual that float32 knows well enough
LOST = 10.0  #: times the smallest residual, after a tenth of the last one seen, at which float32 is given up
FLOOR = 1e-7  #: relative residual below which one that no longer falls is as small as float64 can make it
DIVERGED = 1e8  #: relative residual that no equation with a solution comes to

Settled = Callable[[], bool]
InDoubt = Callable[[float], bool]
Load = Callable[[Array], None]  #: makes an array hold the load, complete on shared nodes


class Forces(Protocol):
    """A load vector where it is not zero; see `loads.NodalForces`."""

    @property
    def dofs(self) -> Dofs: ...
    @property
    def values(self) -> Array: ...


@dataclass
class Operator:
    """The stiffness of all cells and springs with held dofs taken out, in the precision of what it is applied to."""

    element: Element
    planes: SharedPlanes
    moduli: Callable[[Array | None], NDArray[Any]]  #: (z, y, x), in the array that is given or one of their own
    held: Dofs
    sprung: Dofs  #: of the nodes that this rank owns
    springs: Array | Floats  #: stiffness of each
    present: Present  #: what of the grid takes part

    @property
    def runs(self) -> Runs:
        return self.present.runs

    @property
    def E(self) -> NDArray[Any]:
        """(z, y, x) moduli, to be read only; made anew at each use where they are not kept (local)."""
        return self.moduli(None)

    def add(self, y: Array | Floats, u: Array | Floats, sign: float = 1.0, E: NDArray[Any] | None = None) -> None:
        """y += sign A u; held entries of y become zero. For y in float32, u may be in float64 (collective)."""
        self.planes.keep_owned(y)
        E = self.E if E is None else E
        if y.dtype == u.dtype:
            modes = (sign * self.element.modes).astype(y.dtype, copy=False)
            self.element.kernels.add_stiffness(y, u, E, modes, self.present.pieces)
        else:
            add_to_single(y, u, sign, E, self.element.modes.astype(y.dtype), self.present.pieces)
        y.reshape(-1)[self.sprung] += sign * self.springs * u.reshape(-1)[self.sprung]
        self.planes.sum(y)
        y.reshape(-1)[self.held] = 0

    def spring_energy(self, u: Array) -> float:
        """Twice the energy in the springs of this rank (local)."""
        return float(self.springs @ u.reshape(-1)[self.sprung] ** 2)

    def dot(self, a: Array | Floats, b: Array | Floats) -> float:
        """Inner product of two nodal fields, each node counted once (collective)."""
        return float(self.planes.comm.allreduce(dot(a, b, self.planes.first_owned, self.runs), MPI.SUM))

    def norm(self, a: Array | Floats) -> float:
        """2-norm of a nodal field (collective)."""
        return math.sqrt(self.dot(a, a))


class ConjugateGradients:
    """Warm-started preconditioned conjugate gradients: the solution in float64, all that leads to it in float32.

    Steps and residual follow by recurrence in float32. The residual is evaluated in float64 at the start, whenever it
    has become so small that float32 knows it no better, and before anything is said about it but that it is large, or
    below a loose tolerance: it may be larger than the tolerance where that is beyond float64. Where little is asked
    for, a large one at the start is evaluated in float32.

    Args:
        operator: in float64.
        preconditioner: with moduli relative to those of the solid.
        work: the arrays that the preconditioner works in.
        solid: what the moduli of the preconditioner are relative to.
    """

    def __init__(
        self,
        operator: Operator,
        preconditioner: Grid,
        work: Work,
        solid: float,
        rtol: float,
        max_iterations: int,
    ) -> None:
        self.operator, self.preconditioner, self.work = operator, preconditioner, work
        self.rtol, self.max_iterations = rtol, max_iterations
        A, springs = operator, (operator.springs / solid).astype(np.float32)
        self._single = Operator(A.element, A.planes, lambda _: preconditioner.E, A.held, A.sprung, springs, A.present)
        self._solid, self._scale, self._norm, self._residual = solid, 1.0, 0.0, 0.0
        self._load: Load | None = None
        self.is_double = False  #: whether float32 did not do, and all goes on in float64

    def start(
        self, u: Array, load: Load, values: Array, given: Forces | None = None, loosely: bool = False
    ) -> tuple[float, float]:
        """Take on a load, and put `values` into the held dofs of u; |residual| and |load| there (collective).

        The norm of the load follows from what this rank owns of it where that is given; `values` are zero then.
        `loosely`: a large residual need not be known in float64.
        """
        A, self._load = self.operator, load
        self.work.take()
        u.reshape(-1)[A.held] = values
        if given is not None:
            free = given.values[~np.isin(given.dofs, A.held)]
            self._norm = math.sqrt(A.planes.comm.allreduce(float(free @ free), MPI.SUM))
        elif any_rank(A.planes.comm, bool(np.any(values))):
            lift = zeros(u.shape, sparse=True)
            lift.reshape(-1)[A.held] = values
            self._norm = self._evaluate(lift)
        else:
            self._norm = self._evaluate(None)
        # The cycle sees the residual of a load of size 1, as float32 ends at 1e38; a power of two changes no other bit.
        self._scale = 2.0 ** -round(math.log2(self._norm)) if 0 < self._norm < math.inf else 1.0
        if self._norm == 0:
            clear(u, A.runs)
            u.reshape(-1)[A.held] = values
            self._residual = 0.0
        else:
            large = TRUSTED * self._norm
            loose = self._look_loosely(u, given) if loosely and given is not None else 0.0
            self._residual = loose if loose > large else self._look(u)
        return self._residual, self._norm

    def solve(
        self,
        u: Array,
        settled: Settled | None = None,
        rtol: float | None = None,
        at_most: int | None = None,
        in_doubt: InDoubt | None = None,
    ) -> tuple[int, float]:
        """Improve u after `start` until |r| <= rtol |load|, or `settled`, or `at_most` iterations; these and
        |r| / |load| (collective).

        Zero iterations are a result: the start may be good enough. A small residual is not believed while `in_doubt` of
        what the last iteration added to 2 f.u - u.Ku, inf before the first one.

        Where float32 does not keep directions conjugate, as it may with what only void holds, all goes on in float64,
        from then on in all solves.

        Raises:
            SolverError: it broke down, or took more than max_iterations.
        """
        rtol, taken = self.rtol if rtol is None else rtol, 0
        if not self.is_double:
            taken, residual = self._solve_single(u, settled, rtol, at_most, in_doubt)
            if residual is not None:
                return taken, residual
            self.is_double = True
            log.info("conjugate gradients go on in float64: float32 knows no way after %d iterations", taken)
        return self._solve_double(u, settled, rtol, at_most, in_doubt, taken)

    def _solve_single(
        self, u: Array, settled: Settled | None, rtol: float, at_most: int | None, in_doubt: InDoubt | None
    ) -> tuple[int, float | None]:
        """`solve` in float32; no residual where it got lost (collective)."""
        A, M, b, p, q = self._single, self.preconditioner, self.preconditioner.b, self.work.p, self.work.r
        norm, unit = self._norm or 1.0, self._scale * self._solid
        residual = seen = least = self._residual  # seen as it was evaluated last, in an iteration before or in this one
        rz, gain, is_seen = 0.0, math.inf, True
        for iteration in range(self.max_iterations + 1):
            small = residual <= rtol * norm and not (in_doubt is not None and residual and in_doubt(gain))
            ends = iteration == at_most or (iteration > 0 and settled is not None and settled())
            least = min(least, residual)
            is_lost = least <= seen / 10 and residual > LOST * least
            if not is_seen and (
                (small and rtol < TRUSTED) or (ends and residual <= TRUSTED * norm) or residual <= REACH * seen
            ):
                before, seen, is_seen = seen, self._look(u), True
                off, least = abs(seen - residual), seen
                rz = rz if off <= NEAR * seen else 0.0
                small = small and (seen <= rtol * norm or (off > before / 2 and seen <= FLOOR * norm))
                residual = seen
            if small or ends:
                return iteration, residual / norm
            if is_lost:
                break
            M.cycle()
            rz, before = A.dot(b, M.x), rz
            if before:
                turn(p, M.x, np.float32(rz / before), A.runs)
            else:
                copy(p, M.x, A.runs)
            clear(q, A.runs)
            A.add(q, p)
            pq = A.dot(p, q)
            if not (math.isfinite(rz) and math.isfinite(pq) and rz > 0 and pq > 0):
                break
            gain = rz * rz / pq / unit / self._scale
            alpha = np.float32(rz / pq)
            squares = advance(u, b, p, q, float(alpha) / unit, alpha, A.planes.first_owned, A.runs)
            residual, is_seen = math.sqrt(A.planes.comm.allreduce(squares, MPI.SUM)) / self._scale, False
        return iteration, None

    def _solve_double(
        self,
        u: Array,
        settled: Settled | None,
        rtol: float,
        at_most: int | None,
        in_doubt: InDoubt | None,
        taken: int,
    ) -> tuple[int, float]:
        """`solve` in float64 but for the cycle, after so many iterations; |r| by recurrence (collective)."""
        A, M, E = self.operator, self.preconditioner, self.operator.E
        r, p, q = (zeros(u.shape, sparse=self.work.sparse) for _ in range(3))
        assert self._load is not None
        self._load(r)
        r.reshape(-1)[A.held] = 0
        A.add(r, u, -1.0, E)
        self.work.drop_load()
        copy_scaled(M.b, r, self._scale, A.runs)
        rz, gain, norm, residual = 0.0, math.inf, self._norm or 1.0, A.norm(r)
        for iteration in range(taken, self.max_iterations + 1):
            small = residual <= rtol * norm and not (in_doubt is not None and residual and in_doubt(gain))
            if small or iteration == at_most or (iteration > taken and settled is not None and settled()):
                return iteration, residual / norm
            M.cycle()
            rz, before = A.dot(r, M.x), rz
            turn(p, M.x, rz / before if before else 0.0, A.runs)
            clear(q, A.runs)
            A.add(q, p, 1.0, E)
            pq = A.dot(p, q)
            if not (math.isfinite(rz) and math.isfinite(pq) and rz > 0 and pq > 0) or residual > DIVERGED * norm:
                raise SolverError(
                    f"the conjugate gradients broke down in iteration {iteration + 1} (r.z = {rz:.3g}, p.Ap = {pq:.3g})"
                )
            gain = rz * rz / pq
            squares = advance(u, r, p, q, rz / pq, rz / pq, A.planes.first_owned, A.runs)
            copy_scaled(M.b, r, self._scale, A.runs)
            residual = math.sqrt(A.planes.comm.allreduce(squares, MPI.SUM))
        raise SolverError(
            f"the conjugate gradients did not reach a relative residual of {rtol:g} in {self.max_iterations} "
            f"iterations ({residual / norm:.3g}; solver.max_iterations)"
        )

    def rest(self) -> None:
        """Let go of the load and of all memory that solves take (local)."""
        self._load = None
        self.work.release()

    def _look(self, u: Array) -> float:
        """Put the residual of u into that of the cycle; its norm (collective)."""
        norm = self._evaluate(u)
        copy_scaled(self.preconditioner.b, self.work.load, self._scale, self.operator.runs)
        self.work.drop_load()
        return norm

    def _look_loosely(self, u: Array, given: Forces) -> float:
        """`_look` in float32, for a load of which this rank owns what is given (collective)."""
        A, b = self._single, self.preconditioner.b
        clear(b, A.runs)
        b.reshape(-1)[given.dofs] = self._scale * given.values
        A.add(b, u, -self._scale * self._solid)
        return A.norm(b) / self._scale

    def _evaluate(self, u: Array | None) -> float:
        """Make work.load hold the load less A u, zero in the held dofs; its norm (collective)."""
        A, work = self.operator, self.work
        work.begin_residual()
        assert self._load is not None
        self._load(work.load)
        work.load.reshape(-1)[A.held] = 0
        if u is not None:
            A.add(work.load, u, -1.0, A.moduli(work.moduli))
        work.drop_moduli()
        return A.norm(work.load)
