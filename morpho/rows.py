"""A design iteration as a row of history.csv."""

from __future__ import annotations

from morpho.feasibility import responses
from morpho.parts import Parts
from morpho.results.history import HistoryRow
from morpho.step import Step


def history_row(parts: Parts, step: Step, coarser: int = 1) -> HistoryRow:
    """What is kept of a step, on a grid that may be coarser than that of the problem (local)."""
    limited = responses(parts.responses.bounds, [float(g) for g in step.constraints])
    return HistoryRow(
        iteration=step.iteration,
        objective=step.objective,
        kind=step.gradient.kind,
        volume=step.volume,
        change=step.change,
        greyness=step.greyness,
        exact_solves=step.exact_solves,
        linear_iterations=step.linear_iterations,
        seconds=step.seconds,
        max_constraint=step.max_constraint,
        move_limit=step.advice.move_limit,
        step=step.advice.how,
        since=step.advice.since,
        error=step.advice.error,
        secant_error=step.advice.rival_error,
        gap=step.advice.gap,
        coarse_iterations=step.gradient.coarse_iterations,
        rollback=int(step.advice.rollback),
        solver=parts.physics.beside,
        coarser=coarser,
        responses={name: found.value for name, found in limited.items()},
        **parts.parameters(step.place),
    )
