"""The displacement of a part of the structure: the output of a mechanism, or what may not give way."""

from __future__ import annotations

from morpho.interfaces import Array, Gradient
from morpho.problem.spec import Probe
from morpho.responses.response import Value

FLOOR = 0.1  #: of the displacement that the stiffness at both ends would allow


class Displacement:
    """Mean displacement over a region, in a direction, under a load case; not self-adjoint. See `fem.dummy`."""

    of_state = True

    def __init__(self, probe: Probe, number: int) -> None:
        """What a probe sees, the number-th of the problem."""
        self.complaints: list[str] = []
        direction = probe.direction if isinstance(probe.direction, str) else list(probe.direction)
        self.name = f"displacement[{probe.region}, {direction}{f', {probe.case}' if probe.case else ''}]"
        self._number = number

    def at(self, rho: Array, gradient: Gradient) -> Value:
        return Value(gradient.displacement(self._number), gradient.d_displacement(self._number))

    def floor(self, gradient: Gradient) -> float:
        plus, minus = gradient.pair(self._number)
        return FLOOR * (plus + minus) / (4 * float(gradient.scale[self._number]))
