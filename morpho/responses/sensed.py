"""A functional of the states as a response; the functional itself says what it is, see `functionals`."""

from __future__ import annotations

from morpho.interfaces import Array, Gradient
from morpho.responses.response import Value


class Sensed:
    """What an exact gradient holds of a functional, by its number in the problem."""

    of_state = True

    def __init__(self, name: str, number: int) -> None:
        self.complaints: list[str] = []
        self.name, self._number = name, number

    def at(self, rho: Array, gradient: Gradient) -> Value:
        return Value(float(gradient.values[self._number]), gradient.d_values[self._number])

    def floor(self, gradient: Gradient) -> float:
        return abs(float(gradient.values[self._number]))
