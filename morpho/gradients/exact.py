"""The exact gradient: one state solve per load case, no adjoint (compliance is self-adjoint)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from morpho.interfaces import Array, Gradient


class _State(Protocol):
    @property
    def compliance(self) -> Array: ...
    @property
    def d_compliance(self) -> Array: ...
    @property
    def linear_iterations(self) -> int: ...
    @property
    def seconds(self) -> float: ...


class Physics(Protocol):
    """What a gradient source sees of the state equation."""

    weights: Array

    def solve(self, rho: Array) -> _State: ...


@dataclass(frozen=True)
class Exact:
    """Solves the state equation at every design."""

    physics: Physics

    def estimate(self, rho: Array) -> Gradient:
        """Gradient at rho (n,) to the tolerance of the linear solver (collective)."""
        state = self.physics.solve(rho)
        return Gradient(
            cases=state.compliance,
            d_cases=state.d_compliance,
            weights=self.physics.weights,
            kind="exact",
            linear_iterations=state.linear_iterations,
            seconds=state.seconds,
            error=0.0,
        )

    def learn(self, rho: Array, exact: Gradient) -> None:
        """Nothing to learn."""
