"""An on-the-fly reduced basis of earlier displacements, after Gogu (2015), doi 10.1002/nme.4797."""

from __future__ import annotations

from collections import deque
from typing import Any, ClassVar

from morpho.gradients.card import Card
from morpho.gradients.physics import Physics, from_state
from morpho.gradients.two_scale import Tools
from morpho.interfaces import Array, Gradient


class Rom:
    """Solves in the span of the last exact displacements; where the residual is too large, exactly.

    Args:
        size: displacements that are kept.
        residual: largest relative residual of a reduced solution that is accepted.
    """

    card: ClassVar = Card(
        summary="a reduced basis of the last exact displacements, an exact solve where its residual is too large",
        formula="u_t = sum_j a_j u_sj with least energy; accepted if |f - K u_t| <= eps |f|",
        inputs=("density", "displacements at the last exact designs"),
        steps=("project the state equation onto the basis", "residual", "strain energies, or an exact solve"),
        learns="a displacement for the basis",
        corrected=False,
        loose=False,
    )

    def __init__(self, physics: Physics, size: int = 6, residual: float = 0.1) -> None:
        self.physics, self.residual = physics, residual
        self.basis: deque[Any] = deque(maxlen=size)  #: displacements of all load cases

    @classmethod
    def make(cls, tools: Tools) -> Rom:
        return cls(tools.physics, tools.spec.rom.size, tools.spec.rom.residual)

    def estimate(self, rho: Array) -> Gradient:
        """Gradient at rho (n,), reduced or exact (collective)."""
        if self.basis:
            state, residual = self.physics.reduced(rho, list(self.basis))
            if residual <= self.residual:
                return from_state(self.physics, state)
        exact = from_state(self.physics, self.physics.solve(rho))
        self.learn(rho, exact)
        return exact

    def learn(self, rho: Array, exact: Gradient) -> None:
        """Keep the displacement of an exact solve that has just been done (collective)."""
        self.basis.append([u.copy() for u in self.physics.displacements()])
