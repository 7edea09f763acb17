"""Optimality criteria: the update for one volume-like constraint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from mpi4py import MPI

import numpy as np
from numba import njit

from morpho.errors import InputError, SolverError
from morpho.interfaces import Array, Evaluation

FALLING = 0.01  #: share of derivatives below zero that a Helmholtz filter on tetrahedra may leave; such cells stay
NEGLIGIBLE = 1e-30  #: of the largest constraint derivative: below it an entry is passive
REVIVED = 1e-3  #: what an entry below it grows from under a projection: what is zero once would stay zero for ever
TINY = 1e-100  #: a candidate below this stays at its lower limit
MAX_PASSES = 200
TOLERANCE = 1e-13  #: on the linearised constraint, relative to the range that the move limits leave it
NARROW = 1e-13  #: relative width of the bracket of the multiplier at which the search ends
EVALUATED = 1e-5  #: on the constraint where it is evaluated, and the width of the bracket then
LANES = 256  #: entries of which each has a largest one of its own
STILL = 1e-12  #: the largest candidate, stretched, at which every entry is at its lower limit, to rounding

Miss = Callable[[float], tuple[float, float]]  #: of a multiplier, the constraint and its slope

compiled = njit(cache=True, fastmath={"reassoc", "contract", "arcp", "nsz"}, error_model="numpy")


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
        negligible = self._check(x, evaluation)
        weight, value = evaluation.d_constraints[0], float(evaluation.constraints[0])
        candidate, x_new = np.empty_like(x), np.empty_like(x)
        entries = candidate, x, weight, negligible, self.move_limit, state.lower, state.upper
        constraint_at = evaluation.constraint_at
        least = 0.0 if constraint_at is None else REVIVED
        *ends, farthest, largest = _candidates(evaluation.d_objective, self.damping, least, *entries)
        at_low, at_high, slope = _sums(self.comm, *ends)
        for t, linearised, sign in ((0.0, value + at_low, 1.0), (np.inf, value + at_high, -1.0)):
            if sign * linearised >= 0.0 or slope <= 0.0:
                _stretch(x_new, t, *entries)
                reached = constraint_at is None or sign * constraint_at(x_new) >= 0.0
                if reached or slope <= 0.0:
                    return x_new, state
        above, largest = (float(self.comm.allreduce(most, MPI.MAX)) for most in (farthest, largest))

        def miss(t: float) -> tuple[float, float]:
            change, rate = _sums(self.comm, *_stretch(x_new, t, *entries))
            return (value + change if constraint_at is None else constraint_at(x_new)), rate

        below = -(value + at_low) / slope  # as no entry moves faster than t candidate
        if constraint_at is None:
            stretch = _find_zero(miss, below, above, state.stretch, TOLERANCE * (at_high - at_low))
        else:
            start = state.stretch or abs(below)
            stretch = _find_zero(_by_secants(miss), STILL / largest, above, start, EVALUATED, EVALUATED, reach=4.0)
        return x_new, replace(state, stretch=stretch)

    def _check(self, x: Array, evaluation: Evaluation) -> float:
        """Return the value at which a derivative of the constraint is negligible (collective)."""
        if evaluation.constraints.size != 1:
            raise InputError(f"OC takes exactly one constraint, got {evaluation.constraints.size}; use MMA instead")
        size, high, rising, falling = _survey(x, evaluation.d_objective, evaluation.d_constraints[0])
        size, rising, falling = _sums(self.comm, size, rising, falling)
        if not np.isfinite(size + evaluation.constraints[0]):
            raise SolverError("OC: x, the constraint or a derivative is not finite.")
        if falling > FALLING * rising:
            raise InputError("OC takes a constraint whose derivatives are all >= 0; use MMA instead")
        return float(NEGLIGIBLE * max(self.comm.allreduce(high, MPI.MAX), 0.0))


def _by_secants(miss: Miss) -> Miss:
    """A function whose slope is that of the secant, which knows the curvature that a linearisation leaves out."""
    last: tuple[float, float] | None = None

    def watched(t: float) -> tuple[float, float]:
        nonlocal last
        now, slope = miss(t)
        if last is not None and last[0] != t:
            slope = (now - last[1]) / (t - last[0])
        last = t, now
        return now, slope

    return watched


def _find_zero(
    miss: Miss,
    below: float,
    above: float,
    start: float,
    tolerance: float,
    narrow: float = NARROW,
    reach: float = np.inf,
) -> float:
    """Zero of a monotone function that gives its value and slope, or nearly its slope, between two bounds.

    Newton ends in a few steps. Bisection of the logarithm, by a factor of `reach` at most, takes over where it leaves
    the bracket or does not halve the value.
    """
    t, last = (start if below < start < above else below), np.inf
    for _ in range(MAX_PASSES):
        now, slope = miss(t)
        if now < 0.0:
            below = max(below, t)
        else:
            above = min(above, t)
        if abs(now) <= tolerance or above <= below * (1.0 + narrow):
            break
        tried, t = t, t - now / slope if slope > 0.0 else np.inf
        if not below < t < above or abs(now) > 0.5 * last:
            t = float(np.clip(np.sqrt(below) * np.sqrt(above), tried / reach, tried * reach))
        last = abs(now)
    return t


@compiled
def _survey(x, d_objective, weight):
    """Sum of all absolute values; the largest weight; sums of the positive and of the negative ones."""
    size, rising, falling = 0.0, 0.0, 0.0
    for i in range(len(x)):
        w = weight[i]
        size += abs(x[i]) + abs(d_objective[i]) + abs(w)
        rising += w if w > 0.0 else 0.0
        falling -= w if w < 0.0 else 0.0
    return size, _largest(weight), rising, falling


@compiled
def _largest(values):
    """In lanes, as the largest of many, unlike many larger ones of two, fills no vectors."""
    lanes = np.full(LANES, -np.inf)
    for start in range(0, len(values), LANES):
        part = values[start : start + LANES]
        for i in range(len(part)):
            lanes[i] = part[i] if part[i] > lanes[i] else lanes[i]
    return lanes.max()


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


def _sums(comm: MPI.Comm, *parts: float) -> list[float]:
    """Sum each of the local parts over all ranks, in one reduction (collective)."""
    total = np.array(parts, dtype=np.float64)
    comm.Allreduce(MPI.IN_PLACE, total, op=MPI.SUM)
    return [float(one) for one in total]
