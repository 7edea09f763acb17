"""The design loop: design map, gradient, optimizer, again and again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from mpi4py import MPI

import numpy as np

from morpho.errors import NotFiniteError
from morpho.gradients.physics import from_state
from morpho.interfaces import Evaluation, Gradient, Status
from morpho.interrupt import Interrupt
from morpho.parallel import largest_change
from morpho.parts import Parts
from morpho.step import Restart, Step
from morpho.stopping import FEASIBLE, has_converged, without_drift

TIGHT = 1e-5  #: relative residual of the solve for the values of the returned design, where solver.rtol is larger


def design_loop(parts: Parts, restart: Restart, interrupt: Interrupt) -> Iterator[Step]:
    """Design map, gradient, optimizer, again and again, until a step carries a status (collective)."""
    while True:
        step = _iteration(parts, restart, interrupt)
        restart, ends = step.restart, step.status is not None
        yield step
        del step  # what is in it takes much memory
        if ends:
            return


def _iteration(parts: Parts, restart: Restart, interrupt: Interrupt) -> Step:
    """Design map, gradient, optimizer once; nothing but the step outlives it (collective)."""
    rule = parts.problem.optimizer
    start = time.perf_counter()
    iteration = restart.iteration + 1
    stage_is_new = parts.enter_iteration(iteration)
    design = parts.design.at(iteration)
    x = parts.supervisor.leap(iteration, restart.x, design, stage_is_new)
    drawn = parts.design.realise(iteration, x)
    is_last = iteration >= rule.max_iterations
    advice = parts.supervisor.advise(
        iteration,
        drawn.solved,
        parts.problem.move_limit(iteration),
        stage_is_new,
        stage_ends=not is_last and parts.parameters(iteration) != parts.parameters(iteration + 1),
        may_go_back=not is_last or restart.anchor_is_feasible,
    )
    state = restart.state
    if advice.rollback:
        assert restart.anchor is not None
        x, state = restart.anchor
        drawn = parts.design.realise(iteration, x)
    elif advice.how in ("exact", "correction") and parts.supervisor.supervises:
        restart = replace(restart, anchor=(x, state))
    gradient = advice.gradient
    smooth = partial(parts.design.smooth, x)
    image = partial(parts.design.trial, iteration) if parts.design.is_curved else None
    evaluation = parts.responses.evaluate(
        drawn.rho,
        gradient,
        drawn.pullback,
        smooth,
        image,
        drawn.solved_pullback,
        drawn.grown,
    )
    if not _is_finite(parts.comm, evaluation):
        raise NotFiniteError(f"the objective, a constraint or a derivative is not finite in iteration {iteration}")
    for _, functional in parts.evolving:
        functional.advance()
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
    status = interrupt.requested() or _ending(parts, restart, change, worst, advice.move_limit, gradient)
    if status is not None:
        parts.design.forget_trial()
    volume, greyness = parts.responses.volume_and_greyness(drawn.rho)
    return Step(
        iteration=iteration,
        objective=evaluation.objective,
        gradient=gradient,
        x=x,
        rho=drawn.rho,
        solved=drawn.solved,
        grown=None if drawn.grown is None else drawn.grown[0],
        volume=volume,
        greyness=greyness,
        constraints=evaluation.constraints,
        change=change,
        seconds=time.perf_counter() - start,
        status=status,
        restart=restart,
        advice=advice,
    )


def _ending(
    parts: Parts, restart: Restart, change: float, worst: float, move_limit: float, gradient: Gradient
) -> Status | None:
    """Whether the run has come to its end by itself (collective)."""
    rule, iteration = parts.problem.optimizer, restart.iteration
    if parts.problem.settled(iteration) and has_converged(rule, change, restart.objectives, worst, move_limit):
        return Status.CONVERGED if parts.supervisor.confirms(gradient) else None
    return Status.ITERATION_LIMIT if iteration >= rule.max_iterations else None


def certify(parts: Parts, step: Step) -> Step:
    """The step with its objective by a tight solve, whatever source gave the gradient (collective).

    The objective of a black box is its value at the design as it is.
    """
    if parts.problem.objective.kind == "black_box":
        return step
    if step.gradient.kind == "exact" and parts.problem.solver.rtol <= TIGHT:
        return step
    exact = from_state(parts.physics, parts.physics.solve(step.solved, min(parts.problem.solver.rtol, TIGHT)))
    evaluation = parts.responses.evaluate(step.rho, exact, lambda d: d, lambda d: d)
    restart = replace(
        step.restart,
        exact_solves=step.exact_solves + 1,
        linear_iterations=step.linear_iterations + exact.linear_iterations,
    )
    constraints = evaluation.constraints
    return replace(step, objective=evaluation.objective, constraints=constraints, gradient=exact, restart=restart)


def _is_finite(comm: MPI.Comm, evaluation: Evaluation) -> bool:
    """Whether every value and derivative is a finite number, on all ranks (collective)."""
    parts = (evaluation.objective, evaluation.d_objective, evaluation.constraints, evaluation.d_constraints)
    return bool(comm.allreduce(all(bool(np.isfinite(np.sum(part))) for part in parts), MPI.LAND))
