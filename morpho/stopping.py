"""When to stop."""

from __future__ import annotations

import math
from collections.abc import Sequence

from morpho.problem.solving import OptimizerSpec

FEASIBLE = 1e-3


def without_drift(objectives: Sequence[float], since: int, drift: float) -> tuple[float, ...]:
    """Estimated objectives after a correction `since` iterations later has shown how far they had drifted (local).

    The drift is taken to have grown evenly since the correction before, so the latest ones are changed most. Where the
    sign was wrong they say nothing, and none is left.
    """
    if not 0 < drift < math.inf:
        return ()
    last = len(objectives)
    shares = [max(0.0, 1 - (last - i) / since) for i in range(last)]
    return tuple(value * drift**share for value, share in zip(objectives, shares, strict=True))


def has_converged(
    rule: OptimizerSpec, change: float, objectives: Sequence[float], worst_constraint: float, move_limit: float
) -> bool:
    """Whether the design has settled (local).

    Args:
        rule: tolerances of the problem file.
        change: largest change of a design variable by the update.
        objectives: objective of every iteration of the present continuation stage, oldest first.
        worst_constraint: largest normalised constraint value.
        move_limit: largest change that the update allowed; a design held back by it has not settled.

    The change alone often never falls below the tolerance (single cells flip for ever), so the objective over a
    window decides as well.
    """
    if worst_constraint > FEASIBLE or len(objectives) < 2:
        return False
    if change <= min(rule.tolerance, 0.5 * move_limit):
        return True
    recent = objectives[-rule.window :]
    spread = max(recent) - min(recent)
    return len(recent) == rule.window and spread <= rule.objective_tolerance * abs(recent[-1])
