"""SiMPL: mirror descent in the logit of the design variable, for one volume-like constraint."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from mpi4py import MPI

import numpy as np

from morpho.interfaces import Array, Evaluation
from morpho.optimizers.one_constraint import EVALUATED, TOLERANCE, by_secants, compiled, find_zero, negligible, sums

NEAREST = 1e-9  #: entries keep this share of the range between their bounds from each, where the logit is infinite
ARMIJO = 1e-4  #: share of the decrease promised by the derivatives that a step has to bring
SHORTER = 0.5  #: factor on the length of a step that did not
TRIES = 8  #: times that a step is made shorter at most
LONGER = 4.0  #: factor on the length from one exact design to the next at most
FARTHEST = 300.0  #: change of a logit in one step at most, which is from bound to bound many times over


@dataclass(frozen=True)
class SiMPLState:
    """The last design, which the next one is measured by, and taken back to; arrays are (n,)."""

    x_old: Array
    d_objective: Array  #: there
    d_constraint: Array
    lower: float  #: bounds of x
    upper: float
    objective: float = 0.0
    constraint: float = 0.0
    error: float = math.inf  #: of the objective, relative; infinite for an estimate
    length: float = 0.0  #: of a step; zero before the first
    multiplier: float = 0.0  #: of the constraint, by the last step
    tries: int = 0  #: steps that were taken back there


@dataclass(frozen=True)
class SiMPL:
    """Sigmoidal mirror descent with a projected latent variable, for one constraint with derivatives >= 0.

    The logit of x goes down the derivative of the objective per derivative of the constraint, and is shifted such that
    the constraint is met: with a volume that is linear in x this is the Bregman projection of the Fermi-Dirac entropy.
    No entry ever reaches a bound. The length of a step is Barzilai and Borwein's, generalised: a secant of the
    Lagrangian over one of the logit. A step after which the Lagrangian has not fallen (Armijo) is taken back, and made
    again at half the length: the design in between counts as one more.

    Only exact objectives are compared. A length is found between two exact derivatives, or before an estimate: the
    estimates that follow an exact design go on from it, so that their differences say how derivatives change. From an
    estimate to an exact design the length stays as it is, as the difference has the error of the estimate in it.

    Source: Keith, Kim, Lazarov & Surowiec, arXiv 2409.19341; Kim, Lazarov, Surowiec & Keith, arXiv 2411.19421.
    Departures: the entropy is weighted by the derivative of the constraint, which is the volume of a cell, except
    beside the boundary of a filter and under a projection; and move limits hold, which keep early steps from deciding
    too much.
    """

    comm: MPI.Comm
    move_limit: float = 0.2  #: largest change of an entry in one step

    def init(self, x: Array, lower: float, upper: float) -> SiMPLState:
        """Return the state before the first step (local)."""
        return SiMPLState(x, np.zeros_like(x), np.zeros_like(x), lower, upper)

    def step(self, x: Array, evaluation: Evaluation, state: SiMPLState) -> tuple[Array, SiMPLState]:
        """Return the next x (n,) (collective).

        It follows from `x`, or from the design before where the objective has risen. InputError if the constraint does
        not fit the method, SolverError if a value is not finite.
        """
        least_weight = negligible(self.comm, "SiMPL", x, evaluation)
        d_objective, weight = evaluation.d_objective, evaluation.d_constraints[0]
        if evaluation.renewed or state.length == 0.0:
            size, mass = sums(self.comm, float(np.abs(d_objective).sum()), float(np.maximum(weight, 0.0).sum()))
            if size == 0.0 or mass == 0.0:
                size = mass = 1.0
            state = replace(state, length=mass / size, multiplier=size / mass, error=math.inf)
        elif evaluation.error == math.inf or state.error < math.inf:
            promised, bent, curvature = sums(self.comm, *_since(x, evaluation, state))
            if evaluation.error < math.inf and state.tries < TRIES and self._has_risen(evaluation, state, promised):
                shorter = replace(state, length=SHORTER * state.length, tries=state.tries + 1)
                return self._advance(shorter, evaluation, least_weight)
            length = bent / abs(curvature) if bent > 0.0 and curvature != 0.0 else state.length
            state = replace(state, length=min(length, LONGER * state.length))
        state = replace(
            state,
            x_old=x,
            d_objective=d_objective,
            d_constraint=weight,
            objective=evaluation.objective,
            constraint=_value(evaluation),
            error=evaluation.error,
            tries=0,
        )
        return self._advance(state, evaluation, least_weight)

    @staticmethod
    def _has_risen(evaluation: Evaluation, state: SiMPLState, promised: float) -> bool:
        """Whether the Lagrangian has not fallen by a share of what was promised, beyond what is not known (local)."""
        rise = evaluation.objective - state.objective + state.multiplier * (_value(evaluation) - state.constraint)
        return rise > ARMIJO * promised + max(evaluation.error, state.error) * abs(state.objective)

    def _advance(self, state: SiMPLState, evaluation: Evaluation, least_weight: float) -> tuple[Array, SiMPLState]:
        """The step from `x_old`, by the derivatives there (collective).

        x_new = odds / (1 + odds) with odds = t x / (1 - x) exp(-length (d_objective / weight + multiplier)), clipped to
        the move limits, with t so that the constraint is zero, or 1 where the multiplier would be below zero.
        """
        x, value, constraint_at = state.x_old, state.constraint, evaluation.constraint_at
        odds, x_new = np.empty_like(x), np.empty_like(x)
        entries = odds, x, state.d_constraint, least_weight, self.move_limit, state.lower, state.upper
        *ends, nearest, farthest = _odds(state.d_objective, state.length, state.multiplier, *entries)
        at_low, at_high = sums(self.comm, *ends)
        below, above = self.comm.allreduce(nearest, MPI.MIN), self.comm.allreduce(farthest, MPI.MAX)

        def miss(t: float) -> tuple[float, float]:
            change, rate = sums(self.comm, *_stretch(x_new, t, *entries))
            return (value + change if constraint_at is None else constraint_at(x_new)), rate

        free = math.exp(min(state.length * state.multiplier, FARTHEST))  # t at which the multiplier is zero
        if not at_low < at_high:
            return x.copy(), state
        if constraint_at is None:
            t = find_zero(miss, below, above, 1.0, TOLERANCE * (at_high - at_low))
        else:
            t = find_zero(by_secants(miss), below, above, 1.0, EVALUATED, EVALUATED, reach=4.0)
        if t > free:
            t = free
            miss(t)
        return x_new, replace(state, multiplier=max(0.0, state.multiplier - math.log(t) / state.length))


def _value(evaluation: Evaluation) -> float:
    return float(evaluation.constraints[0])


def _since(x: Array, evaluation: Evaluation, state: SiMPLState) -> tuple[float, float, float]:
    """Local parts of what the derivatives promised, and of the secants of the logit and of the Lagrangian."""
    return _compare(
        x,
        state.x_old,
        evaluation.d_objective,
        state.d_objective,
        evaluation.d_constraints[0],
        state.d_constraint,
        state.multiplier,
        state.lower,
        state.upper,
    )


@compiled
def _compare(x, x_old, d, d_old, weight, weight_old, multiplier, lower, upper):
    """Sums over the entries of the move times the old derivative, the change of the logit, and that of the derivative,
    each of the Lagrangian or in its metric."""
    promised, bent, curvature = 0.0, 0.0, 0.0
    for i in range(len(x)):
        moved = x[i] - x_old[i]
        if moved != 0.0:
            promised += (d_old[i] + multiplier * weight_old[i]) * moved
            now = min(max((x[i] - lower) / (upper - lower), NEAREST), 1.0 - NEAREST)
            old = min(max((x_old[i] - lower) / (upper - lower), NEAREST), 1.0 - NEAREST)
            bent += max(weight[i], 0.0) * moved * np.log(now * (1.0 - old) / ((1.0 - now) * old))
            curvature += moved * (d[i] - d_old[i] + multiplier * (weight[i] - weight_old[i]))
    return promised, bent, curvature


@compiled
def _odds(d_objective, length, multiplier, odds, x, weight, negligible, move, lower, upper):
    """Fill in the odds after the step along the derivatives.

    Returns:
        change of the constraint with all entries at their lower limits, and at their upper ones; factors on the odds
        at which the first entry leaves its lower limit, and the last comes to its upper one.
    """
    at_low, at_high, nearest, farthest = 0.0, 0.0, np.inf, 0.0
    least, most = lower + NEAREST * (upper - lower), upper - NEAREST * (upper - lower)
    for i in range(len(x)):
        w = weight[i] if weight[i] > negligible else 0.0
        if w > 0.0:
            old = (min(max(x[i], least), most) - lower) / (upper - lower)
            exponent = -length * (d_objective[i] / w + multiplier)
            odds[i] = old / (1.0 - old) * np.exp(min(max(exponent, -FARTHEST), FARTHEST))
            low, high = max(least, min(most, x[i] - move)), max(least, min(most, x[i] + move))
            at_low += w * (low - x[i])
            at_high += w * (high - x[i])
            nearest = min(nearest, (low - lower) / (upper - low) / odds[i])
            farthest = max(farthest, (high - lower) / (upper - high) / odds[i])
        else:
            odds[i] = 0.0
    return at_low, at_high, nearest, farthest


@compiled
def _stretch(x_new, t, odds, x, weight, negligible, move, lower, upper):
    """x_new from t times the odds, clipped to the limits; change of the constraint, and its rate with t."""
    change, slope = 0.0, 0.0
    least, most = lower + NEAREST * (upper - lower), upper - NEAREST * (upper - lower)
    for i in range(len(x)):
        w = weight[i] if weight[i] > negligible else 0.0
        low, high = max(least, min(most, x[i] - move)), max(least, min(most, x[i] + move))
        share = 1.0 / (1.0 + t * odds[i])
        free = upper - (upper - lower) * share
        y = min(high, max(low, free))
        y = y if w > 0.0 else x[i]
        x_new[i] = y
        change += w * (y - x[i])
        slope += w * (upper - lower) * share * share * odds[i] if y == free else 0.0
    return change, slope
