"""Two scales: the state equation on blocks of cells, and what it says about the cells inside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from morpho.interfaces import Array

Floats = NDArray[np.float32]
Indices = NDArray[np.int32]


@dataclass(frozen=True)
class CoarseState:
    """A state solve on blocks, seen from the cells."""

    compliance: Array  #: (k,)
    energy: Floats  #: (k, n) strain energy of each cell at unit stiffness in the displacement of its block, times two
    mean_energy: Array  #: (k,) mean of `energy` weighted with the stiffness of the cells
    weight_work: Array | None  #: (k, n) work of the self weight in each cell, None if there is none
    linear_iterations: int
    seconds: float


class CoarsePhysics(Protocol):
    """Blocks of block^dim cells that move (bi-, tri-)linearly. A block and its cells are on the same rank."""

    block: int  #: cells along the edge of a block

    @property
    def owner(self) -> Indices:
        """(n,) block of each owned cell."""

    n_blocks: int  #: of this rank

    def solve(self, rho: Array) -> CoarseState:
        """Solve every load case at a physical density (n,), from the last displacements (collective)."""

    def mean(self, values: Array | Floats) -> Floats:
        """(n_blocks,) mean over the cells of each block (local)."""

    def smooth_blocks(self, values: Floats) -> Floats:
        """(n_blocks,) mean over the neighbours that share a corner, by way of the corners (collective)."""

    def smooth(self, values: Array | Floats) -> Floats:
        """(n,) the same for cells (collective)."""

    def improve(self) -> None:
        """Add to the displacement of the cells how that of the blocks moved since both were in step (local)."""

    def follow(self) -> None:
        """Note that the displacements of the blocks and of the cells are in step, for the same design (local)."""

    def part(self) -> None:
        """Note that they are not, until the next `follow` (local)."""

    def close(self) -> None:
        """Free what PETSc holds (collective)."""
