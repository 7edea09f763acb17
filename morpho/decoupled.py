"""Ranks that only solve: they make the exact gradients of `source: dni` while the others go on designing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from mpi4py import MPI

import numpy as np

from morpho import memory
from morpho.errors import InputError, MorphoError, SolverError, in_words
from morpho.fem.assembled import AssembledEquation
from morpho.fem.voxel.equation import VoxelEquation
from morpho.gradients.dni import Point
from morpho.gradients.physics import from_state
from morpho.interfaces import Array, Gradient
from morpho.interrupt import Interrupt
from morpho.parallel import abort, failing_alike, raise_together
from morpho.parts import Parts, complaints, make_replica, rest_collector
from morpho.problem.spec import Problem
from morpho.redistribute import Arrival, Redistribution
from morpho.result import Result

log = logging.getLogger("morpho")

ORDERS, DENSITIES, FIELDS, REPORTS = range(4)  #: tags of messages between the two kinds of ranks
NOTHING = np.zeros(0, np.int64)

T = TypeVar("T", bound=AbstractContextManager[Any])


@dataclass(frozen=True)
class Stop:
    """The last order to a solver rank."""

    error: MorphoError | None  #: what ended the design loop, if it was an error


@dataclass(frozen=True)
class Report:
    """What the first solver rank says of a solve; the fields come from all of them."""

    gradient: Gradient | None  #: without fields
    failure: str = ""


@contextmanager
def opened(problem: Problem, comm: MPI.Comm) -> Iterator[Parts | None]:
    """The parts of a problem on the ranks that design; None on solver ranks, once the others are done (collective).

    Raises:
        InputError: on all ranks, what is wrong with the problem.
        MorphoError: on solver ranks, what ended the others.
    """
    count = problem.gradient.dni.solver_ranks if problem.gradient.source == "dni" else 0
    if count >= comm.size:
        raise InputError(
            f"gradient.dni.solver_ranks: {count} of {comm.size} rank{'s' * (comm.size > 1)} leave none to design; "
            f"start more of them (mpirun -n {count + 1} or more), or set it to 0"
        )
    if count == 0:
        with Parts(problem, comm) as parts, failing_alike(comm):
            yield parts
        return
    raise_together(comm, complaints(problem))
    raise_together(comm, memory.complaints(problem, comm))
    solves = comm.rank >= comm.size - count
    own = comm.Split(solves, comm.rank)
    with ExitStack() as stack:
        stack.callback(own.Free)
        if solves:
            rest_collector(stack, own)
            physics = _entered_together(stack, comm, lambda: make_replica(problem, own))
            try:
                error = _serve(comm, physics, problem.gradient.correction_rtol)
            except BaseException:  # those that design are waiting
                abort(f"rank {comm.rank}, which solves, failed; all ranks are stopped")
            if error is not None:
                raise error
            yield None
            return

        solvers = SolverRanks(comm, own)
        parts = _entered_together(stack, comm, lambda: Parts(problem, own, solvers))
        solvers.connect(parts)
        log.info(f"ranks: {own.size} to design, {count} to solve")
        try:
            with failing_alike(own):
                yield parts
        except MorphoError as error:
            solvers.stop(error)
            raise
        except GeneratorExit:
            solvers.stop(None)
            raise
        except BaseException as error:
            solvers.stop(MorphoError(f"the design loop ended: {in_words(error)}"))
            raise
        solvers.stop(None)


def shared(result: Result | None, comm: MPI.Comm) -> Result:
    """The result of rank 0, on solver ranks without its cells (collective)."""
    nothing = np.zeros(0)
    without_cells = None if result is None else replace(result, x=nothing, rho=nothing, key=NOTHING)
    found = comm.bcast(without_cells, root=0)
    assert found is not None
    return result or found


def _entered_together(stack: ExitStack, comm: MPI.Comm, make: Callable[[], T]) -> T:
    """Enter what make gives; what any rank complains of is raised on all (collective)."""
    made: T | None = None
    said: list[str] = []
    try:
        made = make()
        stack.push(made)
    except InputError as error:
        said = error.complaints
    raise_together(comm, said)
    assert made is not None
    return made


class SolverRanks:
    """The solver ranks as the others see them, see `gradients.decoupling.Solver`; nothing here waits but `stop`."""

    def __init__(self, world: MPI.Comm, own: MPI.Comm) -> None:
        self.world, self.own = world, own
        self._material: Any = None
        self._sent: list[MPI.Request] = []
        self._fields: Arrival | None = None  #: of the gradient under way
        self._coming: MPI.Request | None = None  #: its report, on rank 0
        self._report: Report | None = None

    def connect(self, parts: Parts) -> None:
        """Plan the exchange (collective over all ranks)."""
        key = parts.mesh.key
        self._densities = Redistribution(self.world, key, NOTHING)
        self._answers = Redistribution(self.world, NOTHING, key)
        self._cases = len(parts.physics.cases)

    def begin(self, at: Point, now: int) -> None:
        """Hand a design to the solver ranks (local)."""
        MPI.Request.Waitall(self._sent)
        self._sent = self._order(at.material)
        self._sent += self._densities.send(at.rho, DENSITIES)
        self._fields = self._answers.receive(2 * self._cases, FIELDS)
        if self.own.rank == 0:
            self._coming = self.world.irecv(source=self.own.size, tag=REPORTS)

    def finished(self, now: int) -> Gradient | None:
        """The gradient that was begun, when all of it is on all ranks (collective)."""
        assert self._fields is not None
        if self._coming is not None:
            has_come, report = self._coming.test()
            if has_come:
                self._coming, self._report = None, report
        there = self._fields.is_there() and self._coming is None
        if not self.own.allreduce(there, MPI.LAND):
            return None
        report = self.own.bcast(self._report, root=0)
        fields = np.ascontiguousarray(self._fields.values().T)
        self._fields, self._report = None, None
        if report.gradient is None:
            raise SolverError(report.failure)
        return replace(report.gradient, energy=fields[: self._cases], d_cases=fields[self._cases :])

    def stop(self, error: MorphoError | None) -> None:
        """Send the solver ranks home, after what they are at (local)."""
        orders = self._order(Stop(error))
        if self._fields is not None:
            self._fields.values()
        if self._coming is not None:
            self._coming.wait()
        MPI.Request.Waitall(self._sent + orders)

    def _order(self, order: Any) -> list[MPI.Request]:
        """Tell all solver ranks what is next; rank 0 does (local)."""
        if self.own.rank != 0:
            return []
        return [self.world.isend(order, rank, ORDERS) for rank in range(self.own.size, self.world.size)]


def _serve(world: MPI.Comm, physics: AssembledEquation | VoxelEquation, rtol: float | None) -> MorphoError | None:
    """Solve one design after the other until told to stop; the error that ended the others, if any (collective)."""
    densities = Redistribution(world, NOTHING, physics.mesh.key)
    answers = Redistribution(world, physics.mesh.key, NOTHING)
    own, shape = physics.comm, (2 * len(physics.cases), physics.mesh.n)
    with Interrupt(own):  # the ranks that design say when to end
        while True:
            order = world.recv(source=0, tag=ORDERS)
            if isinstance(order, Stop):
                return order.error
            physics.material = order
            rho = np.ascontiguousarray(densities.receive(1, DENSITIES).values()[:, 0])
            fields: Array = np.zeros(shape)
            try:
                exact = from_state(physics, physics.solve(rho, rtol))
                assert exact.energy is not None
                fields = np.concatenate([exact.energy, exact.d_cases])
                report = Report(replace(exact, energy=None, d_cases=fields[:0]))
            except SolverError as error:
                report = Report(None, str(error))
            requests = answers.send(fields.T, FIELDS)
            if own.rank == 0:
                requests.append(world.isend(report, 0, REPORTS))
            MPI.Request.Waitall(requests)
