"""Cone-weighted averages over neighbouring cells on a box of equal cells: one stencil, applied row by row."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from morpho.interfaces import Array
from morpho.mesh.voxels import Mask, VoxelMesh
from morpho.mesh.window import Window
from morpho.pages import zeros

Indices = NDArray[np.int64]

ROUNDING = 1e-9  #: relative distance to the radius at which a weight is nothing but rounding
BLOCK = 16  #: rows done in all planes before the next ones, so that their neighbours are still in the cache


class VoxelNeighbourhood:
    """Weights w_ij = max(0, R - |c_i - c_j|) v_j between cells closer than R; v_j is left out, all are equal.

    Args:
        radius: physical length R.
        flat: whether they are the same in the whole ball instead.
    """

    def __init__(self, mesh: VoxelMesh, radius: float, flat: bool = False) -> None:
        mesh = mesh.laid
        self.mesh = mesh
        cells, low = ((*part, fill)[:3] for part, fill in ((mesh.cells, 1), (mesh.low, 0)))
        reach = tuple(
            min(n, math.ceil(radius / h * (1 - ROUNDING))) - 1 for n, h in zip(cells, mesh.spacing, strict=True)
        )
        self._stencil = _stencil(radius, mesh.spacing, reach, flat)
        self._window = Window(mesh.comm, mesh.partition, reach[: mesh.dim])
        # The sum of a cell's weights depends on how far it is from the ends, up to the reach: a small box has them all.
        self._at = [
            _place_in_small_box(a + np.arange(count), n, r)
            for a, count, n, r in zip(low, mesh.shape[::-1], cells, reach, strict=True)
        ]
        small = tuple(min(n, 2 * r + 1) for n, r in zip(cells, reach, strict=True))[::-1]
        sums = np.empty(small)
        _convolve(np.ones(small), (0, 0, 0), *self._stencil, np.ones(small[:2], dtype=bool), sums)
        self._sums = np.ascontiguousarray(sums[:, :, self._at[0]])
        #: (z, y) rows of a part with cells, None in a full box
        self._rows = None if mesh.filled is None else np.asarray(mesh.filled.any(axis=2))
        # In a part the weights of the cells that exist are counted, which is the same at no two places.
        self._inverse: Array | None = None
        if mesh.filled is not None:
            self._inverse = 1 / self._weighted(np.ones(mesh.n))

    def average(self, values: Array) -> Array:
        """(n,) weighted averages (collective)."""
        return self._divided(self._weighted(values), in_place=True)

    def average_transposed(self, values: Array) -> Array:
        """(n,) the exact transpose of `average` (collective)."""
        return self._weighted(self._divided(values))

    def _weighted(self, values: Array) -> Array:
        """(n,) weighted sums."""
        mesh = self.mesh
        source = self._window.extend(mesh.grid(np.ascontiguousarray(values)), self._rows)
        del values  # may be all that holds it
        out = zeros(mesh.shape, sparse=True) if self._rows is not None else np.empty(mesh.shape)
        start = tuple(part.start for part in self._window.inner)
        wanted = np.ones(mesh.shape[:2], dtype=bool) if self._rows is None else self._rows
        _convolve(source, start, *self._stencil, wanted, out)
        return mesh.listed(out)

    def _divided(self, values: Array, in_place: bool = False) -> Array:
        """(n,) values by the sums of the weights."""
        out = values if in_place else np.empty(self.mesh.n)
        if self._inverse is not None:
            return np.multiply(values, self._inverse, out=out)
        _, y, z = self._at
        fields, scaled = self.mesh.grid(values), self.mesh.grid(out)
        for k, place in enumerate(z):
            np.divide(fields[k], self._sums[place, y], out=scaled[k])
        return out


class _Stencil(NamedTuple):
    """Weights around a cell; rows of cells along x that are equally far from the middle one are a class."""

    rows: Indices  #: (m, 2) steps along z, y from the middle row, sorted by class
    first: Indices  #: (k + 1,) where each class starts
    weights: Array  #: (k, reach + 1) by class and steps along x, the same to either side
    lengths: Indices  #: (k,) how many of them are not zero


def _stencil(radius: float, spacing: Array, reach: tuple[int, ...], flat: bool) -> _Stencil:
    steps_x, steps_y, steps_z = (np.arange(-r, r + 1) for r in reach)
    rows = np.stack(np.meshgrid(steps_z, steps_y, indexing="ij"), axis=-1).reshape(-1, 2)
    distance = np.hypot(*(rows * spacing[:0:-1]).T)
    inside = distance < radius * (1 - ROUNDING)
    rows, distance = rows[inside], distance[inside]
    _, member, kind = np.unique(np.round(distance / radius, 13), return_index=True, return_inverse=True)
    weights = radius - np.hypot(distance[member, None], steps_x[reach[0] :] * spacing[0])
    weights[weights <= ROUNDING * radius] = 0.0
    if flat:  # rows of equal length are one class
        lengths = np.count_nonzero(weights, axis=1)[kind]
        _, member, kind = np.unique(lengths, return_index=True, return_inverse=True)
        weights = np.where(np.arange(weights.shape[1]) < lengths[member, None], 1.0, 0.0)
    return _Stencil(
        rows=rows[np.argsort(kind, kind="stable")],
        first=np.concatenate([[0], np.cumsum(np.bincount(kind))]),
        weights=weights,
        lengths=np.count_nonzero(weights, axis=1),
    )


def _place_in_small_box(at: Indices, cells: int, reach: int) -> Indices:
    """Cells of a small box, of at most 2 reach + 1 cells, that are as far from both its ends as those at `at`."""
    if cells <= 2 * reach + 1:
        return at
    return np.clip(at, 0, reach) + np.clip(at - (cells - 1 - reach), 0, reach)


@njit(cache=True, fastmath={"reassoc", "contract", "arcp", "nsz"})
def _convolve(
    source: Array,
    start: tuple[int, int, int],
    rows: Indices,
    first: Indices,
    weights: Array,
    lengths: Indices,
    wanted: Mask,
    out: Array,
) -> None:
    """Weighted sums around the cells of a box that begins at `start` in the source; beyond the source is nothing.

    Only in the rows (z, y) that are wanted.
    """
    nz, ny, nx = out.shape
    sz, sy, sx = source.shape
    z0, y0, x0 = start
    reach = weights.shape[1] - 1
    padded = np.zeros(nx + 2 * reach)
    total = padded[reach - x0 : reach - x0 + sx]
    for block in range(0, ny, BLOCK):
        for z in range(nz):
            for y in range(block, min(block + BLOCK, ny)):
                if not wanted[z, y]:
                    continue
                result = out[z, y]
                result[:] = 0.0
                for kind in range(len(lengths)):
                    total[:] = 0.0
                    for i in range(first[kind], first[kind + 1]):
                        at_z, at_y = z0 + z + rows[i, 0], y0 + y + rows[i, 1]
                        if 0 <= at_z < sz and 0 <= at_y < sy:
                            row = source[at_z, at_y]
                            for x in range(sx):
                                total[x] += row[x]
                    middle, weight = padded[reach : reach + nx], weights[kind, 0]
                    for x in range(nx):
                        result[x] += weight * middle[x]
                    for step in range(1, lengths[kind]):
                        left, right = padded[reach - step : reach - step + nx], padded[reach + step : reach + step + nx]
                        weight = weights[kind, step]
                        for x in range(nx):
                            result[x] += weight * (left[x] + right[x])
