"""Solves without the cells of void: late designs are mostly void, which costs as much and carries nothing."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from morpho.fem.material import Material
from morpho.fem.voxel.cg import Operator
from morpho.fem.voxel.loads import NodalForces
from morpho.fem.voxel.multigrid import Dofs, Mask
from morpho.interfaces import Array
from morpho.parallel import any_rank

VOID = 2.0  #: cells are void up to so many times the least stiffness: the density adds no more than that
NEGLIGIBLE = 1e-8  #: relative stiffness of void up to which it can be left out


def is_idle(material: Material, E_min_ratio: float, weights: list[Array]) -> bool:
    """Whether void changes neither state nor derivative (local).

    Its stiffness is negligible, its derivative zero, and nothing has weight, as void then holds what hangs in the air.
    """
    slope = material.derivative(np.zeros(1))[0]
    return bool(E_min_ratio <= NEGLIGIBLE and slope == 0 and not any(weight.any() for weight in weights))


def leave_out(A: Operator, least: float, loaded: Dofs) -> Mask | None:
    """The cells (z, y, x) of void, their stiffness in A taken away; None if a load acts on what only they hold
    (collective).

    Args:
        least: the least stiffness.
        loaded: nodes on which loads act, by their flat number (z, y, x).
    """
    void = np.asarray(VOID * least >= A.E)
    A.E[void] = 0
    A.present.update(A.E)
    return None if any_rank(A.planes.comm, not A.present.covers(loaded)) else void


def loaded_nodes(forces: Iterable[NodalForces], held: Dofs, shape: tuple[int, ...]) -> Dofs:
    """Flat numbers (z, y, x) of the nodes of an array (z, y, component, x) on which forces do work (local)."""
    dofs = np.concatenate([given.dofs[given.values != 0] for given in forces])
    row, x = np.divmod(np.setdiff1d(dofs, held), shape[3])
    return np.asarray(row // shape[2] * shape[3] + x)
