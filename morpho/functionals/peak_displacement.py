"""The p-mean of how far the structure moves: close to the largest displacement, and smooth."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from morpho.functionals.functional import Setting, States, Value, power_mean
from morpho.problem.base import Number
from morpho.problem.functional_spec import FunctionalSpec

TINY = 1e-30  #: length squared, for the derivative of the root


class PeakDisplacementSpec(FunctionalSpec):
    """(mean of rho |u|^p)^(1/p) over the cells of a region, u at their centres: void moves as it likes."""

    kind: Literal["peak_displacement"]
    p: Number = Field(8.0, ge=1, le=100, description="the larger, the closer to the largest displacement")


class PeakDisplacement:
    """(1/V int rho |u|^p)^(1/p)."""

    physics = "elasticity"

    def __init__(self, spec: PeakDisplacementSpec, setting: Setting) -> None:
        self.spec, self.setting, self.cases = spec, setting, (setting.case,)
        self.weights = setting.volumes * setting.inside

    def at(self, states: States) -> Value:
        p, case = self.spec.p, self.setting.case
        u = states.centre(case)
        length = np.sqrt(np.einsum("nc,nc->n", u, u) + TINY)
        share = np.maximum(states.rho, 1e-9) ** (1 / p)
        value, slope = power_mean(self.setting.comm, share * length, self.weights, p)
        d_rho = slope * length * share / (p * np.maximum(states.rho, 1e-9))
        return Value(value, d_centre={case: (slope * share / length)[:, None] * u}, d_rho=d_rho)


SPEC, FUNCTIONAL = PeakDisplacementSpec, PeakDisplacement
