"""The gradient of the solution on blocks, scaled to the last exact one: a two-scale step without any correction."""

from __future__ import annotations

from typing import Any, ClassVar, cast

import numpy as np

from morpho.gradients.card import Card
from morpho.gradients.secant import Secant
from morpho.interfaces import Array, Gradient


class Coarse(Secant):
    """The secant with one ratio per load case instead of one per cell: e_t = a eH_t."""

    card: ClassVar = Card(
        summary="the energies of the solution on blocks, scaled by one number",
        formula="e_t = a eH_t, with a number a from the last exact solve",
        inputs=("density",),
        steps=("solve on blocks", "strain energies of the cells in the blocks", "scale"),
        learns="the scale",
        blocks=True,
    )

    def learn(self, rho: Array, exact: Gradient) -> None:
        """Take the scale from an exact gradient at rho (collective)."""
        coarse, E = self.two_scale.at(rho), self.physics.material.stiffness(rho)
        assert exact.energy is not None
        sums = self.physics.comm.allreduce(np.array([exact.energy @ E, coarse.energy @ E]))
        self.ratio = (sums[0] / np.maximum(sums[1], 1e-300)).astype(np.float32)[:, None]
        self._take_values(exact, coarse.compliance)

    def save(self) -> tuple[dict[str, Array], dict[str, Any]]:
        """JSON values for a checkpoint (local)."""
        return {}, super().save()[1] | {"ratio": self.ratio.tolist()}

    def restore(self, arrays: dict[str, Array], values: dict[str, Any]) -> None:
        """What `save` gave (local)."""
        self.ratio = np.array(values["ratio"], np.float32)
        super().restore({"ratio": cast(Array, self.ratio.T)}, values)
