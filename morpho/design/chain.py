"""Maps one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from morpho.interfaces import Array, DesignMap, Pullback


@dataclass(frozen=True)
class Chain:
    """The composition of design maps, first one first; a design map itself."""

    maps: Sequence[DesignMap]

    def apply(self, x: Array) -> tuple[Array, Pullback]:
        pullbacks = []
        for part in self.maps:
            x, pullback = part.apply(x)
            pullbacks.append(pullback)

        def pull(d: Array) -> Array:
            for pullback in reversed(pullbacks):
                d = pullback(d)
            return d

        return x, pull
