"""Which cells the network looks at together: each by itself, or the cells of a block."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.integer[Any]]


class Patches(Protocol):
    """Patches have no cell in common, and all of their cells are on one rank."""

    shape: tuple[int, ...]  #: cells of a patch along z, y, x (y, x in 2-D); () for single cells
    size: int  #: cells of a patch

    def around(self, cells: Indices) -> Indices:
        """(patches, size) cells of the patches that some cells (m,) lie in (local)."""


class SingleCells:
    """Every cell by itself."""

    shape: tuple[int, ...] = ()
    size = 1

    def around(self, cells: Indices) -> Indices:
        return cells[:, None]


class BlocksOfTwo:
    """The blocks of two cells along each edge of a box of equal cells; one that the edge of the box cuts is no patch.

    Args:
        owner: (n,) block of each cell.
        n_blocks: of this rank.
        dim: of the box.
    """

    def __init__(self, owner: Indices, n_blocks: int, dim: int) -> None:
        self.shape, self.size, self._owner = (2,) * dim, 2**dim, owner
        order = np.argsort(owner, kind="stable")  # cells of a rank are numbered with x fastest, then y, then z
        whole = np.bincount(owner, minlength=n_blocks) == self.size
        self._cells = np.zeros((n_blocks, self.size), np.int64)
        self._cells[whole] = order[whole[owner[order]]].reshape(-1, self.size)
        self._whole = whole

    def around(self, cells: Indices) -> Indices:
        blocks = np.unique(self._owner[cells])
        return self._cells[blocks[self._whole[blocks]]]
