"""The method of moving asymptotes, its subproblem solved in the dual: no vector leaves its rank."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mpi4py import MPI

import numpy as np

from morpho.errors import SolverError
from morpho.interfaces import Array, Evaluation
from morpho.optimizers.separable import minimise

ALBEFA = 0.1  #: x keeps this share of its distance to the asymptotes
NEAREST, FARTHEST = 0.01, 10.0  #: distance of the asymptotes from x, in units of the box of the next step
RAA0 = 1e-5  #: convexity added to every function, relative to its mean derivative
ELASTIC_C, ELASTIC_D = 1000.0, 1.0  #: price c y + d y**2 / 2 of violating a constraint by y
FAR = 1e3  #: a constraint that is violated by more, or may change by more in a step, is scaled down to this
BARRIER_END = 1e-12
TOLERANCE = 1e-11  #: on the optimality conditions, relative to the constraints
GROWTH = 10.0  #: a multiplier above 1 grows at most by this factor in one iteration
CENTRAL = 1e3  #: the slacks stay within this factor of barrier / multiplier
NEAR, LEAST_GUESS = 1e-8, 1e-4  #: barrier, and least multipliers, that a step begins with after another one
FEW = 25  #: iterations that are tried from there
MAX_ITERATIONS = 200


@dataclass(frozen=True)
class MMAState:
    """What MMA carries from step to step; arrays are (n,)."""

    x_old1: Array  #: x one step ago
    x_old2: Array  #: x two steps ago
    low: Array  #: asymptotes of the last step
    upp: Array
    lower: float  #: bounds of x
    upper: float
    iteration: int  #: steps done
    scale: float  #: factor on the objective, fixed by the first step
    multipliers: tuple[float, ...] = ()  #: of the constraints in the last step


@dataclass(frozen=True)
class MMA:
    """Method of moving asymptotes for any number of constraints, as an `Optimizer`.

    Source: Svanberg (1987), doi 10.1002/nme.1620240207, with the parameters of Svanberg, "MMA and GCMMA, two
    methods for nonlinear optimization" (2007). Departure: RAA0 is relative to the mean derivative, since
    derivatives with respect to n cells are O(1/n) and a fixed value would outweigh them on fine meshes. The asymptotes
    are set in units of what an entry may move in a step, within the bounds and the move limit, as Aage, Andreassen &
    Lazarov (2015), doi 10.1007/s00158-014-1157-0, do: in units of the bounds the approximation is nearly linear at low
    densities, and steps run from limit to limit.
    """

    comm: MPI.Comm
    move_limit: float = 0.2  #: largest change of an entry in one step
    asymptote_init: float = 0.5
    asymptote_decrease: float = 0.7
    asymptote_increase: float = 1.2

    def init(self, x: Array, lower: float, upper: float) -> MMAState:
        """Return the state before the first step (local)."""
        return MMAState(
            x.copy(),
            x.copy(),
            np.full_like(x, lower),
            np.full_like(x, upper),
            lower,
            upper,
            iteration=0,
            scale=1.0,
        )

    def step(self, x: Array, evaluation: Evaluation, state: MMAState) -> tuple[Array, MMAState]:
        """Return the next x (n,) and the state after it (collective).

        SolverError if a value is not finite or the subproblem cannot be solved.
        """
        derivatives = np.vstack([evaluation.d_objective, evaluation.d_constraints])
        sizes = np.array([x.size, np.abs(x).sum(), *np.abs(derivatives).sum(axis=1)])
        self.comm.Allreduce(MPI.IN_PLACE, sizes, op=MPI.SUM)
        if not np.isfinite([*sizes, evaluation.objective, *evaluation.constraints]).all():
            raise SolverError("MMA: x, a function value or a derivative is not finite.")

        if state.iteration == 0:
            size = max(abs(evaluation.objective), sizes[2] * (state.upper - state.lower))
            state = replace(state, scale=1.0 / size if size > 0.0 else 1.0)
        derivatives[0] *= state.scale
        means = sizes[2:] / max(sizes[0], 1.0)
        means[0] *= state.scale

        # A limit missed by far leads to numbers that float64 cannot hold; what is feasible stays the same.
        reach = np.maximum(evaluation.constraints, self.move_limit * sizes[3:])
        beyond = 1.0 / np.maximum(1.0, reach / FAR)
        derivatives[1:] *= beyond[:, None]
        means[1:] *= beyond

        least, most = np.maximum(state.lower, x - self.move_limit), np.minimum(state.upper, x + self.move_limit)
        low, upp = self._asymptotes(x, most - least, state)
        subproblem = Subproblem.build(
            x=x,
            low=low,
            upp=upp,
            alpha=np.maximum(low + ALBEFA * (x - low), least),
            beta=np.minimum(upp - ALBEFA * (upp - x), most),
            values=evaluation.constraints * beyond,
            derivatives=derivatives,
            means=means,
        )
        x_new, multipliers = solve_dual(self.comm, subproblem, state.multipliers)
        return x_new, replace(
            state,
            x_old1=x.copy(),
            x_old2=state.x_old1,
            low=low,
            upp=upp,
            iteration=state.iteration + 1,
            multipliers=tuple(float(one) for one in multipliers),
        )

    def _asymptotes(self, x: Array, extent: Array, state: MMAState) -> tuple[Array, Array]:
        """Widen the asymptotes (n,) where x moves on, draw them in where it swings (local).

        Args:
            extent: (n,) width of what the next x may be.

        Source: Svanberg (2007), ordinary MMA.
        """
        if state.iteration < 2:
            return x - self.asymptote_init * extent, x + self.asymptote_init * extent
        trend = (x - state.x_old1) * (state.x_old1 - state.x_old2)
        factor = np.where(trend > 0.0, self.asymptote_increase, np.where(trend < 0.0, self.asymptote_decrease, 1.0))
        below = np.clip(factor * (state.x_old1 - state.low), NEAREST * extent, FARTHEST * extent)
        above = np.clip(factor * (state.upp - state.x_old1), NEAREST * extent, FARTHEST * extent)
        return x - below, x + above


@dataclass(frozen=True)
class DualPoint:
    """The subproblem's dual function at some multipliers; gradient and curvature are sums over all ranks."""

    x: Array  #: (n,) minimiser of the Lagrangian
    gradient: Array  #: (m,) approximated constraints less their elastic part
    curvature: Array  #: (m, m) minus the Hessian, positive semidefinite


