"""What the next grid takes from the one before: which dofs are held, springs, and shapes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from morpho.fem.voxel.halo import AXES, SharedPlanes
from morpho.fem.voxel.vectors import restrict, whole_rows
from morpho.interfaces import Array

Dofs = NDArray[np.int64]
Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
Shape = tuple[int, int, int]


def entries(springs: Array | None) -> tuple[Dofs, Floats]:
    """Where there are springs in a nodal field, and how stiff they are (local)."""
    if springs is None:
        return np.zeros(0, np.int64), np.zeros(0, np.float32)
    sprung = np.flatnonzero(springs)
    return sprung, springs.reshape(-1)[sprung].astype(np.float32)


def complete(springs: Array | None, planes: SharedPlanes) -> Array | None:
    """Owned springs on all ranks that have the node, for `set_flexibility` (collective)."""
    if springs is None or springs.shape[2] > 1:
        return None
    shared = springs.copy()
    planes.sum(shared)
    return shared


def coarsen_springs(springs: Array | None, shape: tuple[int, ...], planes: SharedPlanes) -> Array | None:
    """Owned springs of the next grid: each is shared out among the nodes around it (collective)."""
    if springs is None:
        return None
    coarse = np.zeros(shape)
    restrict(coarse, springs, whole_rows(springs.shape))
    planes.sum(coarse)
    planes.keep_owned(coarse)
    return coarse


def coarsen_mask(mask: Mask, planes: SharedPlanes) -> Mask:
    """Held dofs of the next grid (collective)."""
    for axis in AXES:
        n = mask.shape[axis]
        if n == 1:
            continue
        mask = np.moveaxis(mask, axis, 0)
        coarse = np.zeros((n // 2 + 1, *mask.shape[1:]), dtype=bool)
        even, odd = mask[::2], mask[1::2]
        coarse[: len(even)] |= even
        coarse[: len(odd)] |= odd
        coarse[1 : len(odd) + 1] |= odd
        mask = np.moveaxis(coarse, 0, axis)
    counted = np.ascontiguousarray(mask, dtype=np.float32)
    planes.sum(counted)
    return np.asarray(counted > 0)


def cell_shape(mask: Mask) -> Shape:
    """Cells (z, y, x) between the nodes of a mask (z, y, component, x)."""
    nz, ny, _, nx = mask.shape
    return max(nz - 1, 1), ny - 1, nx - 1


def node_shape(cells: tuple[int, ...]) -> Shape:
    """Nodes (z, y, x) of a grid of cells along x, y(, z)."""
    nx, ny, *nz = cells
    return (nz[0] + 1 if nz else 1), ny + 1, nx + 1
