"""The compliance: work of the loads, of one load case or the weighted sum of all."""

from __future__ import annotations

from morpho.interfaces import Array, Gradient
from morpho.responses.response import Value


class Compliance:
    """Compliance of a load case, or the weighted sum over all of them; self-adjoint."""

    of_state = True

    def __init__(self, cases: list[str], case: str | None = None) -> None:
        self.complaints: list[str] = []
        self.name = "compliance" if case is None else f"compliance[{case}]"
        self._case = None if case is None else cases.index(case)

    def at(self, rho: Array, gradient: Gradient) -> Value:
        if self._case is None:
            return Value(gradient.compliance, gradient.d_compliance)
        return Value(float(gradient.cases[self._case]), gradient.d_cases[self._case])

    def floor(self, gradient: Gradient) -> float:
        return 0.0
