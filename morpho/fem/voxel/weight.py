"""Self weight on a box of equal cells: the nodes of a cell share what it weighs."""

from __future__ import annotations

import numpy as np

from morpho.fem.voxel.halo import SharedPlanes
from morpho.fem.voxel.vectors import mean_of_nodes, sum_at_nodes
from morpho.interfaces import Array
from morpho.mesh.voxels import VoxelMesh


def add_weight(load: Array, rho: Array, density: Array, box: VoxelMesh, planes: SharedPlanes) -> None:
    """Add nodal forces (z, y, component, x) of cells of density rho (n,), complete on shared nodes (collective).

    Args:
        density: (components,) force per volume at density 1.
        box: in which the arrays are laid out.
    """
    share = np.empty((load.shape[0], load.shape[1], 1, load.shape[3]))
    sum_at_nodes(share, box.grid(rho), box.dim - 1)
    planes.sum(share)
    share *= box.cell_volume / 2**box.dim
    for c, force in enumerate(density):
        load[:, :, c] += force * share[:, :, 0]


def weight_work(u: Array, density: Array, box: VoxelMesh) -> Array:
    """(n,) work that these forces do in each cell at density 1, for a displacement (z, y, component, x) (local)."""
    work, mean = np.zeros(box.n), np.empty(box.shape)
    for c, force in enumerate(density):
        mean_of_nodes(mean, u, c, box.dim - 1)
        work += force * box.cell_volume * box.listed(mean)
    return work
