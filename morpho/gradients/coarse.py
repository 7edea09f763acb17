"""The gradient of the solution on blocks, scaled to the last exact one: a two-scale step without any correction."""

from __future__ import annotations

import time
from typing import Any, ClassVar

import numpy as np

from morpho.gradients.card import Card
from morpho.gradients.physics import Physics, from_energies
from morpho.gradients.two_scale import Tools, TwoScale
from morpho.interfaces import Array, Gradient


class Coarse:
    """e_t = a eH_t with one number a per load case, from the last exact solve."""

    card: ClassVar = Card(
        summary="the solution on blocks, without any correction",
        formula="e_t = a eH_t, with a number a from the last exact solve",
        inputs=("density",),
        steps=("solve on blocks", "strain energies of the cells in the blocks", "scale"),
        learns="the scale",
        blocks=True,
    )

    @classmethod
    def make(cls, tools: Tools) -> Coarse:
        return cls(tools.physics, tools.two_scale)

    def __init__(self, physics: Physics, two_scale: TwoScale) -> None:
        self.physics, self.two_scale = physics, two_scale
        k = len(physics.weights)
        self.scale, self.compliance_scale = np.ones(k), np.ones(k)

    def estimate(self, rho: Array) -> Gradient:
        """Gradient at rho (n,) (collective)."""
        start = time.perf_counter()
        coarse = self.two_scale.at(rho)
        return from_energies(
            self.physics,
            rho,
            coarse.compliance * self.compliance_scale,
            coarse.energy * self.scale[:, None],
            coarse.weight_work,
            time.perf_counter() - start,
            coarse.linear_iterations,
        )

    def learn(self, rho: Array, exact: Gradient) -> None:
        """Take the scale from an exact gradient at rho (collective)."""
        coarse, E = self.two_scale.at(rho), self.physics.material.stiffness(rho)
        assert exact.energy is not None
        sums = self.physics.comm.allreduce(np.array([exact.energy @ E, coarse.energy @ E]))
        self.scale = sums[0] / np.maximum(sums[1], 1e-300)
        self.compliance_scale = exact.cases / coarse.compliance

    def save(self) -> tuple[dict[str, Array], dict[str, Any]]:
        """(n,) arrays and JSON values for a checkpoint (local)."""
        return {}, {"scale": list(self.scale), "compliance_scale": list(self.compliance_scale)}

    def restore(self, arrays: dict[str, Array], values: dict[str, Any]) -> None:
        """What `save` gave (local)."""
        self.scale, self.compliance_scale = np.array(values["scale"]), np.array(values["compliance_scale"])
