"""The gradients themselves extrapolated by dynamic mode decomposition: no blocks, no network."""

from __future__ import annotations

import time
from collections import deque
from typing import Any, ClassVar

import numpy as np

from morpho.gradients import dmd
from morpho.gradients.card import Card
from morpho.gradients.dmd import Extrapolation, Operator
from morpho.gradients.physics import Physics, from_energies, weight_work_of
from morpho.interfaces import Array, Gradient
from morpho.problem.gradient_spec import KoopmanSpec

LARGEST_CHANGE = 1.0  #: of the logarithm of an energy since the last exact design, or of a compliance relative to it
SOFT = 1e-6  #: share of the mean energy that is added before a logarithm


class KoopmanGradients:
    """log e_t from the operator of the last iterations; between exact ones log e is taken to be linear.

    Estimates count the iterations since the last exact design by the designs they are asked for.
    """

    card: ClassVar = Card(
        summary="the strain energies of the last exact designs, extrapolated by a linear operator",
        formula="log e_(s+j) = U^j log e_s, with U = F' pinv(F) from a window of iterations",
        inputs=("density", "energies at the last exact designs"),
        steps=("operator of low rank on the logarithms of the energies", "its j-th power", "times the slope E'(rho)"),
        learns="one more exact design for the window",
        warm_up=5,
        loose=False,
    )

    def __init__(self, physics: Physics, spec: KoopmanSpec) -> None:
        self.physics, self.spec = physics, spec
        self.past: deque[Array] = deque(maxlen=spec.window)  #: (k, n) log e, in successive iterations
        self.past_cases: deque[Array] = deque(maxlen=spec.window)  #: (k,) compliance
        self.since = 0  #: iterations since the newest of them
        self.solid: Array = np.ones(physics.mesh.n)  #: (n,) density at the last exact design
        self.weight_work: Array | None = None  #: (k, n) there
        self._extrapolation = Extrapolation(physics.comm, physics.mesh.key, spec.rank, spec.patch)
        self._weighs = bool(np.any(getattr(physics, "weight_density", 0.0)))
        self._rho: Array | None = None

    def estimate(self, rho: Array) -> Gradient:
        """Gradient at rho (n,) (collective)."""
        start = time.perf_counter()
        self._count(rho)
        energy, cases = self.past[-1].copy(), self.past_cases[-1].copy()
        if len(self.past) == self.spec.window:
            for i in range(len(energy)):
                change, error = self._extrapolation(dmd.window([past[i] for past in self.past]), self.since, self.solid)
                if error <= self.spec.fit:
                    energy[i] += np.clip(change, -LARGEST_CHANGE, LARGEST_CHANGE)
                    cases[i] += self._case_ahead(i)
        seconds = time.perf_counter() - start
        return from_energies(self.physics, rho, cases, np.exp(energy), self.weight_work, seconds, 0)

    def _case_ahead(self, i: int) -> float:
        """Change of a compliance since the last exact design, by an operator of its own (local)."""
        D = np.array([[past[i] - self.past_cases[-1][i] for past in self.past_cases]])
        change = float(D[0] @ Operator.fit(D, 1).ahead(self.since))
        largest = LARGEST_CHANGE * abs(self.past_cases[-1][i])
        return min(max(change, -largest), largest)

    def _count(self, rho: Array) -> None:
        """One more iteration, if rho (n,) is a new design (local)."""
        if rho is not self._rho:
            self.since, self._rho = self.since + 1, rho

    def learn(self, rho: Array, exact: Gradient) -> None:
        """Append an exact gradient at rho, and what lies between it and the one before (collective)."""
        assert exact.energy is not None
        self._count(rho)
        sizes = self.physics.comm.allreduce(exact.energy.sum(axis=1)) / self.physics.mesh.n_global
        energy = np.log(exact.energy + SOFT * sizes[:, None] + 1e-300)
        for past, new in ((self.past, energy), (self.past_cases, exact.cases)):
            old = past[-1] if past else new
            for step in range(1, self.since) if past else ():
                past.append(old + step / self.since * (new - old))
            past.append(new)
        self.since, self.solid = 0, rho
        if self._weighs:
            self.weight_work = weight_work_of(self.physics, rho, exact)

    def save(self) -> tuple[dict[str, Array], dict[str, Any]]:
        """The window, (n, load cases) each, and JSON values for a checkpoint (local)."""
        arrays = {f"past_{j}": past.T.copy() for j, past in enumerate(self.past)} | {"solid": self.solid}
        if self.weight_work is not None:
            arrays["weight_work"] = self.weight_work.T.copy()
        return arrays, {"cases": [list(cases) for cases in self.past_cases], "since": self.since}

    def restore(self, arrays: dict[str, Array], values: dict[str, Any]) -> None:
        """What `save` gave (local)."""
        self.past.extend(np.ascontiguousarray(arrays[f"past_{j}"].T) for j in range(len(values["cases"])))
        self.past_cases.extend(np.array(cases) for cases in values["cases"])
        self.since, self.solid = values["since"], arrays["solid"]
        if "weight_work" in arrays:
            self.weight_work = np.ascontiguousarray(arrays["weight_work"].T)
