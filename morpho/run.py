"""The verbs: iterate, solve, resume."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mpi4py import MPI

from morpho.decoupled import opened, shared
from morpho.errors import NotFiniteError, OwnCodeError, SolverError, StorageError
from morpho.gradients import registry
from morpho.gradients.sharing import give_network
from morpho.interfaces import Array, Status
from morpho.interrupt import Clock, Interrupt
from morpho.levels import begin_on_levels
from morpho.loop import certify, design_loop
from morpho.outcome import make_result
from morpho.own_code import described, is_own
from morpho.parallel import failing_alike
from morpho.parts import Parts
from morpho.problem.spec import Problem
from morpho.record import Recorder, check_folder, check_idle
from morpho.result import Result
from morpho.results.history import HistoryRow
from morpho.start import check as check_start
from morpho.step import Step


def iterate(problem: Problem, comm: MPI.Comm | None = None, x0: Array | None = None) -> Iterator[Step]:
    """Run the design loop, one `Step` at a time, without writing anything (collective).

    Every rank has to take the same steps, but for solver ranks (`gradient.dni`), which take none. Leave early with
    `break`. `x0` is as in `solve`. Iterations on coarser grids (`optimizer.levels`) come before the first step.
    """
    check_start(problem, comm or MPI.COMM_WORLD)
    with opened(problem, comm or MPI.COMM_WORLD) as parts:
        if parts is not None:
            with Interrupt(parts.comm) as interrupt:
                yield from design_loop(parts, begin_on_levels(parts, x0, interrupt).restart, interrupt)


def solve(
    problem: Problem,
    output: str | Path | None = None,
    comm: MPI.Comm | None = None,
    on_step: Callable[[Step], None] | None = None,
    network: dict[str, Any] | None = None,
    overwrite: bool = False,
    x0: Array | None = None,
    time_limit: float | None = None,
) -> Result:
    """Optimize; with `output`, write a run folder there; call `on_step` after every iteration (collective).

    `on_step` sees no iterations on coarser grids (`optimizer.levels`).
    A folder that holds the results of a run is refused, or they are removed with `overwrite`. With `network` the source
    goes on with that of another problem, its `Result.network`. `x0` (n,) is the design variable to start with, in the
    order of `Result.x` on as many ranks, and is taken as it is but for passive cells. After `time_limit` seconds the
    run ends with a checkpoint, an iteration too early rather than too late. Solver ranks (`gradient.dni`) take no
    steps and own no cells of the result.

    Raises:
        InputError: before any solve. Numerical failures do not raise: see `Result.status`.
        OwnCodeError: a function or source of the user's failed on all ranks; result.json is written. If it fails on
            some ranks only, all of them are aborted. What `on_step` raises is raised as it is.
    """
    start, comm = time.perf_counter(), comm or MPI.COMM_WORLD
    folder = None if output is None else check_folder(comm, Path(output), overwrite)
    check_start(problem, comm)

    def work(parts: Parts, interrupt: Interrupt) -> Result:
        if network is not None:
            give_network(problem, parts.source, network)
        first = begin_on_levels(parts, x0, interrupt)
        notes, rows, done = first.notes, first.rows, first.restart.iteration
        steps = design_loop(parts, first.restart, interrupt)
        del first  # the steps alone hold what they start from, and let go of it
        with Recorder.create(parts, folder, start, overwrite, shown=output, notes=notes) as recorder:
            return _run(parts, steps, done, recorder, on_step, rows)

    return _on_designers(problem, comm, work, time_limit)


def resume(
    folder: str | Path, problem: Problem, comm: MPI.Comm | None = None, time_limit: float | None = None
) -> Result:
    """Go on from the newest checkpoint of a run folder, on any number of ranks (collective); see `solve`.

    Raises:
        InputError: there is no usable checkpoint, or it does not fit the problem; the folder is as it was.
        OwnCodeError: see `solve`.
    """
    start, comm = time.perf_counter(), comm or MPI.COMM_WORLD
    target = check_idle(comm, Path(folder))

    def work(parts: Parts, interrupt: Interrupt) -> Result:
        recorder, restart = Recorder.reopen(parts, target, start, shown=folder)
        done, steps = restart.iteration, design_loop(parts, restart, interrupt)
        del restart
        with recorder:
            return _run(parts, steps, done, recorder)

    return _on_designers(problem, comm, work, time_limit)


def _on_designers(
    problem: Problem, comm: MPI.Comm, work: Callable[[Parts, Interrupt], Result], time_limit: float | None
) -> Result:
    """What work gives on the ranks that design; the others solve meanwhile, their result has no cells (collective)."""
    result: Result | None = None
    clock = Clock(time_limit)
    with opened(problem, comm) as parts:
        if parts is not None:
            with Interrupt(parts.comm, clock.left()) as interrupt:
                result = work(parts, interrupt)
    return shared(result, comm)


def _run(
    parts: Parts,
    steps: Iterator[Step],
    done: int,
    recorder: Recorder,
    on_step: Callable[[Step], None] | None = None,
    rows: Sequence[HistoryRow] = (),
) -> Result:
    """The steps after the `done` ones with everything written down, every failure turned into a status (collective)."""
    recorder.begin(done, rows)
    last: Step | None = None
    status, failure = Status.ITERATION_LIMIT, ""
    defect: BaseException | None = None
    calling_back = False
    try:
        with failing_alike(parts.comm):
            for step in steps:
                last = step
                recorder.add(step)
                if on_step is not None:
                    calling_back = True
                    on_step(step)
                    calling_back = False
                last = step.kept() if step.status is None else step
                del step
            assert last is not None and last.status is not None
            status, last = last.status, certify(parts, last)
    except (SolverError, StorageError) as error:
        failure = str(error)
        kinds = {NotFiniteError: Status.NOT_FINITE, StorageError: Status.STORAGE_FAILED}
        status = kinds.get(type(error), Status.SOLVER_FAILED)
    except BaseException as error:  # on all ranks
        defect, failure, status = error, described(error), Status.CODE_FAILED
    if last is not None and last.status is None:
        last = last.with_densities(parts.design.realise)
    result = make_result(parts, last, status, failure, recorder)
    recorder.end(result, last)
    if defect is None:
        return result
    if calling_back or not (registry.is_own(parts.problem.gradient.source) or is_own(defect)):
        raise defect
    raise OwnCodeError(result.message) from defect
