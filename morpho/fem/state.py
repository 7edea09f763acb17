"""What a state solve gives, whatever engine did it."""

from __future__ import annotations

from dataclasses import dataclass

from morpho.interfaces import Array


@dataclass(frozen=True)
class State:
    """Result of a state solve: values and derivatives for every load case."""

    compliance: Array  #: (k,)
    d_compliance: Array  #: (k, n) with respect to rho
    energy: Array  #: (k, n) strain energy of each cell at unit stiffness, times two: integral of eps:C0:eps
    linear_iterations: int
    seconds: float
    converged: bool = True  #: to the tolerance of the problem; False after a solve that was asked for less
