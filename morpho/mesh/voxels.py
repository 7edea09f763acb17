"""A box of equal cells that is never stored: everything about it follows from a few numbers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from mpi4py import MPI

import numpy as np
from numpy.typing import NDArray

from morpho.interfaces import Array
from morpho.mesh.mesh import Indices, entity_name
from morpho.mesh.partition import Partition, split
from morpho.problem import spec
from morpho.problem.regions import Region

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class VoxelMesh:
    """Equal rectangles or bricks, one box of them per rank.

    Cells are numbered with x fastest, then y, then z, on the whole (`key`) and on a rank. Nodes likewise; those on
    the face between two ranks are on both, and the rank on the lower side owns them. Fields on nodes and cells are
    seen as arrays with the axes z, y, x; in 2-D there is a single layer of nodes and of cells in z.
    """

    comm: MPI.Comm
    cells: tuple[int, ...]  #: of the whole box, along x, y(, z)
    origin: Array  #: (3,) lowest corner
    spacing: Array  #: (3,) edges of a cell, 1 for z in 2-D
    partition: Partition
    tags: dict[str, dict[int, Indices]] = field(default_factory=dict)  #: none
    notes: tuple[str, ...] = ()  #: none

    @property
    def dim(self) -> int:
        return len(self.cells)

    @property
    def cell_name(self) -> str:
        return "quadrilateral" if self.dim == 2 else "hexahedron"

    @cached_property
    def low(self) -> tuple[int, ...]:
        """First cell of this rank, along x, y(, z)."""
        return self.partition.box(self.comm.rank)[0]

    @cached_property
    def shape(self) -> tuple[int, int, int]:
        """Cells of this rank along z, y, x."""
        low, high = self.partition.box(self.comm.rank)
        nx, ny, nz = (*(b - a for a, b in zip(low, high, strict=True)), 1)[:3]
        return nz, ny, nx

    @property
    def node_shape(self) -> tuple[int, int, int]:
        """Nodes of this rank along z, y, x."""
        nz, ny, nx = self.shape
        return (nz + 1 if self.dim == 3 else 1), ny + 1, nx + 1

    @property
    def n(self) -> int:
        """Owned cells."""
        return math.prod(self.shape)

    @property
    def n_global(self) -> int:
        return math.prod(self.cells)

    @property
    def n_nodes_global(self) -> int:
        return math.prod(n + 1 for n in self.cells)

    @property
    def key(self) -> NDArray[np.int64]:
        """(n,) number of each owned cell in the whole box; made anew at each use."""
        nx, ny = self.cells[:2]
        z, y, x = (low + np.arange(n) for low, n in zip(self._low_zyx, self.shape, strict=True))
        return ((z[:, None, None] * ny + y[:, None]) * nx + x).ravel()

    @property
    def corners(self) -> tuple[Array, Array]:
        """Lowest and highest corner of the whole box, (3,) each."""
        extent = np.zeros(3)
        extent[: self.dim] = self.spacing[: self.dim] * self.cells
        return self.origin, self.origin + extent

    @property
    def tolerance(self) -> float:
        """How far from a plane a node may lie and still be on it."""
        low, high = self.corners
        return 1e-6 * float(np.linalg.norm(high - low))

    @property
    def cell_volume(self) -> float:
        """Area or volume of a cell."""
        return float(np.prod(self.spacing[: self.dim]))

    @property
    def cell_size(self) -> float:
        """Edge of a square or cube with the cell measure."""
        return float(self.cell_volume ** (1 / self.dim))

    @property
    def total_volume(self) -> float:
        return self.cell_volume * self.n_global

    @property
    def volumes(self) -> Array:
        """(n,) areas or volumes of the owned cells; one number, repeated without memory."""
        return np.broadcast_to(np.float64(self.cell_volume), self.n)

    def cells_in(self, region: Region) -> Indices:
        """Owned cells whose centre lies in a region, sorted (local)."""
        return np.flatnonzero(self._mask(region, 0.5, self.shape)).astype(np.int32)

    def nodes_in(self, region: Region) -> Mask:
        """Which of this rank's nodes lie in a region; axes z, y, x (local).

        `points` are the nodes nearest to them, at most two cells away; a tie goes to the smaller coordinate.
        """
        return self._mask(region, 0.0, self.node_shape)

    def _mask(self, region: Region, offset: float, shape: tuple[int, int, int]) -> Mask:
        if region.parts:
            masks = [self._mask(part, offset, shape) for part in region.parts]
            join = np.logical_and if region.all_of else np.logical_or
            return np.asarray(join.reduce(masks))
        inside = np.zeros(shape, dtype=bool)
        if region.points is not None and offset == 0.0:
            self._mark_nearest(region.points, inside)
        elif region.near is not None:
            for k, layer in enumerate(self._layers(offset, shape)):
                inside[k] = (region.distance(layer) <= self.tolerance).reshape(shape[1:])
        elif region.shape is not None:
            for k, layer in enumerate(self._layers(offset, shape)):
                inside[k] = region.shape.contains(layer, self.tolerance).reshape(shape[1:])
        return inside

    def node_sets(self) -> Iterator[Array]:
        """Coordinates (nodes, 3) of this rank's nodes, in portions; each is only good until the next (local)."""
        return self._layers(0.0, self.node_shape)

    def center_sets(self) -> Iterator[Array]:
        """Centres (cells, 3) of the owned cells, in portions; each is only good until the next (local)."""
        return self._layers(0.5, self.shape)

    def entity_name(self, dim: int) -> str:
        """What entities of a dimension are called, in the plural (local)."""
        return entity_name(dim, self.dim)

    def _layers(self, offset: float, shape: tuple[int, int, int]) -> Iterator[Array]:
        """Coordinates of the nodes or centres of one height after the other."""
        z, y, x = (self._positions(axis, offset, count) for axis, count in enumerate(shape))
        layer = np.zeros((shape[1] * shape[2], 3))
        layer[:, 1], layer[:, 0] = np.repeat(y, shape[2]), np.tile(x, shape[1])
        for height in z:
            layer[:, 2] = height
            yield layer

    def _positions(self, axis: int, offset: float, count: int) -> Array:
        """Coordinates along an axis (0 is z) of this rank's nodes (offset 0) or cell centres (0.5)."""
        d = 2 - axis
        if d >= self.dim:
            return np.full(count, self.origin[d])
        return np.asarray(self.origin[d] + self.spacing[d] * (self.low[d] + offset + np.arange(count)))

    def _mark_nearest(self, points: tuple[tuple[float, ...], ...], inside: Mask) -> None:
        for point in points:
            origin, spacing = self.origin[: self.dim], self.spacing[: self.dim]
            around = np.floor((point - origin) / spacing)[:, None] + np.arange(-1, 3)
            near = [np.unique(np.clip(a, 0, n)) for a, n in zip(around, self.cells, strict=True)]
            nodes = np.array(list(itertools.product(*near)))  # by x, then y, then z: of equal ones the first
            distance = np.round(np.linalg.norm(origin + spacing * nodes - point, axis=1) / self.tolerance)
            best = np.argmin(distance)
            at = [*(nodes[best].astype(int) - self.low), 0][:3][::-1]
            here = all(0 <= i < n for i, n in zip(at, inside.shape, strict=True))
            if here and distance[best] * self.tolerance <= 2 * self.cell_size:
                inside[tuple(at)] = True

    @property
    def _low_zyx(self) -> tuple[int, int, int]:
        x, y, z = (*self.low, 0)[:3]
        return z, y, x


def voxel_mesh(box: spec.BoxMesh, refine: int, comm: MPI.Comm, block: int = 1) -> VoxelMesh:
    """The box of a problem file, every cell cut in half `refine` times along each direction (local).

    Args:
        block: no block of so many cells along an edge, a power of two, is cut between ranks.

    Raises:
        InputError: there are more ranks than the box can be cut into.
    """
    cells = tuple(n * 2**refine for n in box.cells)
    dim = len(cells)
    origin, spacing = np.zeros(3), np.ones(3)
    origin[:dim] = box.origin or 0.0
    spacing[:dim] = np.array(box.size) / cells
    return VoxelMesh(comm, cells, origin, spacing, split(cells, comm.size, block.bit_length() - 1))
