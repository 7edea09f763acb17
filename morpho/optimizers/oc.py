"""Optimality criteria: the update for one volume-like constraint."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mpi4py import MPI

import numpy as np

from morpho.interfaces import Array, Evaluation
from morpho.optimizers.one_constraint import (
    EVALUATED,
    LANES,
    TOLERANCE,
    by_secants,
    compiled,
    find_zero,
    negligible,
    sums,
)

REVIVED = 1e-3  #: what an entry below it grows from under a projection: what is zero once would stay zero for ever
TINY = 1e-100  #: a candidate below this stays at its lower limit
STILL = 1e-12  #: the largest candidate, stretched, at which every entry is at its lower limit, to rounding


@dataclass(frozen=True)
class OCState:
    """Bounds of x, and where the last search for the multiplier ended; the method keeps no other history."""

    lower: float
    upper: float
    stretch: float = 0.0


@dataclass(frozen=True)
class OC:
    """Optimality criteria for one constraint whose derivatives are >= 0, as an `Optimizer`.

    With a projection both derivatives of an entry may be tiny, but their ratio is a mean of the ratios of the cells it
    acts on: neither is ever clamped. What the constraint comes to is then found by evaluating it, since its
    linearisation is far off where the projection is steep, and x that has come to zero may grow again: a projected
    design of a steeper stage needs other cells.

    Source: Bendsoe & Sigmund, Topology Optimization (2003), section 1.2; Andreassen et al. (2011),
    doi 10.1007/s00158-010-0594-7.
    """

    comm: MPI.Comm
    move_limit: float = 0.2  #: largest change of an entry in one step
    damping: float = 0.5

    def init(self, x: Array, lower: float, upper: float) -> OCState:
        """Return the state before the first step (local)."""
        return OCState(lower, upper)

    def step(self, x: Array, evaluation: Evaluation, state: OCState) -> tuple[Array, OCState]:
        """Return the next x (n,) (collective).

        x_new = x (max(0, -d_objective) / (lam d_constraint))**damping, clipped to the move limits, with lam so that
        the constraint is zero (the linearised one, if no `constraint_at` is given), or as near to it as the limits
        allow. Entries without influence on the constraint stay. InputError if the constraint does not fit the method,
        SolverError if a value is not finite.
        """
        least_weight = negligible(self.comm, "OC", x, evaluation)
        weight, value = evaluation.d_constraints[0], float(evaluation.constraints[0])
        candidate, x_new = np.empty_like(x), np.empty_like(x)
        entries = candidate, x, weight, least_weight, self.move_limit, state.lower, state.upper
        constraint_at = evaluation.constraint_at
        least = 0.0 if constraint_at is None else REVIVED
        *ends, farthest, largest = _candidates(evaluation.d_objective, self.damping, least, *entries)
        at_low, at_high, slope = sums(self.comm, *ends)
        for t, linearised, sign in ((0.0, value + at_low, 1.0), (np.inf, value + at_high, -1.0)):
            if sign * linearised >= 0.0 or slope <= 0.0:
                _stretch(x_new, t, *entries)
                reached = constraint_at is None or sign * constraint_at(x_new) >= 0.0
                if reached or slope <= 0.0:
                    return x_new, state
        above, largest = (float(self.comm.allreduce(most, MPI.MAX)) for most in (farthest, largest))

        def miss(t: float) -> tuple[float, float]:
            change, rate = sums(self.comm, *_stretch(x_new, t, *entries))
            return (value + change if constraint_at is None else constraint_at(x_new)), rate

        below = -(value + at_low) / slope  # as no entry moves faster than t candidate
        if constraint_at is None:
            stretch = find_zero(miss, below, above, state.stretch, TOLERANCE * (at_high - at_low))
        else:
            start = state.stretch or abs(below)
            stretch = find_zero(by_secants(miss), STILL / largest, above, start, EVALUATED, EVALUATED, reach=4.0)
        return x_new, replace(state, stretch=stretch)


@compiled
def _candidates(d_objective, damping, least, candidate, x, weight, negligible, move, lower, upper):
    """Fill in the candidates max(x, least) (max(0, -d_objective) / weight)**damping.

    Returns:
        change of the constraint with all entries at their lower limits, at their upper ones, and its rate with t;
        t at which the last entry is at its upper limit; and the largest candidate.
    """
    for i in range(len(x)):
        w = weight[i] if weight[i] > negligible else 0.0
        fall = -d_objective[i] if d_objective[i] < 0.0 else 0.0
        candidate[i] = fall / w if w > 0.0 else 0.0
    if damping == 0.5:
        for i in range(len(x)):
            candidate[i] = np.sqrt(candidate[i])
    else:
        for i in range(len(x)):
            candidate[i] = candidate[i] ** damping
    at_low, at_high, slope = 0.0, 0.0, 0.0
    for i in range(len(x)):
        w = weight[i] if weight[i] > negligible else 0.0
        c = (x[i] if x[i] > least else least) * candidate[i]
        c = c if c > TINY else 0.0
        candidate[i] = c
        low, high = _limits(x[i], c, move, lower, upper)
        at_low += w * (low - x[i])
        at_high += w * (high - x[i])
        slope += w * c
    return at_low, at_high, slope, *_farthest(candidate, x, move, lower, upper)


@compiled
def _limits(x, candidate, move, lower, upper):
    low, high = x - move, x + move
    low, high = low if low < upper else upper, high if high < upper else upper
    low, high = low if low > lower else lower, high if high > lower else lower
    return low, high if candidate > 0.0 else low


@compiled
def _farthest(candidate, x, move, lower, upper):
    """t at which the last entry is at its upper limit, and the largest candidate."""
    farthest, largest = np.zeros(LANES), np.zeros(LANES)
    for start in range(0, len(x), LANES):
        part, at = candidate[start : start + LANES], x[start : start + LANES]
        for i in range(len(part)):
            c = part[i]
            _, high = _limits(at[i], c, move, lower, upper)
            t = high / c if c > 0.0 else 0.0
            farthest[i] = t if t > farthest[i] else farthest[i]
            largest[i] = c if c > largest[i] else largest[i]
    return farthest.max(), largest.max()


@compiled
def _stretch(x_new, t, candidate, x, weight, negligible, move, lower, upper):
    """x_new = clip(t candidate) to the limits; change of the constraint, and its rate with t."""
    change, slope = 0.0, 0.0
    for i in range(len(x)):
        w = weight[i] if weight[i] > negligible else 0.0
        low, high = _limits(x[i], candidate[i], move, lower, upper)
        stretched = t * candidate[i] if candidate[i] > 0.0 else low
        y = min(high, max(low, stretched))
        y = y if w > 0.0 else x[i]
        x_new[i] = y
        change += w * (y - x[i])
        slope += w * candidate[i] if y == stretched else 0.0
    return change, slope
