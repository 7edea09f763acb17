"""Values of cells from one mesh to another by location, on any number of ranks; no rank holds a whole field."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from morpho.interfaces import Array
from morpho.late import spatial
from morpho.mesh import Mesh, VoxelMesh
from morpho.parallel import global_sum
from morpho.redistribute import Redistribution

PORTION = 50_000  #: cells whose points are looked for at a time
ALIKE = 1e-9  #: of distances, relative to the size of the mesh, that count as equal
INWARD = 0.45  #: of the way from the centre of a cell to its corners, where it looks for values
REACH = 1.5  #: sizes of the cell that was found, beyond which a point lies outside of the mesh
TIES = 8  #: cells that may be equally near


@dataclass(frozen=True)
class Transferred:
    """Values on the cells of a mesh that lie where another one is."""

    values: Array  #: (n,) owned cells; the mean of the others where nothing was found
    found: float  #: share of the volume of the mesh that lies where the other one is


def transfer(old: Mesh | VoxelMesh, values: Array, new: Mesh | VoxelMesh) -> Transferred:
    """The values (n,) of the owned cells of one mesh on another of the same dimension (collective).

    Between grids of equal cells every cell takes the mean over what it covers, which keeps the integral to rounding.
    Else it takes the mean of the nearest cells of points within it. Does not depend on the number of ranks.
    """
    grids = isinstance(old, VoxelMesh) and isinstance(new, VoxelMesh)
    sums, weights = _overlaps(old, values, new) if grids else _nearest(old, values, new)  # type: ignore[arg-type]
    there = weights > 0
    out = np.zeros(new.n)
    out[there] = sums[there] / weights[there]
    covered = global_sum(new.comm, new.volumes[there])
    mean = global_sum(new.comm, (new.volumes * out)[there]) / covered if covered else np.nan
    out[~there] = mean
    return Transferred(out, covered / new.total_volume)


def _overlaps(old: VoxelMesh, values: Array, new: VoxelMesh) -> tuple[Array, Array]:
    """Integrals over the new cells, and how much of each is covered (collective)."""
    ranges, weights = [], []
    for d in range(old.dim):
        first = new.origin[d] + new.spacing[d] * new.low[d]
        edges = first + new.spacing[d] * np.arange(new.shape[2 - d] + 1)
        places = (edges - old.origin[d]) / old.spacing[d]
        places = np.where(np.abs(places - np.rint(places)) < ALIKE * old.cells[d], np.rint(places), places)
        low = int(np.clip(np.floor(places[0]), 0, old.cells[d]))
        high = int(np.clip(np.ceil(places[-1]), low, old.cells[d]))
        ranges.append(np.arange(low, high))
        weights.append(_lengths(places, low, high))
    window = [*ranges, np.zeros(1, np.int64)][:3]
    nx, ny = old.cells[:2]
    want = ((window[2][:, None, None] * ny + window[1][:, None]) * nx + window[0]).ravel()
    first = [*old.low, 0][:3]
    nz, n_y, n_x = old.shape
    z, y, x = (start + np.arange(n) for start, n in zip(first[::-1], (nz, n_y, n_x), strict=True))
    have = ((z[:, None, None] * ny + y[:, None]) * nx + x).ravel()
    both = np.column_stack([old.grid(np.asarray(values, np.float64)).ravel(), old.grid(np.ones(old.n)).ravel()])
    here = Redistribution(old.comm, have, want).apply(both)
    box = tuple(len(part) for part in window[::-1])
    out = [_along_axes(column.reshape(box), weights) for column in here.T]
    total, covered = (new.listed(part.reshape(new.shape)) for part in out)
    return total, np.where(covered > ALIKE, covered, 0.0)


def _lengths(places: Array, low: int, high: int) -> csr_matrix:
    """(new, old) lengths that intervals between places share with the unit intervals low to high."""
    rows, columns, lengths = [], [], []
    for i, (a, b) in enumerate(itertools.pairwise(places)):
        inside = np.arange(max(low, int(np.floor(a))), min(high, int(np.ceil(b))))
        rows.append(np.full(len(inside), i))
        columns.append(inside - low)
        lengths.append(np.minimum(b, inside + 1) - np.maximum(a, inside))
    shape = (len(places) - 1, high - low)
    return csr_matrix((np.concatenate(lengths), (np.concatenate(rows), np.concatenate(columns))), shape)


def _along_axes(values: Array, weights: list[csr_matrix]) -> Array:
    """Apply the weights of x, y(, z) along the last, the middle (and the first) axis."""
    for d, weight in enumerate(weights):
        axis = 2 - d
        moved = np.moveaxis(values, axis, 0)
        applied = weight @ moved.reshape(moved.shape[0], math.prod(moved.shape[1:]))
        values = np.moveaxis(applied.reshape(weight.shape[0], *moved.shape[1:]), 0, axis)
    return np.ascontiguousarray(values)


def _nearest(old: Mesh | VoxelMesh, values: Array, new: Mesh | VoxelMesh) -> tuple[Array, Array]:
    """Sums over the points of the new cells that lie in the old mesh, and how many do (collective)."""
    search = _Search(old, values)
    sums, counts = np.zeros(new.n), np.zeros(new.n)
    portions = max(new.comm.allgather(-(-new.n // PORTION)))
    for points, cells in _points(new, portions):
        found, inside = search(points.reshape(-1, 3))
        shape = points.shape[:2]
        sums[cells] = np.where(inside, found, 0.0).reshape(shape).sum(axis=1)
        counts[cells] = inside.reshape(shape).sum(axis=1)
    return sums, counts


def _points(mesh: Mesh | VoxelMesh, portions: int) -> Iterator[tuple[Array, slice]]:
    """Points (c, p, 3) within one portion of the owned cells after the other, and which cells (local)."""
    if isinstance(mesh, VoxelMesh):
        centres = _centres(mesh)
        signs = np.array([[*corner, 0.0][:3] for corner in itertools.product((-0.5, 0.5), repeat=mesh.dim)])
        offsets = INWARD * signs * mesh.spacing
    for i in range(portions):
        cells = slice(min(mesh.n, i * PORTION), min(mesh.n, (i + 1) * PORTION))
        if isinstance(mesh, VoxelMesh):
            found = centres[cells][:, None] + offsets
        else:
            corners = mesh.domain.geometry.x[mesh.domain.geometry.dofmap[: mesh.n][cells]]
            found = (1 - INWARD) * mesh.centers[cells][:, None] + INWARD * corners
        yield found, cells


def _centres(mesh: Mesh | VoxelMesh) -> Array:
    """(n, 3) of the owned cells."""
    return np.concatenate([np.zeros((0, 3)), *(np.array(part) for part in mesh.places(cells=True))])


class _Search:
    """The cell whose centre is nearest to a point, among those of all ranks."""

    def __init__(self, mesh: Mesh | VoxelMesh, values: Array) -> None:
        self.comm, self.dim = mesh.comm, mesh.dim
        centres = _centres(mesh)
        self._tree = spatial.cKDTree(centres) if len(centres) else None
        self._data = np.column_stack([mesh.key, values, mesh.volumes])
        low, high = np.min(centres, axis=0, initial=np.inf), np.max(centres, axis=0, initial=-np.inf)
        self._low, self._high = (np.array(self.comm.allgather(end)) for end in (low, high))
        self._alike = ALIKE * float(np.linalg.norm(np.subtract(*mesh.corners)))

    def __call__(self, points: Array) -> tuple[Array, NDArray[np.bool_]]:
        """(p,) values at points (p, 3), and which of them lie in the mesh (collective)."""
        beside = np.maximum(self._low[:, None] - points, points - self._high[:, None]).max(axis=2, initial=0.0)
        nearest = np.argmin(beside, axis=0)
        best = np.full((len(points), 4), np.inf)  # distance, key, value, volume
        ranks = np.arange(self.comm.size)[:, None]
        self._ask(points, ranks == nearest, best)
        self._ask(points, (ranks != nearest) & (beside <= best[:, 0] + self._alike), best)
        size = best[:, 3] ** (1 / self.dim)
        return best[:, 2], best[:, 0] <= REACH * size

    def _ask(self, points: Array, whom: NDArray[np.bool_], best: Array) -> None:
        """Take in what other ranks know of points, `whom` (ranks, p) says which (collective)."""
        asked = self.comm.alltoall([points[mask] for mask in whom])
        answers = self.comm.alltoall([self._answer(part) for part in asked])
        for mask, answer in zip(whom, answers, strict=True):
            before = best[mask]
            apart = answer[:, 0] - before[:, 0]
            with np.errstate(invalid="ignore"):  # of infinite distances
                better = (apart < -self._alike) | (~(apart > self._alike) & (answer[:, 1] < before[:, 1]))
            before[better] = answer[better]
            best[mask] = before

    def _answer(self, points: Array) -> Array:
        """(p, 4) distance, key, value and volume of the nearest own cell, of equally near ones the lowest key."""
        out = np.full((len(points), 4), np.inf)
        if self._tree is None or not len(points):
            return out
        distance, at = self._tree.query(points, k=min(TIES, self._tree.n))
        distance, at = distance.reshape(len(points), -1), at.reshape(len(points), -1)
        key = np.where(distance <= distance[:, :1] + self._alike, self._data[at, 0], np.inf)
        chosen = at[np.arange(len(at)), np.argmin(key, axis=1)]
        out[:, 0], out[:, 1:] = distance[:, 0], self._data[chosen]
        return out
