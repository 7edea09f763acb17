"""What a state solve gives, whatever engine did it."""

from __future__ import annotations

from dataclasses import dataclass

from morpho.errors import SolverError
from morpho.fem.adjoint import Sensitivities
from morpho.interfaces import Array

LOOSE = 1e-3  #: relative residual above which a solve is loose: it says little of parts that have lost their stiffness
DOUBTED = 0.02  #: share of the compliance that the last iterations of a loose solve may have added to it


@dataclass(frozen=True)
class State:
    """Result of a state solve: values and derivatives for every load case, and the pairs of `fem.dummy`."""

    compliance: Array  #: (k,)
    d_compliance: Array  #: (k, n) with respect to rho
    energy: Array  #: (k, n) strain energy of each cell at unit stiffness, times two: integral of eps:C0:eps
    linear_iterations: int
    seconds: float
    converged: bool = True  #: to the tolerance of the problem; False after a solve that was asked for less
    functionals: Sensitivities | None = None  #: of responses that are not linear in the state


def check_sign(compliance: Array) -> None:
    """See that no load case has a negative compliance, which fixed supports cannot have (local).

    Raises:
        SolverError: one has, so that the displacement is wrong.
    """
    if (compliance < 0).any():
        raise SolverError(
            f"the compliance came out as {compliance.min():.3g}, but where supports stay it is positive: the stiffness "
            "is singular to rounding; look for parts that are hardly held, or raise material.E_min_ratio"
        )
