"""Solves without the cells of void: late designs are mostly void, which costs as much and carries nothing."""

from __future__ import annotations

import numpy as np

from morpho.fem.material import Material

VOID = 2.0  #: cells are void up to so many times the least stiffness: the density adds no more than that
NEGLIGIBLE = 1e-8  #: relative stiffness of void up to which it can be left out


def is_idle(material: Material, E_min_ratio: float) -> bool:
    """Whether neither the stiffness of void nor its derivative makes a difference (local)."""
    return bool(E_min_ratio <= NEGLIGIBLE and material.derivative(np.zeros(1))[0] == 0)
