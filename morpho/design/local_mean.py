"""How much of the room around each cell is filled."""

from __future__ import annotations

import numpy as np

from morpho.design.cone import Averages
from morpho.interfaces import Array, Pullback


class LocalMean:
    """sum m_j rho_j / sum m_j over the ball around each cell with m_i = 1, zero around others.

    Args:
        averages: plain means over the ball.
        counted: (n,) m, 1 for cells that count and 0 for others.
    """

    def __init__(self, averages: Averages, counted: Array) -> None:
        self._averages = averages
        share = averages.average(counted)
        self._into = counted
        self._out = np.divide(counted, share, out=np.zeros_like(share), where=counted > 0)

    def apply(self, x: Array) -> tuple[Array, Pullback]:
        """The means (n,) and their pullback (collective)."""
        means = self._out * self._averages.average(self._into * x)
        return means, lambda d: self._into * self._averages.average_transposed(self._out * d)
