"""Cells whose density is not designed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from morpho.interfaces import Array, Pullback
from morpho.mesh.mesh import Indices


@dataclass(frozen=True)
class PassiveCells:
    """Sets solid cells to 1 and void cells to 0, whatever x says there (local)."""

    solid: Indices
    void: Indices

    def apply(self, x: Array) -> tuple[Array, Pullback]:
        return self._replace(x, 1.0), lambda d: self._replace(d, 0.0)

    def _replace(self, values: Array, solid: float) -> Array:
        if not (len(self.solid) or len(self.void)):
            return values
        replaced = np.array(values)
        replaced[self.solid], replaced[self.void] = solid, 0.0
        return replaced
