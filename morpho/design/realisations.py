"""A design as it is drawn, thinner and thicker: the robust formulation of Wang, Lazarov & Sigmund (2011)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from morpho.interfaces import Array, Pullback


@dataclass(frozen=True)
class Realised:
    """The physical densities (n,) that follow from a design variable, each with its pullback."""

    rho: Array  #: as drawn
    pullback: Pullback
    solved: Array  #: what the state equation sees: the thinner one, where there is one
    solved_pullback: Pullback
    grown: tuple[Array, Pullback] | None = None  #: the thicker one, whose volume gives the derivative of the volume


def least_length(eta: float) -> float:
    """The least length of members and holes over the filter radius, for thresholds eta and 1 - eta (local).

    That of a strip which the thinner design just keeps, under a cone in one dimension (after Qian & Sigmund 2013).
    """
    width = 2 * (1 - np.sqrt(eta))  # of the strip of the design variable, w - w^2/4 = 1 - eta
    s = np.linspace(-2, 2, 4001)
    inside = np.abs(s) <= width / 2
    cone = np.maximum(1 - np.abs(s), 0)
    filtered = np.convolve(inside, cone, mode="same") / cone.sum()
    return float(np.count_nonzero(filtered >= 0.5) * (s[1] - s[0]))
