"""What the updates for a single volume-like constraint share."""

from __future__ import annotations

from collections.abc import Callable

from mpi4py import MPI

import numpy as np
from numba import njit

from morpho.errors import InputError, SolverError
from morpho.interfaces import Array, Evaluation

FALLING = 0.01  #: share of derivatives below zero that a Helmholtz filter on tetrahedra may leave; such cells stay
NEGLIGIBLE = 1e-30  #: of the largest constraint derivative: below it an entry is passive
MAX_PASSES = 200
TOLERANCE = 1e-13  #: on the linearised constraint, relative to the range that the move limits leave it
NARROW = 1e-13  #: relative width of the bracket of the multiplier at which the search ends
LANES = 256  #: entries of which each has a largest one of its own
EVALUATED = 1e-5  #: on the constraint where it is evaluated, and the width of the bracket then

Miss = Callable[[float], tuple[float, float]]  #: of a multiplier, the constraint and its slope

compiled = njit(cache=True, fastmath={"reassoc", "contract", "arcp", "nsz"}, error_model="numpy")


def negligible(comm: MPI.Comm, name: str, x: Array, evaluation: Evaluation) -> float:
    """The value at which a derivative of the only constraint is negligible (collective).

    InputError if the constraint does not fit the method, whose name is given; SolverError if a value is not finite.
    """
    if evaluation.constraints.size != 1:
        raise InputError(f"{name} takes exactly one constraint, got {evaluation.constraints.size}; use MMA instead")
    size, high, rising, falling = _survey(x, evaluation.d_objective, evaluation.d_constraints[0])
    size, rising, falling = sums(comm, size, rising, falling)
    if not np.isfinite(size + evaluation.constraints[0]):
        raise SolverError(f"{name}: x, the constraint or a derivative is not finite.")
    if falling > FALLING * rising:
        raise InputError(f"{name} takes a constraint whose derivatives are all >= 0; use MMA instead")
    return float(NEGLIGIBLE * max(comm.allreduce(high, MPI.MAX), 0.0))


def by_secants(miss: Miss) -> Miss:
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


def find_zero(
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


def sums(comm: MPI.Comm, *parts: float) -> list[float]:
    """Sum each of the local parts over all ranks, in one reduction (collective)."""
    total = np.array(parts, dtype=np.float64)
    comm.Allreduce(MPI.IN_PLACE, total, op=MPI.SUM)
    return [float(one) for one in total]


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
