"""The plain form of the synthetic gradient, near to what the paper describes, for comparison with the anchored one."""

from __future__ import annotations

from typing import Any

import numpy as np

from morpho.gradients.anchored import LARGEST_EXPONENT
from morpho.gradients.features import Snapshot
from morpho.gradients.onsg import Onsg
from morpho.gradients.physics import Floats
from morpho.interfaces import Array

ENERGY, BLOCK_ENERGY = 2, 1  #: rows of the cell and block fields


class PlainOnsg(Onsg):
    """log e_t = log <eH_t> + N(phi_t): from the strain of the block and the densities, without an anchor."""

    def _energy_by_network(self, i: int, cells: Any, now: Snapshot, coarse_energy: Floats) -> Floats:
        out = self._infer(i, cells, *_alone(now))
        out += self._scale(i, cells, now) + np.float32(now.level[i])
        return np.asarray(np.exp(np.minimum(out, LARGEST_EXPONENT + now.level[i]), dtype=np.float32))

    def _anchor(self, snapshot: Snapshot) -> None:
        self.base = np.zeros_like(snapshot.cells[:, -1])

    def _collect(self, i: int, importance: Array, snapshot: Snapshot) -> None:
        cells = self._pick(importance)
        target = snapshot.cells[i, -1, cells] + snapshot.cells[i, ENERGY, cells] - self._scale(i, cells, snapshot)
        here = self._features(i, cells, *_alone(snapshot))
        self._pool.append(self._together(cells, here, here[:, :0], target))

    def _scale(self, i: int, cells: Any, snapshot: Snapshot) -> Floats:
        """Log of the energy around the block of each cell, relative to the mean (local)."""
        return np.asarray(snapshot.blocks[i, BLOCK_ENERGY][self.two_scale.pairs.owner[cells]])


def _alone(now: Snapshot) -> tuple[Snapshot, Snapshot]:
    """A design, and itself without what only an anchor knows (local)."""
    cells = now.cells.copy()
    cells[:, -1] = 0
    return now, Snapshot(cells, now.blocks, now.level)
