"""The lowest natural frequency, as a smooth minimum of the lowest few."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from pydantic import Field

from morpho.functionals.functional import Setting, States, Value
from morpho.problem.base import Count
from morpho.problem.functional_spec import FunctionalSpec

P = 20.0  #: exponent of the smooth minimum: two modes that coincide count as 1.7 % lower
SOFTEST = 1e-6  #: void, relative to the solid


class FrequencySpec(FunctionalSpec):
    """The lowest angular frequency sqrt(lambda) of K x = lambda M x; as an objective it is maximised.

    Several may coincide: the value is that of (sum lambda_k^-p)^(-1/p) over the lowest `modes`, which has a derivative
    there, too.
    """

    kind: Literal["frequency"]
    modes: Count = Field(3, le=20, description="how many of the lowest count")

    @property
    def sign(self) -> float:
        return -1.0

    @property
    def needs_loads(self) -> bool:
        return False

    def complaints(self, problem: Any) -> list[str]:
        said = []
        if problem.solver.degree != 1:
            said.append("solver.degree: frequencies have degree 1 only")
        if problem.material.E_min_ratio < SOFTEST:
            said.append(
                f"material.E_min_ratio: got {problem.material.E_min_ratio:g}; the eigenpairs of softer void than "
                f"{SOFTEST:g} get lost in rounding"
            )
        return said


class Frequency:
    """sqrt((sum lambda_k^-p)^(-1/p))."""

    physics = "elasticity"

    def __init__(self, spec: FrequencySpec, setting: Setting) -> None:
        self.modes, self.cases = spec.modes, ()

    def at(self, states: States) -> Value:
        found = states.modes(self.modes, fading=P)
        share = (found.values[0] / found.values) ** P
        least = found.values[0] * float(share.sum()) ** (-1 / P)
        weights = float(share.sum()) ** (-1 / P - 1) * share * found.values[0] / found.values
        omega = float(np.sqrt(least))
        return Value(omega, d_rho=weights @ found.slopes / (2 * omega))


SPEC, FUNCTIONAL = FrequencySpec, Frequency
