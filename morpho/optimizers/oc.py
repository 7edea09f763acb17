"""Optimality criteria: the update for one volume-like constraint."""

from __future__ import annotations

from dataclasses import dataclass

from mpi4py import MPI

import numpy as np

from morpho.errors import InputError, SolverError
from morpho.interfaces import Array, Evaluation
from morpho.parallel import global_max

NEGLIGIBLE = 1e-30  #: of the largest constraint derivative: below it an entry is passive
TINY = 1e-100  #: a candidate below this stays at its lower limit
MAX_PASSES = 200


@dataclass(frozen=True)
class OCState:
    """Bounds of x; the method keeps no history."""

    lower: float
    upper: float


@dataclass(frozen=True)
class OC:
    """Optimality criteria for one constraint whose derivatives are >= 0, as an `Optimizer`.

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

        x_new = x (max(0, -d_objective) / (lam d_constraint))**damping, clipped to the move limits, with lam
        so that the linearised constraint is zero, or as near to it as the limits allow. Entries without
        influence on the constraint stay. InputError if the constraint does not fit the method, SolverError if
        a value is not finite.
        """
        weight = self._checked_weight(x, evaluation)
        active = weight > 0.0
        ratio = np.maximum(0.0, -evaluation.d_objective)
        np.divide(ratio, weight, out=ratio, where=active)
        ratio[~active] = 0.0
        largest = max(global_max(self.comm, ratio), 0.0)
        candidate = x * (ratio / (largest or 1.0)) ** self.damping
        low = np.where(active, np.clip(x - self.move_limit, state.lower, state.upper), x)
        high = np.where(active, np.clip(x + self.move_limit, state.lower, state.upper), x)
        value = float(evaluation.constraints[0])
        return meet_constraint(self.comm, x, candidate, low, high, weight, value), state

    def _checked_weight(self, x: Array, evaluation: Evaluation) -> Array:
        """Return the constraint's derivatives (n,), 0 on passive entries (collective)."""
        if evaluation.constraints.size != 1:
            raise InputError(f"OC takes exactly one constraint, got {evaluation.constraints.size}; use MMA instead")
        weight = evaluation.d_constraints[0]
        size = float(np.abs(evaluation.d_objective).sum() + np.abs(weight).sum() + np.abs(x).sum())
        if not np.isfinite(self.comm.allreduce(size, MPI.SUM) + evaluation.constraints[0]):
            raise SolverError("OC: x, the constraint or a derivative is not finite.")
        largest = global_max(self.comm, weight)
        if global_max(self.comm, -weight) > 1e-6 * max(largest, 0.0):
            raise InputError("OC takes a constraint whose derivatives are all >= 0; use MMA instead")
        return np.where(weight > NEGLIGIBLE * largest, weight, 0.0)


def meet_constraint(
    comm: MPI.Comm, x: Array, candidate: Array, low: Array, high: Array, weight: Array, value: float
) -> Array:
    """Return y = clip(t candidate, low, high) (n,) with value + weight . (y - x) nearest to 0 (collective).

    t = lam**-damping; in t the equation is monotone and piecewise linear: Newton ends in a few passes.
    Bisection of log t takes over where Newton leaves the bracket or does not halve the value.
    """
    moving = candidate > TINY
    high = np.where(moving, high, low)
    at_low, at_high, slope = _sums(comm, weight @ (low - x), weight @ (high - x), weight @ (candidate * moving))
    if value + at_low >= 0.0:
        return low
    if value + at_high <= 0.0:
        return high

    below = -(value + at_low) / slope  # no entry moves faster than t candidate
    above = global_max(comm, high[moving] / candidate[moving])
    t, last, tolerance = below, np.inf, 1e-14 * (at_high - at_low)
    x_new, stretched, speed = np.empty_like(x), np.empty_like(x), weight * candidate
    for _ in range(MAX_PASSES):
        np.multiply(t, candidate, out=stretched)
        np.clip(stretched, low, high, out=x_new)
        slope = np.dot(speed, stretched == x_new)
        change, slope = _sums(comm, weight @ np.subtract(x_new, x, out=stretched), slope)
        now = value + change
        if now < 0.0:
            below = max(below, t)
        else:
            above = min(above, t)
        if abs(now) <= tolerance or above <= below * (1.0 + 1e-13):
            break
        t = t - now / slope if slope > 0.0 else np.inf
        if not below < t < above or abs(now) > 0.5 * last:
            t = float(np.sqrt(below) * np.sqrt(above))
        last = abs(now)
    return x_new


def _sums(comm: MPI.Comm, *parts: float | Array) -> list[float]:
    """Sum each of the local parts over all ranks, in one reduction (collective)."""
    total = np.array(parts, dtype=np.float64)
    comm.Allreduce(MPI.IN_PLACE, total, op=MPI.SUM)
    return [float(one) for one in total]
