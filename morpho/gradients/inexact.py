"""A few iterations of the linear solver per design, from the last displacement (one-shot, after Amir 2024)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from morpho.gradients.card import Card
from morpho.gradients.physics import Physics, from_state
from morpho.gradients.two_scale import Tools
from morpho.interfaces import Array, Gradient


@dataclass(frozen=True)
class Inexact:
    """Improves the displacement by so many iterations at every design and takes the gradient from that."""

    card: ClassVar = Card(
        summary="a few multigrid conjugate gradient iterations per design",
        formula="g = -E'(rho) u_k : K0 u_k, with u_k after k iterations from the last displacement",
        inputs=("density", "last displacement"),
        steps=("k iterations of multigrid conjugate gradients", "strain energies"),
        learns="nothing; an exact solve leaves its displacement behind",
        corrected=False,
        warm_up=10,
        loose=False,
        carries="any",
    )
    physics: Physics
    iterations: int = 1

    @classmethod
    def make(cls, tools: Tools) -> Inexact:
        tools.physics.void_matters = False
        return cls(tools.physics, tools.spec.iterations)

    def estimate(self, rho: Array) -> Gradient:
        """Gradient at rho (n,) of the displacement as far as it has come (collective)."""
        return from_state(self.physics, self.physics.solve(rho, at_most=self.iterations))

    def learn(self, rho: Array, exact: Gradient) -> None:
        """Nothing to learn: an exact solve leaves its displacement behind anyway."""
