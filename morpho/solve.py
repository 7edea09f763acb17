"""The design loop, and the verbs built on it: iterate, solve, resume."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from mpi4py import MPI

import numpy as np

from morpho.decoupled import opened, shared
from morpho.errors import NotFiniteError, OwnCodeError, SolverError, StorageError
from morpho.gradients import registry
from morpho.gradients.physics import from_state
from morpho.gradients.sharing import give_network
from morpho.gradients.supervisor import Advice
from morpho.interfaces import Array, DesignMap, Evaluation, Gradient, Status
from morpho.interrupt import Interrupt
from morpho.own_code import described, is_own
from morpho.parallel import failing_alike, largest_change
from morpho.parts import Parts, Restart
from morpho.problem.spec import Problem
from morpho.record import Recorder, check_folder, check_idle
from morpho.result import Result, make_result
from morpho.stopping import FEASIBLE, has_converged, without_drift

TIGHT = 1e-5  #: relative residual of the solve for the values of the returned design, where solver.rtol is larger


@dataclass(frozen=True)
class Step:
    """One design iteration: a design, what is known of it, and the update that follows from it."""

    iteration: int
    objective: float
    gradient: Gradient  #: of the compliance, with respect to rho
    x: Array  #: (n,) design variable, owned cells
    rho: Array  #: (n,) physical density, owned cells
    volume: float  #: fraction of the mesh
    greyness: float
    constraints: Array  #: (m,) normalised, feasible when <= 0
    change: float  #: largest change of a design variable by the update
    seconds: float
    status: Status | None  #: why the run ends here, None if it goes on
    advice: Advice  #: how the gradient came about
    restart: Restart  #: where the next iteration starts

    @property
    def max_constraint(self) -> float:
        """The worst constraint, feasible when <= 0."""
        return float(np.max(self.constraints))

    @property
    def exact_solves(self) -> int:
        """Exact gradients so far."""
        return self.restart.exact_solves

    @property
    def linear_iterations(self) -> int:
        """Linear solver iterations so far."""
        return self.restart.linear_iterations


def iterate(problem: Problem, comm: MPI.Comm | None = None) -> Iterator[Step]:
    """Run the design loop, one `Step` at a time, without writing anything (collective).

    Every rank has to take the same steps, but for solver ranks (`gradient.dni`), which take none. Leave early with
    `break`.
    """
    with opened(problem, comm or MPI.COMM_WORLD) as parts:
        if parts is not None:
            with Interrupt(parts.comm) as interrupt:
                yield from design_loop(parts, parts.start(), interrupt)


def solve(
    problem: Problem,
    output: str | Path | None = None,
    comm: MPI.Comm | None = None,
    on_step: Callable[[Step], None] | None = None,
    network: dict[str, Any] | None = None,
    overwrite: bool = False,
) -> Result:
    """Optimize; with `output`, write a run folder there; call `on_step` after every iteration (collective).

    A folder that holds the results of a run is refused, or they are removed with `overwrite`. With `network` the source
    goes on with that of another problem, its `Result.network`. Solver ranks (`gradient.dni`) take no steps and own no
    cells of the result.

    Raises:
        InputError: before any solve. Numerical failures do not raise: see `Result.status`.
        OwnCodeError: a function or source of the user's failed on all ranks; result.json is written. If it fails on
            some ranks only, all of them are aborted. What `on_step` raises is raised as it is.
    """
    start, comm = time.perf_counter(), comm or MPI.COMM_WORLD
    folder = None if output is None else check_folder(comm, Path(output), overwrite)

    def work(parts: Parts, interrupt: Interrupt) -> Result:
        if network is not None:
            give_network(problem, parts.source, network)
        with Recorder.create(parts, folder, start, overwrite, shown=output) as recorder:
            return _run(parts, parts.start(), recorder, interrupt, on_step)

    return _on_designers(problem, comm, work)


def resume(folder: str | Path, problem: Problem, comm: MPI.Comm | None = None) -> Result:
    """Go on from the newest checkpoint of a run folder, on any number of ranks (collective).

    Raises:
        InputError: there is no usable checkpoint, or it does not fit the problem; the folder is as it was.
        OwnCodeError: see `solve`.
    """
    start, comm = time.perf_counter(), comm or MPI.COMM_WORLD
    target = check_idle(comm, Path(folder))

    def work(parts: Parts, interrupt: Interrupt) -> Result:
        recorder, restart = Recorder.reopen(parts, target, start, shown=folder)
        with recorder:
            return _run(parts, restart, recorder, interrupt)

    return _on_designers(problem, comm, work)


def _on_designers(problem: Problem, comm: MPI.Comm, work: Callable[[Parts, Interrupt], Result]) -> Result:
    """What work gives on the ranks that design; the others solve meanwhile, their result has no cells (collective)."""
    result: Result | None = None
    with opened(problem, comm) as parts:
        if parts is not None:
            with Interrupt(parts.comm) as interrupt:
                result = work(parts, interrupt)
    return shared(result, comm)


def design_loop(parts: Parts, restart: Restart, interrupt: Interrupt) -> Iterator[Step]:
    """Design map, gradient, optimizer, again and again, until a step carries a status (collective)."""
    rule = parts.problem.optimizer
    while True:
        start = time.perf_counter()
        iteration = restart.iteration + 1
        stage_is_new = parts.enter_iteration(iteration)
        design = parts.design.at(iteration)
        x = parts.supervisor.leap(iteration, restart.x, design, stage_is_new)
        rho, pullback = design.apply(x)
        is_last = iteration == rule.max_iterations
        advice = parts.supervisor.advise(
            iteration,
            rho,
            parts.problem.move_limit(iteration),
            stage_is_new,
            stage_ends=not is_last and parts.parameters(iteration) != parts.parameters(iteration + 1),
            may_go_back=not is_last or restart.anchor_is_feasible,
        )
        state = restart.state
        if advice.rollback:
            assert restart.anchor is not None
            x, state = restart.anchor
            rho, pullback = design.apply(x)
        elif advice.how in ("exact", "correction") and parts.supervisor.supervises:
            restart = replace(restart, anchor=(x, state))
        gradient = advice.gradient
        smooth = partial(parts.design.smooth, x)
        image = None if parts.problem.design.projection is None else partial(_image, design)
        evaluation = parts.responses.evaluate(rho, gradient, pullback, smooth, parts.design.is_linear, image)
        if not _is_finite(parts.comm, evaluation):
            raise NotFiniteError(f"the objective, a constraint or a derivative is not finite in iteration {iteration}")
        x_next, state = replace(parts.optimizer, move_limit=advice.move_limit).step(x, evaluation, state)
        change = largest_change(parts.comm, x_next, x)
        worst = float(np.max(evaluation.constraints))
        if restart.anchor is not None and restart.anchor[0] is x:
            restart = replace(restart, anchor_is_feasible=worst <= FEASIBLE)
        earlier = () if stage_is_new else without_drift(restart.objectives, max(advice.since, 1), advice.drift)
        restart = Restart(
            iteration=iteration,
            x=x_next,
            state=state,
            objectives=(*earlier, evaluation.objective)[-rule.window :],
            exact_solves=restart.exact_solves + (gradient.kind == "exact") + advice.extra_solves,
            linear_iterations=restart.linear_iterations + gradient.linear_iterations,
            anchor=restart.anchor,
            anchor_is_feasible=restart.anchor_is_feasible,
        )
        status = None
        if interrupt.requested():
            status = Status.INTERRUPTED
        elif parts.settled(iteration) and has_converged(rule, change, restart.objectives, worst, advice.move_limit):
            status = Status.CONVERGED if parts.supervisor.confirms(gradient) else None
        elif iteration >= rule.max_iterations:
            status = Status.ITERATION_LIMIT
        volume, greyness = parts.responses.volume_and_greyness(rho)
        yield Step(
            iteration=iteration,
            objective=evaluation.objective,
            gradient=gradient,
            x=x,
            rho=rho,
            volume=volume,
            greyness=greyness,
            constraints=evaluation.constraints,
            change=change,
            seconds=time.perf_counter() - start,
            status=status,
            restart=restart,
            advice=advice,
        )
        if status is not None:
            return


def _run(
    parts: Parts,
    restart: Restart,
    recorder: Recorder,
    interrupt: Interrupt,
    on_step: Callable[[Step], None] | None = None,
) -> Result:
    """The loop with everything written down, and every failure turned into a status (collective)."""
    recorder.begin(restart)
    last: Step | None = None
    status, failure = Status.ITERATION_LIMIT, ""
    defect: BaseException | None = None
    calling_back = False
    try:
        with failing_alike(parts.comm):
            for step in design_loop(parts, restart, interrupt):
                last = step
                recorder.add(step)
                if on_step is not None:
                    calling_back = True
                    on_step(step)
                    calling_back = False
            assert last is not None and last.status is not None
            status, last = last.status, _certify(parts, last)
    except (SolverError, StorageError) as error:
        failure = str(error)
        kinds = {NotFiniteError: Status.NOT_FINITE, StorageError: Status.STORAGE_FAILED}
        status = kinds.get(type(error), Status.SOLVER_FAILED)
    except BaseException as error:  # on all ranks
        defect, failure, status = error, described(error), Status.CODE_FAILED
    result = make_result(parts, last, status, failure, recorder)
    recorder.end(result, last)
    if defect is None:
        return result
    if calling_back or not (registry.is_own(parts.problem.gradient.source) or is_own(defect)):
        raise defect
    raise OwnCodeError(result.message) from defect


def _certify(parts: Parts, step: Step) -> Step:
    """The step with its objective by a tight solve, whatever source gave the gradient (collective).

    The objective of a black box is its value at the design as it is.
    """
    if parts.problem.objective.kind == "black_box":
        return step
    if step.gradient.kind == "exact" and parts.problem.solver.rtol <= TIGHT:
        return step
    exact = from_state(parts.physics, parts.physics.solve(step.rho, min(parts.problem.solver.rtol, TIGHT)))
    evaluation = parts.responses.evaluate(step.rho, exact, lambda d: d, lambda d: d)
    restart = replace(
        step.restart,
        exact_solves=step.exact_solves + 1,
        linear_iterations=step.linear_iterations + exact.linear_iterations,
    )
    constraints = evaluation.constraints
    return replace(step, objective=evaluation.objective, constraints=constraints, gradient=exact, restart=restart)


def _image(design: DesignMap, x: Array) -> Array:
    """(n,) physical density of a design variable (collective)."""
    return design.apply(x)[0]


def _is_finite(comm: MPI.Comm, evaluation: Evaluation) -> bool:
    """Whether every value and derivative is a finite number, on all ranks (collective)."""
    parts = (evaluation.objective, evaluation.d_objective, evaluation.constraints, evaluation.d_constraints)
    return bool(comm.allreduce(all(bool(np.isfinite(np.sum(part))) for part in parts), MPI.LAND))
