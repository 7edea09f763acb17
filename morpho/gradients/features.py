"""What the network sees of a cell: fields that mean the same on any mesh, at several radii."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from morpho.gradients.physics import Floats
from morpho.gradients.secant import CLIP
from morpho.gradients.two_scale import TwoScale
from morpho.interfaces import Array

CELL_FIELDS = ("density", "density, corner mean", "log coarse energy")
#: On blocks of two cells, whatever the blocks of the coarse solution are; the first ones are seen as changes, too.
BLOCK_FIELDS = (
    "density of the block, corner mean",
    "log coarse energy of the block, corner mean",
    "density of the block",
    "density of the block, corner mean of corner means",
    "log stiffness of the block",
    "log stiffness of the block, corner mean",
)
BLOCK_CHANGES = 2
#: In the order of `kernels.gather`: fields now, log(e / eH) at the anchor, and how fields changed since then.
NAMES = (
    *CELL_FIELDS,
    *BLOCK_FIELDS,
    "log of exact over coarse energy at the anchor",
    *(f"change of {name}" for name in (*CELL_FIELDS, *BLOCK_FIELDS[:BLOCK_CHANGES])),
)
SOFT = np.float32(1e-3)  #: relative stiffness that is added before a logarithm
LARGEST_LOG = 8.0  #: of an energy over the mean
LARGEST_RATIO = float(np.log(CLIP))  #: of log(e / eH), as for the secant
TINY = np.float32(1e-30)


@dataclass(frozen=True)
class Snapshot:
    """The fields of one design, for every load case."""

    cells: Floats  #: (k, fields + 1, n); the last row is log(e / eH), once e is known
    blocks: Floats  #: (k, fields, n_blocks)
    level: Array  #: (k,) log of the mean coarse energy, which the logs are relative to

    def to_compare(self) -> Snapshot:
        """What is left of it when only changes since then count (local)."""
        return replace(self, blocks=self.blocks[:, :BLOCK_CHANGES].copy())


def look(two_scale: TwoScale, rho: Array) -> Snapshot:
    """The fields at rho (n,), from the solution on blocks; log(e / eH) is left open (collective)."""
    coarse, pairs = two_scale.at(rho), two_scale.pairs
    k, n = coarse.energy.shape
    level = np.log(np.maximum(coarse.mean_energy, 1e-300))
    cells = np.empty((k, len(CELL_FIELDS) + 1, n), np.float32)
    blocks = np.empty((k, len(BLOCK_FIELDS), pairs.n_blocks), np.float32)
    cells[:, 0] = rho
    cells[:, 1] = two_scale.blocks.smooth(cells[0, 0])
    mean = pairs.mean(cells[0, 0])
    smooth = pairs.smooth_blocks(mean)
    blocks[:, 0], blocks[:, 2], blocks[:, 3] = smooth, mean, pairs.smooth_blocks(smooth)
    material = two_scale.physics.material
    moduli = material.stiffness(rho)
    moduli /= material.stiffness(np.ones(1))
    stiffness = pairs.mean(moduli)
    del moduli
    blocks[:, 4] = np.log(stiffness + SOFT)
    blocks[:, 5] = np.log(pairs.smooth_blocks(stiffness) + SOFT)
    for i in range(k):
        cells[i, 2] = relative_log(coarse.energy[i], level[i])
        blocks[i, 1] = pairs.smooth_blocks(pairs.mean(cells[i, 2]))
    return Snapshot(cells, blocks, level)


def saved(snapshot: Snapshot, two_scale: TwoScale) -> dict[str, Any]:
    """A snapshot as arrays of this rank's cells, for a checkpoint; the level is left out (local)."""
    arrays: dict[str, Any] = {}
    for i in range(len(snapshot.level)):
        arrays[f"cells_{i}"] = snapshot.cells[i].T
        arrays[f"blocks_{i}"] = OfBlocks(snapshot.blocks[i], two_scale.pairs.owner)
    return arrays


class OfBlocks:
    """Fields (c, n_blocks) of blocks as values (n, c) of the cells, made when some of them are asked for."""

    def __init__(self, blocks: Floats, owner: NDArray[np.int32]) -> None:
        self._blocks, self._owner = blocks, owner
        self.shape = len(owner), len(blocks)

    def __getitem__(self, cells: Any) -> Floats:
        return self._blocks[:, self._owner[cells]].T


def restored(arrays: dict[str, Array], level: list[float], two_scale: TwoScale) -> Snapshot:
    """What `saved` gave, with its level (local)."""
    pairs, k = two_scale.pairs, range(len(level))
    cells = np.stack([arrays[f"cells_{i}"].T for i in k]).astype(np.float32)
    blocks = np.empty((len(k), arrays["blocks_0"].shape[1], pairs.n_blocks), np.float32)
    for i in k:
        blocks[i][:, pairs.owner] = arrays[f"blocks_{i}"].T
    return Snapshot(cells, blocks, np.array(level))


def relative_log(energy: Floats, level: float) -> Floats:
    """log(energy) - level, within bounds (local)."""
    log = np.log(np.maximum(energy, TINY))
    log -= np.float32(level)
    return np.clip(log, -LARGEST_LOG, LARGEST_LOG, out=log)


def with_exact(snapshot: Snapshot, energy: Array, coarse_energy: Floats) -> Snapshot:
    """The snapshot with log(e / eH) from exact energies (k, n) filled in (local)."""
    ratio = np.empty(energy.shape, np.float32)
    np.maximum(energy, TINY, out=ratio, casting="same_kind")
    ratio /= np.maximum(coarse_energy, TINY)
    np.log(ratio, out=ratio)
    snapshot.cells[:, -1] = np.clip(ratio, -LARGEST_RATIO, LARGEST_RATIO, out=ratio)
    return snapshot
