"""Cone-weighted averages over neighbouring cells on a box of equal cells: one stencil, applied row by row."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from morpho.design.cone_kernels import Indices, Stencil, Sums, averaged, divided, weighted
from morpho.design.projection import HeavisideProjection, without_repeats
from morpho.interfaces import Array, Pullback
from morpho.mesh.voxels import VoxelMesh
from morpho.mesh.window import Window
from morpho.pages import zeros

ROUNDING = 1e-9  #: relative distance to the radius at which a weight is nothing but rounding
AS_IT_IS = HeavisideProjection(0.0)  #: no projection, to the kernels


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
        self._is_part = mesh.filled is not None
        self._rows = np.asarray(np.ones(mesh.shape[:2], bool) if mesh.filled is None else mesh.filled.any(axis=2))
        self._start = tuple(part.start for part in self._window.inner)
        self._sums = self._of_box(cells, low, reach) if mesh.filled is None else self._of_part()

    def _of_box(self, cells: tuple[int, ...], low: tuple[int, ...], reach: tuple[int, ...]) -> Sums:
        """What the weights of a cell sum up to depends on how far it is from the ends, up to the reach: a small box has
        all of it (local)."""
        x, y, z = (
            _place_in_small_box(a + np.arange(count), n, r)
            for a, count, n, r in zip(low, self.mesh.shape[::-1], cells, reach, strict=True)
        )
        small = tuple(min(n, 2 * r + 1) for n, r in zip(cells, reach, strict=True))[::-1]
        sums = np.empty(small)
        weighted(sums, np.ones(small), (0, 0, 0), self._stencil, np.ones(small[:2], dtype=bool))
        return Sums(np.ascontiguousarray(sums[:, :, x]), z, y)

    def _of_part(self) -> Sums:
        """In a part the weights of the cells that exist count, which is the same at no two places (collective)."""
        there = self.mesh.grid(np.ones(self.mesh.n))
        sums = self._weighted(self._extended(there))
        sums[self._rows] = np.where(there[self._rows] == 0.0, np.inf, sums[self._rows])
        nz, ny, _ = self.mesh.shape
        return Sums(sums, np.arange(nz), np.arange(ny))

    def average(self, values: Array, projection: HeavisideProjection = AS_IT_IS) -> Array:
        """(n,) weighted averages, projected (collective)."""
        source = self._extended(self.mesh.grid(np.ascontiguousarray(values)))
        out = zeros(self.mesh.shape, sparse=True) if self._is_part else np.empty(self.mesh.shape)
        averaged(out, source, self._start, self._stencil, self._rows, self._sums, projection.beta, projection.eta)
        return self.mesh.listed(out)

    def average_transposed(
        self, values: Array, projection: HeavisideProjection = AS_IT_IS, rho: Array | None = None
    ) -> Array:
        """(n,) the exact transpose of `average`, of its derivative where that gave rho (n,) (collective)."""
        d = without_repeats(values)
        given = d.reshape(1, 1, 1) if len(d) == 1 else self.mesh.grid(d)
        source = zeros(self._window.shape, sparse=True) if self._is_part else np.empty(self._window.shape)
        there = source if rho is None else self.mesh.grid(rho)
        divided(source, self._start, given, there, self._rows, self._sums, projection.beta, projection.eta)
        del given, there  # may be all that holds them
        return self.mesh.listed(self._weighted(self._window.complete(source)))

    def _extended(self, values: Array) -> Array:
        """A field with what is around this rank's box (collective)."""
        return self._window.extend(values, self._rows if self._is_part else None)

    def _weighted(self, source: Array) -> Array:
        """Weighted sums of a field with what is around it (z, y, x), on this rank's box (local)."""
        out = zeros(self.mesh.shape, sparse=True) if self._is_part else np.empty(self.mesh.shape)
        weighted(out, source, self._start, self._stencil, self._rows)
        return out


@dataclass(frozen=True)
class ProjectedCone:
    """A cone filter and a projection in one pass."""

    neighbourhood: VoxelNeighbourhood
    projection: HeavisideProjection

    def apply(self, x: Array) -> tuple[Array, Pullback]:
        rho = self.neighbourhood.average(x, self.projection)
        return rho, lambda d: self.neighbourhood.average_transposed(d, self.projection, rho)


def _stencil(radius: float, spacing: Array, reach: tuple[int, ...], flat: bool) -> Stencil:
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
    return Stencil(
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
