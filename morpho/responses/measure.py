"""What the steps between exact gradients may not make worse."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from morpho.interfaces import Gradient
from morpho.responses.response import Bound, Response

NO_DENSITY = np.zeros(0)  #: responses of the displacement do not look at it


@dataclass(frozen=True)
class Measure:
    """The objective, where it depends on the displacement; otherwise how far such responses are beyond their limits."""

    objective: Response | None
    bounds: tuple[Bound, ...] = ()

    @classmethod
    def of(cls, objective: Response, bounds: list[Bound]) -> Measure | None:
        """That of a problem; None if nothing in it depends on the displacement (local)."""
        if objective.of_state:
            return cls(objective)
        limited = tuple(bound for bound in bounds if bound.response.of_state)
        return cls(None, limited) if limited else None

    @property
    def limits(self) -> bool:
        """Whether it is about limits."""
        return bool(self.bounds)

    @property
    def name(self) -> str:
        return "the objective" if self.objective else f"{self.bounds[0].response.name.split('[')[0]} over its limit"

    def at(self, gradient: Gradient) -> float:
        """Its value at a design; 1 as long as every limit is kept (local)."""
        if self.objective is not None:
            return self.objective.at(NO_DENSITY, gradient).value
        return max(1.0, *(1 + bound.value(bound.response.at(NO_DENSITY, gradient).value) for bound in self.bounds))

    def floor(self, gradient: Gradient) -> float:
        """What changes are compared with at least, where the value itself may pass zero (local)."""
        return 0.0 if self.objective is None else self.objective.floor(gradient)
