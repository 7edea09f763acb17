"""The least volume whose stress stays below a limit in every cell, by an augmented Lagrangian."""

from __future__ import annotations

from typing import Literal

from mpi4py import MPI

import numpy as np
from pydantic import Field

from morpho.functionals.functional import Setting, States, Value, von_mises
from morpho.interfaces import Array
from morpho.problem.base import Count, Number, Positive
from morpho.problem.functional_spec import ExcludingSpec

VOID = 0.1  #: density below which there is no material whose stress is told; void beside a load pad is strained a lot
TINY = 1e-30  #: density, for a power below one
GROW, MOST = 1.1, 1e4  #: of the penalty, at every update, and its largest value


class VolumeUnderStressSpec(ExcludingSpec):
    """Volume fraction + mean of (lam h + mu/2 h^2), h = max(g, -lam/mu), g = rho^q L (L^2 + 1), L = vm/limit - 1.

    Giraldo-Londono & Paulino (2021): one number for the limits of all cells and load cases, one adjoint solve a case.
    The multipliers lam of the cells grow every few iterations where the limit is exceeded.
    """

    kind: Literal["volume_under_stress"]
    limit: Positive = Field(description="of the von Mises stress of the solid, in every cell and load case")
    relaxation: Number = Field(3.0, ge=0, le=6, description="q: how fast the limit fades in grey")
    penalty: Positive = Field(10.0, description="mu of the first iterations")
    every: Count = Field(5, description="iterations between updates of the multipliers")

    @property
    def of_all_cases(self) -> bool:
        return True


class VolumeUnderStress:
    """The augmented Lagrangian, with the multipliers of the cells; `advance` moves these."""

    physics = "elasticity"

    def __init__(self, spec: VolumeUnderStressSpec, setting: Setting) -> None:
        self.spec, self.comm, self.cases = spec, setting.comm, tuple(range(setting.n_cases))
        self.limited = setting.without(spec.exclude)
        self.share = setting.volumes / self.comm.allreduce(float(setting.volumes.sum()))
        self.count = len(self.cases) * self.comm.allreduce(float(self.limited.sum()))
        self.solid, self.highest = setting.solid, 0.0  #: root of density times stress, of the last design
        self.multipliers: Array = np.zeros((len(self.cases), len(self.share)))
        self.excess = self.multipliers.copy()  #: h of the last design
        self.penalty, self.steps = spec.penalty, 0

    def at(self, states: States) -> Value:
        rho, spec = states.rho, self.spec
        solid = rho**spec.relaxation
        d_solid = spec.relaxation * np.maximum(rho, TINY) ** max(spec.relaxation - 1, 0.0)
        total, d_rho, d_gradient, highest = float(self.share @ rho), self.share.copy(), {}, 0.0
        for k in self.cases:
            vm, d_vm = von_mises(states.gradient(k), self.solid)
            highest = max(highest, float((self.limited * (rho > VOID) * np.sqrt(rho) * vm).max(initial=0)))
            over = vm / spec.limit - 1
            g = self.limited * solid * over * (over**2 + 1)
            h = np.maximum(g, -self.multipliers[k] / self.penalty)
            slope = self.limited * (self.multipliers[k] + self.penalty * h) / self.count
            total += float((self.multipliers[k] + self.penalty / 2 * h) @ h) / self.count
            d_rho += slope * d_solid * over * (over**2 + 1)
            d_gradient[k] = (slope * solid * (3 * over**2 + 1) / spec.limit)[:, None] * d_vm
            self.excess[k] = h
        self.highest = float(self.comm.allreduce(highest, MPI.MAX))
        return Value(self.comm.allreduce(total), d_gradient=d_gradient, d_rho=d_rho)

    def advance(self) -> None:
        """After a design iteration (local)."""
        self.steps += 1
        if self.steps % self.spec.every == 0:
            self.multipliers = self.multipliers + self.penalty * self.excess
            self.penalty = min(GROW * self.penalty, MOST)

    def limits(self) -> dict[str, tuple[float, float]]:
        """The highest stress, times the root of the density, where there is material, and its limit (local)."""
        return {"highest stress": (self.highest, self.spec.limit)}

    def save(self) -> tuple[dict[str, Array], dict[str, float]]:
        """(n, k) arrays and numbers for a checkpoint (local)."""
        return {"multipliers": self.multipliers.T.copy()}, {"penalty": self.penalty, "steps": self.steps}

    def restore(self, arrays: dict[str, Array], values: dict[str, float]) -> None:
        """What `save` gave (local)."""
        self.multipliers = np.ascontiguousarray(arrays["multipliers"].T)
        self.penalty, self.steps = values["penalty"], int(values["steps"])


SPEC, FUNCTIONAL = VolumeUnderStressSpec, VolumeUnderStress
