"""The exact gradient: one state solve per load case, no adjoint (compliance is self-adjoint)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from morpho.gradients.card import Card
from morpho.gradients.physics import Physics, from_state
from morpho.gradients.two_scale import Tools
from morpho.interfaces import Array, Gradient


@dataclass(frozen=True)
class Exact:
    """Solves the state equation at every design."""

    card: ClassVar = Card(
        summary="every design is solved to the tolerance of the linear solver",
        formula="g = -E'(rho) u : K0 u, with K(rho) u = f",
        inputs=("density", "last displacement"),
        steps=("multigrid conjugate gradients to solver.rtol", "strain energies"),
        learns="nothing",
        carries="any",
    )
    physics: Physics

    @classmethod
    def make(cls, tools: Tools) -> Exact:
        tools.physics.void_matters = False
        return cls(tools.physics)

    def estimate(self, rho: Array) -> Gradient:
        """Gradient at rho (n,) to the tolerance of the linear solver (collective)."""
        return from_state(self.physics, self.physics.solve(rho))

    def learn(self, rho: Array, exact: Gradient) -> None:
        """Nothing to learn."""
