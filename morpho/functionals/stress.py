"""The highest von Mises stress, by a p-mean that is scaled to it."""

from __future__ import annotations

from typing import Literal

from mpi4py import MPI

import numpy as np
from pydantic import Field

from morpho.functionals.functional import Setting, States, Value, power_mean, von_mises
from morpho.problem.base import Number
from morpho.problem.functional_spec import ExcludingSpec


class StressSpec(ExcludingSpec):
    """The highest of rho^q times the von Mises stress of the solid, at the centres of the cells of a region.

    In void it is zero, in the solid the stress (q = 1/2: Le, Norato, Bruns, Ha & Tortorelli 2010). Its derivative is
    that of the p-mean over the cells; with `scaled` value and derivative are multiplied so that the value is the
    maximum itself (there, too).
    """

    kind: Literal["stress"]
    p: Number = Field(8.0, ge=1, le=100, description="the larger, the closer to the highest stress")
    relaxation: Number = Field(0.5, ge=0, le=3, description="q; 0 takes the stress of the solid in void, too")
    scaled: bool = Field(True, description="whether the value is the maximum itself, not the p-mean")


class Stress:
    """(1/V int (rho^q vm)^p)^(1/p), times what makes it the maximum."""

    physics = "elasticity"

    def __init__(self, spec: StressSpec, setting: Setting) -> None:
        self.spec, self.comm, self.cases = spec, setting.comm, (setting.case,)
        self.weights = setting.volumes * setting.without(spec.exclude)
        self.solid = setting.solid

    def at(self, states: States) -> Value:
        spec, (case,) = self.spec, self.cases
        vm, d_vm = von_mises(states.gradient(case), self.solid)
        factor = states.rho**spec.relaxation
        stress = factor * vm
        value, slope = power_mean(self.comm, stress, self.weights, spec.p)
        if spec.scaled and value > 0:
            top = float(self.comm.allreduce(float(stress[self.weights > 0].max(initial=0)), MPI.MAX))
            value, slope = top, slope * (top / value)
        d_rho = None
        if spec.relaxation:
            d_rho = slope * vm * spec.relaxation * np.maximum(states.rho, 1e-9) ** (spec.relaxation - 1)
        return Value(value, d_gradient={case: (slope * factor)[:, None] * d_vm}, d_rho=d_rho)


SPEC, FUNCTIONAL = StressSpec, Stress