@dataclass(frozen=True)
class Subproblem:
    """Convex separable approximation at x: sum p_i / (upp - .) + q_i / (. - low), shifted to the value at x.

    Row 0 of p and q (m + 1, n) is the objective; the other arrays are (n,), values is (m,).
    """

    x: Array
    low: Array
    upp: Array
    alpha: Array  #: lower bound of the new x
    beta: Array  #: upper bound of the new x
    p: Array
    q: Array
    values: Array

    @classmethod
    def build(
        cls,
        *,
        x: Array,
        low: Array,
        upp: Array,
        alpha: Array,
        beta: Array,
        values: Array,
        derivatives: Array,
        means: Array,
    ) -> Subproblem:
        """Match derivatives (m + 1, n), whose mean absolute values over all ranks are means (m + 1,) (local).

        Source: Svanberg (2007), ordinary MMA.
        """
        rise, fall = np.maximum(derivatives, 0.0), np.maximum(-derivatives, 0.0)
        convexity = RAA0 * means[:, None]
        convexity[0] = np.maximum(convexity[0], 1e-30)  # strictly convex even if every derivative is zero
        return cls(
            x=x,
            low=low,
            upp=upp,
            alpha=alpha,
            beta=beta,
            p=(upp - x) ** 2 * (1.001 * rise + 0.001 * fall + convexity),
            q=(x - low) ** 2 * (0.001 * rise + 1.001 * fall + convexity),
            values=values,
        )

    def at(self, comm: MPI.Comm, multipliers: Array) -> DualPoint:
        """Minimise the Lagrangian at multipliers (m,) (collective, one reduction).

        Source: Svanberg (1987), the dual of the subproblem; Aage & Lazarov (2013).
        """
        m = multipliers.size
        x, total = np.empty_like(self.x), np.zeros(m + m * m)
        minimise(
            x,
            self.x,
            self.low,
            self.upp,
            self.alpha,
            self.beta,
            self.p,
            self.q,
            multipliers,
            total[:m],
            total[m:].reshape(m, m),
        )
        comm.Allreduce(MPI.IN_PLACE, total, op=MPI.SUM)
        violation = np.maximum(0.0, multipliers - ELASTIC_C) / ELASTIC_D
        return DualPoint(
            x=x,
            gradient=self.values + total[:m] - violation,
            curvature=total[m:].reshape(m, m) + np.diag((multipliers > ELASTIC_C) / ELASTIC_D),
        )


