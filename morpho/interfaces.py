"""The contracts between the parts: the program on one page.

Arrays are float64 and hold this rank's owned cells only, unless a docstring says otherwise; scalars are equal
on all ranks. ``x`` is the design variable, ``rho`` the physical density, both one value per cell in [0, 1].
``d_*`` is the derivative with respect to the entries. Constraints are feasible when <= 0. Methods are
collective unless marked local.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cached_property
from typing import Literal, Protocol, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Pullback = Callable[[Array], Array]
Kind = Literal["exact", "estimated"]


class DesignMap(Protocol):
    """A differentiable map from x to rho; ``Chain`` is one itself."""

    def apply(self, x: Array) -> tuple[Array, Pullback]:
        """Return rho (n,) and the pullback, which maps d/d rho to d/d x (both (n,), exact transpose)."""
        ...


@dataclass(frozen=True)
class Gradient:
    """Compliance of every load case and its derivative with respect to rho, as a gradient source gives it.

    The last 2 p load cases are pairs that stand for displacements, see `fem.dummy`.
    """

    cases: Array  #: (k,) compliance per load case
    d_cases: Array  #: (k, n)
    weights: Array  #: (k,) load case weights; of pairs 1, which makes the sum a measure of both
    kind: Kind
    linear_iterations: int
    seconds: float
    energy: Array | None = None  #: (k, n) strain energy of each cell at unit stiffness, times two, if it is known
    coarse_iterations: int = 0  #: linear iterations on blocks of cells
    scale: Array = field(default_factory=lambda: np.zeros(0))  #: (p,) of the pairs
    values: Array = field(default_factory=lambda: np.zeros(0))  #: (f,) of the functionals, see `functionals`
    d_values: Array = field(default_factory=lambda: np.zeros((0, 0)))  #: (f, n)

    @cached_property
    def kept(self) -> Gradient:
        """With derivatives in float32: for what is kept to be shown or gone back to."""
        single = [np.asarray(d, np.float32) for d in (self.d_cases, self.d_values)]
        return replace(self, d_cases=cast(Array, single[0]), d_values=cast(Array, single[1]))

    @property
    def values_only(self) -> Gradient:
        """Without derivatives and energies."""
        nothing = np.zeros((0, 0))
        return replace(self, d_cases=nothing, d_values=nothing, energy=None)

    def in_double(self) -> Gradient:
        """What `kept` gave, to be used again (local)."""
        return replace(self, d_cases=self.d_cases.astype(np.float64), d_values=self.d_values.astype(np.float64))

    @property
    def n_given(self) -> int:
        """Load cases of the problem, without the pairs."""
        return len(self.cases) - 2 * len(self.scale)

    @property
    def compliance(self) -> float:
        """Weighted sum over the load cases of the problem."""
        return float(self.weights[: self.n_given] @ self.cases[: self.n_given])

    @cached_property
    def d_compliance(self) -> Array:
        """(n,) its derivative with respect to rho."""
        k = self.n_given
        if k == 1 and self.weights[0] == 1.0:
            return self.d_cases[0]
        return np.asarray(self.weights[:k] @ self.d_cases[:k])

    def pair(self, q: int) -> tuple[float, float]:
        """The compliances of the q-th pair."""
        plus, minus = self.cases[self.n_given + 2 * q :][:2]
        return float(plus), float(minus)

    def displacement(self, q: int) -> float:
        """What the q-th pair stands for."""
        plus, minus = self.pair(q)
        return (plus - minus) / (4 * float(self.scale[q]))

    def d_displacement(self, q: int) -> Array:
        """(n,) its derivative with respect to rho."""
        plus, minus = self.d_cases[self.n_given + 2 * q :][:2]
        return np.asarray((plus - minus) / (4 * self.scale[q]))

    @property
    def size(self) -> float:
        """Weighted sum over all load cases: positive where supports do not move."""
        return float(self.weights @ self.cases)

    @cached_property
    def d_size(self) -> Array:
        """(n,) its derivative with respect to rho."""
        return np.asarray(self.weights @ self.d_cases) if len(self.scale) else self.d_compliance


class GradientSource(Protocol):
    """Gives the compliance gradient at a design; `exact` is just another source."""

    def estimate(self, rho: Array) -> Gradient: ...

    def learn(self, rho: Array, exact: Gradient) -> None:
        """Take in an exact gradient at rho (collective); exact sources ignore it."""
        ...


@dataclass(frozen=True)
class Evaluation:
    """Objective and constraints of the optimization problem at one x, with derivatives with respect to x."""

    objective: float
    d_objective: Array  #: (n,)
    constraints: Array  #: (m,), feasible when <= 0, normalised to O(1)
    d_constraints: Array  #: (m, n)
    #: value of the only constraint at another x, where that is not linear in x (collective); an optimizer that
    #: evaluates it does so last at the x that it returns, and does not change that any more
    constraint_at: Callable[[Array], float] | None = None
    error: float = 0.0  #: of the objective, relative, as far as it is known: infinite for an estimate
    renewed: bool = False  #: whether a continuation has made another problem of it since the step before


S = TypeVar("S")


class Optimizer(Protocol[S]):
    """One design update; all evolving data is in the state S, a dataclass of (n,) arrays and scalars."""

    def init(self, x: Array, lower: float, upper: float) -> S: ...

    def step(self, x: Array, evaluation: Evaluation, state: S) -> tuple[Array, S]: ...


class Status(Enum):
    """How a run ended; the value is the sentence shown to the user."""

    CONVERGED = "Converged: the design, or the objective over a window, no longer changes within its tolerance."
    SWINGING = (
        "Stopped: the design goes back and forth, and the objective makes no progress. Smaller steps "
        "(optimizer.move_limit) may go further."
    )
    ITERATION_LIMIT = (
        "Stopped at optimizer.max_iterations. If the objective is still falling, raise it and run `morpho resume`."
    )
    SOLVER_FAILED = (
        "The linear solver failed; the last good design is in the run folder. Raise material.E_min_ratio, "
        "or choose another solver (solver.preset)."
    )
    NOT_FINITE = (
        "A value became infinite or NaN; the last good design is in the run folder. Check the loads and supports, "
        "or lower optimizer.move_limit."
    )
    STORAGE_FAILED = (
        "A result could not be written; the last complete checkpoint is kept. Free some space and run `morpho resume`."
    )
    CODE_FAILED = "An own function or source, or morpho itself, failed; the last good design is in the run folder."
    INTERRUPTED = "Interrupted; a checkpoint was written. Continue with `morpho resume`."
    TIME_LIMIT = "Stopped at the time limit; a checkpoint was written. Continue with `morpho resume`."

    @property
    def is_cut_short(self) -> bool:
        """Whether a person or the clock ended the run, which can go on."""
        return self in (Status.INTERRUPTED, Status.TIME_LIMIT)

    @property
    def exit_code(self) -> int:
        """Exit status of the command line."""
        return {
            "CONVERGED": 0,
            "SWINGING": 0,
            "ITERATION_LIMIT": 0,
            "INTERRUPTED": 130,
            "TIME_LIMIT": 130,
        }.get(self.name, 3)
