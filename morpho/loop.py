"""The design loop: design map, gradient, optimizer, again and again."""

from __future__ import annotations

import logging
import math
import time
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from mpi4py import MPI

import numpy as np

from morpho.errors import NotFiniteError
from morpho.gradients.physics import from_state
from morpho.gradients.supervisor import Advice
from morpho.interfaces import Evaluation, Status
from morpho.interrupt import Interrupt
from morpho.parallel import largest_change
from morpho.parts import Parts
from morpho.step import Restart, Step
from morpho.stopping import FEASIBLE, has_converged, is_flat, remembered, swings, without_drift

log = logging.getLogger("morpho")

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
    place = iteration + restart.ahead
    stage_is_new = parts.enter_iteration(place)
    design = parts.design.at(place)
    x = parts.supervisor.leap(iteration, restart.x, design, stage_is_new)
    drawn = parts.design.realise(place, x)
    is_last = place >= rule.max_iterations
    advice = parts.supervisor.advise(
        iteration,
        drawn.solved,
        parts.problem.move_limit(place),
        stage_is_new,
        stage_ends=not is_last and parts.parameters(place) != parts.parameters(place + 1),
        may_go_back=not is_last or restart.anchor_is_feasible,
        left=rule.max_iterations - place,
    )
    state = restart.state
    corrected = advice.how in ("exact", "correction") and parts.supervisor.supervises
    if advice.rollback:
        assert restart.anchor is not None
        x, state = restart.anchor[0].astype(np.float64), restart.anchor[1]
        drawn = parts.design.realise(place, x)
    elif corrected:
        restart = replace(restart, anchor=(x.astype(np.float32), state))
    gradient = advice.gradient
    smooth = partial(parts.design.smooth, x)
    image = partial(parts.design.trial, place) if parts.design.is_curved else None
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
    evaluation = replace(evaluation, error=_error(parts, advice), renewed=stage_is_new)
    gradient = advice.gradient.kept
    advice = replace(advice, gradient=gradient)
    for _, functional in parts.evolving:
        functional.advance()
    x_next, state = replace(parts.optimizer, move_limit=advice.move_limit).step(x, evaluation, state)
    change = largest_change(parts.comm, x_next, x)
    worst = float(np.max(evaluation.constraints))
    if advice.rollback or corrected:
        restart = replace(restart, anchor_is_feasible=worst <= FEASIBLE)
    earlier = () if stage_is_new else without_drift(restart.objectives, max(advice.since, 1), advice.drift)
    restart = Restart(
        iteration=iteration,
        x=x_next,
        state=state,
        objectives=(*earlier, evaluation.objective)[-remembered(rule) :],
        changes=(*(restart.changes if earlier else ()), change)[-remembered(rule) :],
        exact_solves=restart.exact_solves + (gradient.kind == "exact") + advice.extra_solves,
        linear_iterations=restart.linear_iterations + gradient.linear_iterations,
        anchor=restart.anchor,
        anchor_is_feasible=restart.anchor_is_feasible,
        ahead=restart.ahead,
    )
    status = interrupt.requested() or _ending(parts, restart, worst, advice)
    if status is None:
        restart = _next_stage(parts, restart, worst, advice)
    else:
        parts.design.forget_trial()
    volume, greyness = parts.responses.volume_and_greyness(drawn.rho)
    return Step(
        iteration=iteration,
        place=place,
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


def _error(parts: Parts, advice: Advice) -> float:
    """How far the objective may be off, relative; infinite for an estimate (local)."""
    if advice.gradient.kind == "exact":
        return parts.problem.solver.rtol
    loose = parts.supervisor.spec.correction_rtol
    return loose if advice.how == "correction" and loose is not None else math.inf


def _ending(parts: Parts, restart: Restart, worst: float, advice: Advice) -> Status | None:
    """Whether the run has come to its end by itself (collective)."""
    rule, place = parts.problem.optimizer, restart.iteration + restart.ahead
    if parts.problem.settled(place):
        status = None
        if has_converged(rule, restart.changes[-1], restart.objectives, worst, advice.move_limit):
            status = Status.CONVERGED
        elif swings(rule, restart.changes, restart.objectives, worst):
            status = Status.SWINGING
        if status is not None:
            return status if parts.supervisor.confirms(advice.gradient) else None
    return Status.ITERATION_LIMIT if place >= rule.max_iterations else None


def _next_stage(parts: Parts, restart: Restart, worst: float, advice: Advice) -> Restart:
    """Leaves out what is planned of a stage that ends here, which only known objectives tell (local)."""
    rule, place = parts.problem.optimizer, restart.iteration + restart.ahead
    ends = [stage.until or 0 for stage in rule.stages[:-1]]
    stage = bisect_left(ends, place)
    if stage == len(ends):
        return restart
    known = _error(parts, advice) < math.inf and not advice.rollback
    if place < ends[stage]:
        if not known or not is_flat(rule, restart.objectives, worst):
            return restart
        log.info(f"it {restart.iteration}: the objective is flat; stage {stage + 1} of {len(ends) + 1} ends here")
    return replace(restart, ahead=restart.ahead + ends[stage] - place, objectives=(), changes=())


def certify(parts: Parts, step: Step) -> Step:
    """The step with its objective by a tight solve, whatever source gave the gradient (collective).

    What is known of a design that was gone back to is of a density that was kept in few bits, and is solved for, too.
    The objective of a black box is its value at the design as it is.
    """
    if parts.problem.objective.kind == "black_box":
        return step
    if step.gradient.kind == "exact" and parts.problem.solver.rtol <= TIGHT and not step.advice.rollback:
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
