"""The stiffness of cells in float32 on a displacement in float64, for residuals that need not be known well.

Each piece of cells is shown by how much the displacement differs from that of its first node: what is alike in a whole
piece costs float32 its digits, and makes no force.
"""

from __future__ import annotations

import numpy as np

from morpho.fem.voxel import kernels_2d, kernels_3d, kernels_scalar
from morpho.fem.voxel.kernels_3d import compiled

add_stiffness_2d, add_stiffness_3d = kernels_2d.add_stiffness, kernels_3d.add_stiffness
add_conductance = kernels_scalar.add_stiffness


@compiled
def add_to_single(y, u, factor, E, m, pieces):
    """y += factor A u, with u in float64 and all else in float32; see `kernels_3d.add_stiffness` for shapes."""
    _, rows, components, nodes = u.shape
    near = np.zeros((2, rows, components, nodes), y.dtype)
    piece = np.zeros((1, 5), np.int64)
    for k, start, n, first, last in pieces:
        layers = min(2, len(u) - k)
        for layer in range(layers):
            for j in range(first, last + 1):
                for c in range(components):
                    origin = u[k, first, c, start]
                    row, source = near[layer, j, c, start : start + n + 1], u[k + layer, j, c, start : start + n + 1]
                    for i in range(len(row)):
                        row[i] = factor * (source[i] - origin)
        piece[0] = 0, start, n, first, last
        if components == 3:
            add_stiffness_3d(y[k : k + 2], near, E[k : k + 1], m, piece)
        elif components == 1:
            add_conductance(y[k : k + 2], near, E[k : k + 1], m, piece)
        else:
            add_stiffness_2d(y[k : k + 2], near, E[k : k + 1], m, piece)
