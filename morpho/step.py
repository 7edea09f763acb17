"""One design iteration as data, and what the next one starts from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from morpho import shares
from morpho.design.realisations import Realised
from morpho.gradients.physics import Floats
from morpho.gradients.supervisor import Advice
from morpho.interfaces import Array, Gradient, Status


@dataclass(frozen=True)
class Restart:
    """What the next iteration starts from; all that a checkpoint has to hold besides the displacements."""

    iteration: int  #: iterations done
    x: Array  #: (n,) design variable of the next one
    state: Any  #: of the optimizer
    objectives: tuple[float, ...] = ()  #: of the present continuation stage
    changes: tuple[float, ...] = ()  #: largest change of a design variable by each of these updates
    exact_solves: int = 0
    linear_iterations: int = 0
    anchor: tuple[Floats, Any] | None = None  #: x and optimizer state that steps can be taken back to
    anchor_is_feasible: bool = True  #: whether the design there keeps the constraints
    ahead: int = 0  #: iterations of the plan that were left out, as stages ended early


@dataclass(frozen=True)
class Step:
    """One design iteration: a design, what is known of it, and the update that follows from it."""

    iteration: int
    place: int  #: in the plan of continuations: the iteration, and those that were left out
    objective: float
    gradient: Gradient  #: of the compliance, with respect to rho; derivatives in float32
    x: Array  #: (n,) design variable, owned cells
    rho: Array  #: (n,) physical density, owned cells
    solved: Array  #: (n,) what the state equation sees: rho, or the thinner one of a robust design
    grown: Array | None  #: (n,) the thicker one of a robust design
    volume: float  #: fraction of the mesh
    greyness: float
    constraints: Array  #: (m,) normalised, feasible when <= 0
    change: float  #: largest change of a design variable by the update
    seconds: float
    status: Status | None  #: why the run ends here, None if it goes on
    advice: Advice  #: how the gradient came about
    restart: Restart  #: where the next iteration starts

    def kept(self) -> Step:
        """What the run needs of it should the next one fail, without derivatives, x in 16 bits; `with_densities` makes
        it whole (local)."""
        gradient, nothing = self.gradient.values_only, np.zeros(0)
        advice = replace(self.advice, gradient=gradient)
        x = cast(Array, shares.packed(self.x))
        return replace(self, x=x, gradient=gradient, advice=advice, rho=nothing, solved=nothing, grown=None)

    def with_densities(self, realise: Callable[[int, Array], Realised]) -> Step:
        """With the densities that follow from its x (collective)."""
        x = shares.unpacked(cast(shares.Shares, self.x)) if self.x.dtype == np.uint16 else self.x
        drawn = realise(self.place, x)
        grown = None if drawn.grown is None else drawn.grown[0]
        return replace(self, x=x, rho=drawn.rho, solved=drawn.solved, grown=grown)

    @property
    def max_constraint(self) -> float:
        """The worst constraint, feasible when <= 0."""
        return float(np.max(self.constraints))

    @property
    def exact_solves(self) -> int:
        """Exact gradients so far."""
        return self.restart.exact_solves

    @property
    def linear_iterations(self) -> int:
        """Linear solver iterations so far."""
        return self.restart.linear_iterations
