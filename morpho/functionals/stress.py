"""The highest von Mises stress, by a p-mean that is scaled to it."""

from __future__ import annotations

from typing import Literal

from mpi4py import MPI

import numpy as np
from pydantic import Field

from morpho.functionals.functional import VON_MISES, Setting, States, Value, power_mean
from morpho.problem.base import Number
from morpho.problem.functional_spec import FunctionalSpec
from morpho.problem.regions import Region

TINY = 1e-30  #: stress squared, relative to nothing; for the root's derivative


class StressSpec(FunctionalSpec):
    """The highest of rho^q times the von Mises stress of the solid, at the centres of the cells of a region.

    In void it is zero, in the solid the stress (q = 1/2: Le, Norato, Bruns, Ha & Tortorelli 2010). Its derivative is
    that of the p-mean over the cells; with `scaled` value and derivative are multiplied so that the value is the
    maximum itself (there, too).
    """

    kind: Literal["stress"]
    p: Number = Field(8.0, ge=1, le=100, description="the larger, the closer to the highest stress")
    relaxation: Number = Field(0.5, ge=0, le=3, description="q; 0 takes the stress of the solid in void, too")
    scaled: bool = Field(True, description="whether the value is the maximum itself, not the p-mean")
    exclude: tuple[Region, ...] = Field(
        (), description="cells that do not count: near loads, supports and sharp corners stress grows with refinement"
    )

    @property
    def regions(self) -> list[tuple[str, Region]]:
        own = [] if self.region is None else [("region", self.region)]
        return [*own, *((f"exclude[{i}]", region) for i, region in enumerate(self.exclude))]


class Stress:
    """(1/V int (rho^q vm)^p)^(1/p), times what makes it the maximum."""

    physics = "elasticity"

    def __init__(self, spec: StressSpec, setting: Setting) -> None:
        self.spec, self.comm, self.cases = spec, setting.comm, (setting.case,)
        self.weights = setting.volumes * setting.inside
        for region in spec.exclude:
            self.weights = self.weights * (1 - setting.within(region))
        self.form = setting.solid.T @ VON_MISES @ setting.solid  #: vm^2 = e . form e

    def at(self, states: States) -> Value:
        spec, (case,) = self.spec, self.cases
        strain = states.gradient(case)
        pulled = strain @ self.form
        vm = np.sqrt(np.einsum("nk,nk->n", pulled, strain) + TINY)
        factor = states.rho**spec.relaxation
        stress = factor * vm
        value, slope = power_mean(self.comm, stress, self.weights, spec.p)
        if spec.scaled and value > 0:
            top = float(self.comm.allreduce(float(stress[self.weights > 0].max(initial=0)), MPI.MAX))
            value, slope = top, slope * (top / value)
        d_rho = None
        if spec.relaxation:
            d_rho = slope * vm * spec.relaxation * np.maximum(states.rho, 1e-9) ** (spec.relaxation - 1)
        return Value(value, d_gradient={case: (slope * factor / vm)[:, None] * pulled}, d_rho=d_rho)


SPEC, FUNCTIONAL = StressSpec, Stress