def solve_dual(comm: MPI.Comm, subproblem: Subproblem, guess: Sequence[float] = ()) -> tuple[Array, Array]:
    """Return the solution x (n,) and multipliers (m,) by an interior point on the dual, near a guess (collective).

    Maximises dual + barrier sum log(multipliers): primal-dual Newton steps, shortened where the dual's kinks
    make them overshoot; the barrier falls superlinearly to BARRIER_END. SolverError if it does not converge.
    Source: Aage & Lazarov (2013), doi 10.1007/s00158-012-0869-2. Departure: from the multipliers of the last step it
    begins with a small barrier, which takes less than half of the passes over all entries.
    """
    m, residual = subproblem.values.size, math.nan
    starts = [(np.maximum(guess, LEAST_GUESS), NEAR, FEW)] if m == len(guess) > 0 else []
    for lam, barrier, most in [*starts, (np.ones(m), 1.0, MAX_ITERATIONS)]:
        found, residual = _search(comm, subproblem, lam, barrier, most)
        if found is not None:
            return found
    raise SolverError(f"MMA: the subproblem did not converge (residual {residual:.1e}); lower optimizer.move_limit.")


def _search(
    comm: MPI.Comm, subproblem: Subproblem, lam: Array, barrier: float, most: int
) -> tuple[tuple[Array, Array] | None, float]:
    """Solution and multipliers from a start, None if it takes more than so many steps; the residual (collective)."""
    slack: Array = np.asarray(barrier / lam, np.float64)
    tolerance = TOLERANCE * float(np.max(np.abs(subproblem.values), initial=1.0))
    point = subproblem.at(comm, lam)
    for _ in range(most):
        while (residual := _residual(point, lam, slack, barrier)) <= barrier and barrier > BARRIER_END:
            barrier = max(BARRIER_END, min(0.1 * barrier, barrier**1.5))
        if residual <= tolerance:
            return (point.x, lam), residual
        if not np.isfinite(residual):
            break

        ascent = point.gradient + barrier / lam
        d_lam = _newton(point.curvature + np.diag(slack / lam), ascent)
        d_slack = barrier / lam - slack - slack * d_lam / lam
        slope = float(ascent @ d_lam)
        room = GROWTH * np.maximum(lam, 1.0) - lam
        length = min(_length_to_zero(lam, d_lam), _length_to_zero(room, -d_lam))
        short, long = 0.0, np.inf
        for _ in range(20):
            trial = lam + length * d_lam
            point = subproblem.at(comm, trial)
            slope_there = float((point.gradient + barrier / trial) @ d_lam)
            if slope_there < -0.5 * slope:
                long = length
            elif slope_there > 0.5 * slope and long < np.inf:
                short = length
            else:
                break
            length = 0.5 * (short + long)
        lam = trial
        slack = np.maximum(slack + d_slack, 0.01 * slack)
        slack = np.clip(slack, barrier / (CENTRAL * lam), CENTRAL * barrier / lam)
    return None, residual


def _newton(matrix: Array, ascent: Array) -> Array:
    """Solve matrix step = ascent (m,) for a positive definite matrix (m, m) (local).

    Scaled to a unit diagonal, as its entries span many orders of magnitude; by eigenvalues with a floor, since
    constraints that repeat each other make it singular to rounding.
    """
    scale = 1.0 / np.sqrt(np.diag(matrix))
    values, vectors = np.linalg.eigh(scale[:, None] * matrix * scale)
    return scale * (vectors @ ((vectors.T @ (scale * ascent)) / np.maximum(values, 1e-14)))


def _residual(point: DualPoint, lam: Array, slack: Array, barrier: float) -> float:
    """Largest violation of the conditions gradient + slack = 0 and lam slack = barrier (local)."""
    return float(np.max(np.abs([point.gradient + slack, lam * slack - barrier]), initial=0.0))


def _length_to_zero(values: Array, change: Array) -> float:
    """Step <= 1 that keeps all values positive, with a margin (local)."""
    return 0.99 / float(np.max(-change / values, initial=0.99))
