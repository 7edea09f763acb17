"""A functional of the states as a response; the functional itself says what it is, see `functionals`."""

from __future__ import annotations

from morpho.interfaces import Array, Gradient
from morpho.responses.response import Value


class Sensed:
    """What an exact gradient holds of a functional, by its number in the problem."""

    of_state = True

    def __init__(self, name: str, number: int, sign: float = 1.0) -> None:
        """The number-th of the problem, times a sign: -1 for an objective that is maximised."""
        self.complaints: list[str] = []
        self.name, self._number, self._sign = name, number, sign

    def at(self, rho: Array, gradient: Gradient) -> Value:
        value, derivative = gradient.values[self._number], gradient.d_values[self._number]
        return Value(self._sign * float(value), derivative if self._sign == 1 else self._sign * derivative)

    def floor(self, gradient: Gradient) -> float:
        return abs(float(gradient.values[self._number]))
