"""The last design that was tried: it mostly becomes the next one, whose density need not be worked out again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from morpho.interfaces import Array, Pullback


@dataclass
class Tried:
    """A design variable with its density and pullback, under what was in force; all methods are local."""

    _last: tuple[Any, Array, Array, Pullback] | None = None

    def keep(self, in_force: Any, x: Array, rho: Array, pullback: Pullback) -> Array:
        """Remember them; the density."""
        self._last = in_force, x, rho, pullback
        return rho

    def found(self, in_force: Any, x: Array) -> tuple[Array, Pullback] | None:
        """Density and pullback if it was just this array that was tried last; nothing is remembered from then on."""
        last = self._last
        self.forget()
        return last[2:] if last is not None and last[0] == in_force and last[1] is x else None

    def forget(self) -> None:
        """Let go of the arrays."""
        self._last = None
