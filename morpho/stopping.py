"""When to stop."""

from __future__ import annotations

import math
from collections.abc import Sequence

from morpho.problem.solving import OptimizerSpec

FEASIBLE = 1e-3
FLAT = 5  #: designs over which the objective of a stage that ends early has to be flat
DAMPED = 0.5  #: factor by which changes have to fall from one window to the next in order to count as dying down


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


def remembered(rule: OptimizerSpec) -> int:
    """Designs whose objectives and changes have to be remembered (local)."""
    return max(2 * rule.window, FLAT)


def swings(rule: OptimizerSpec, changes: Sequence[float], objectives: Sequence[float], worst_constraint: float) -> bool:
    """Whether the design goes back and forth within bounds, and nothing comes of it (local).

    From one window to the next the objective has neither sunk nor risen by more than `objective_tolerance`, by its
    least, its mean and its largest value; nor does its least value sink within the second. The changes do not die
    down, and the design is one of the better half of the swing.

    Args:
        changes: largest change of a design variable by every update that the objectives belong to.
    """
    n = rule.window
    if rule.objective_tolerance == 0 or worst_constraint > FEASIBLE or min(len(objectives), len(changes)) < 2 * n:
        return False
    before, now = objectives[-2 * n : -n], objectives[-n:]
    slack = rule.objective_tolerance * abs(now[-1])
    progress = max(min(before) - min(now), (sum(before) - sum(now)) / n, min(now[: n // 2]) - min(now[n // 2 :]))
    if progress > slack or max(now) > max(before) + slack or now[-1] > (min(now) + max(now)) / 2:
        return False
    return sum(changes[-n:]) >= DAMPED * sum(changes[-2 * n : -n])


def is_flat(rule: OptimizerSpec, objectives: Sequence[float], worst_constraint: float) -> bool:
    """Whether the objective of a stage hardly changes any more (local)."""
    recent = objectives[-FLAT:]
    if rule.stage_tolerance is None or worst_constraint > FEASIBLE or len(recent) < FLAT:
        return False
    return max(recent) - min(recent) <= rule.stage_tolerance * abs(recent[-1])
