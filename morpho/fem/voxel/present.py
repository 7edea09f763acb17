"""What of a grid takes part in a design: stretches of cells that are not void, and the nodes around them.

Parts fill little of their box, and late designs are mostly void. The kernels of the cells run over `pieces`, the passes
over nodes over `runs`. Both hold some cells and nodes without stiffness, whose values have to be numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from morpho.fem.voxel.halo import SharedPlanes
from morpho.fem.voxel.kernels_3d import STRETCH
from morpho.fem.voxel.present_kernels import BLOCK, join, mark_blocks, mark_nodes, mark_pairs, rows
from morpho.fem.voxel.vectors import Runs, whole_rows
from morpho.mesh.voxels import VoxelMesh
from morpho.pages import zeros
from morpho.parallel import any_rank

MANY = 0.4  #: share of the cells, or of the nodes, from which on all take part: whole rows are passed through faster

#: (pieces, 5) layer, first cell along x, cells along x, first row, and the one after the last; at most STRETCH cells
Pieces = NDArray[np.int64]


class Present:
    """The pieces of this rank's cells, and the runs of its nodes, that take part: at first all.

    Args:
        shape: of a nodal array (z, y, component, x).
        sparse: whether a part lies in the box, so that arrays take memory only where something is written.
    """

    def __init__(self, planes: SharedPlanes, shape: tuple[int, ...], sparse: bool = False) -> None:
        self.planes, self.sparse = planes, sparse
        self._nodes = shape[0], shape[1], 1, shape[3]
        self._whole = whole_pieces((max(shape[0] - 1, 1), shape[1] - 1, shape[3] - 1)), whole_rows(self._nodes)
        self.pieces, self.runs = self._whole
        self.nodes: NDArray[np.bool_] | None = None  #: (z, y, 1, x) those of the cells, None for all

    def update(self, E: NDArray[Any]) -> None:
        """Take the cells (z, y, x) with stiffness (collective)."""
        is_full = bool(np.min(E, initial=np.inf) > 0)
        if not any_rank(self.planes.comm, not is_full):
            (self.pieces, self.runs), self.nodes = self._whole, None
            return
        nodes, pairs = (zeros(self._nodes, bool, self.sparse) for _ in range(2))
        if is_full:
            self.pieces, nodes[:], pairs[:] = self._whole[0], True, True
        else:
            pieces = find_pieces(E)
            mark_nodes(nodes, E, pieces)
            self.pieces = self._whole[0] if pieces[:, 2] @ (pieces[:, 4] - pieces[:, 3]) > MANY * E.size else pieces
        self.nodes = self._shared(nodes)
        if not is_full:
            mark_pairs(pairs, nodes)
        self.planes.sum(pairs)  # all ranks that have a node agree on what runs hold
        self.runs = find_runs(pairs)
        covered, size = self.planes.comm.allreduce(np.array([np.sum(self.runs[:, 3] - self.runs[:, 2]), nodes.size]))
        if covered > MANY * size:
            self.runs = self._whole[1]

    def look(self, E: NDArray[Any]) -> None:
        """Find the nodes of the cells (z, y, x) with stiffness, and let all take part (collective)."""
        nodes = zeros(self._nodes, bool, self.sparse)
        mark_nodes(nodes, E, self._whole[0])
        self.nodes = self._shared(nodes)

    def covers(self, nodes: NDArray[np.int64]) -> bool:
        """Whether nodes, by their flat number (z, y, x), are corners of a cell with stiffness (local)."""
        return self.nodes is None or bool(np.all(self.nodes.reshape(-1)[nodes]))

    def _shared(self, nodes: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
        """Those that some rank has, in place; None for all (collective)."""
        self.planes.sum(nodes)
        return None if nodes.all() else nodes


def whole_pieces(cells: tuple[int, int, int]) -> Pieces:
    """All cells (z, y, x) (local)."""
    nz, ny, nx = cells
    return np.array([(k, i, min(STRETCH, nx - i), 0, ny) for k in range(nz) for i in range(0, nx, STRETCH)])


def pieces_of(box: VoxelMesh) -> Pieces:
    """Of the cells that exist, as the fields of a mesh are laid out in `VoxelMesh.laid` (local)."""
    return whole_pieces(box.shape) if box.filled is None else find_pieces(box.grid(np.ones(box.n, np.float32)))


def find_pieces(E: NDArray[Any]) -> Pieces:
    """Rectangles of blocks along x and rows along y with a stiff cell in each block of a row (local)."""
    nz, ny, nx = E.shape
    taken = np.empty((nz, ny, -(-nx // BLOCK)), dtype=bool)
    mark_blocks(taken, E)
    pieces = np.empty((join(taken, nx, np.empty((0, 5), np.int64)), 5), np.int64)
    join(taken, nx, pieces)
    return pieces if len(pieces) else np.array([(0, 0, min(BLOCK, nx), 0, 0)])  # no rows


def find_runs(nodes: NDArray[np.bool_]) -> Runs:
    """Of nodes (z, y, 1, x) that take part (local).

    A run begins and ends at an even node, as interpolation goes in pairs.
    """
    runs = np.empty((rows(nodes, np.empty((0, 4), np.int64)), 4), np.int64)
    rows(nodes, runs)
    return runs
