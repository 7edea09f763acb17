"""A box of equal cells that is never stored: everything about it follows from a few numbers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from mpi4py import MPI

import numpy as np
from numpy.typing import NDArray

from morpho.errors import InputError
from morpho.interfaces import Array
from morpho.mesh.mesh import NOTHING, Indices, entity_name
from morpho.mesh.near import distance_to, neighbourhood
from morpho.mesh.partition import Partition, split, turned
from morpho.pages import zeros
from morpho.problem import spec
from morpho.problem.regions import Region

Mask = NDArray[np.bool_]

PORTION = 1 << 15  #: cells that are worked on at a time where all of them would take memory


@dataclass(frozen=True)
class VoxelMesh:
    """Equal rectangles or bricks, one box of them per rank.

    Cells are numbered with x fastest, then y, then z, on the whole (`key`) and on a rank. Nodes likewise; those on
    the face between two ranks are on both, and the rank on the lower side owns them. Fields on nodes and cells are
    seen as arrays with the axes z, y, x; in 2-D there is a single layer of nodes and of cells in z.

    Of a part in the box only the cells inside exist, and only these have numbers and values (n,). What loops over the
    box sees fields as `grid` makes them, zero elsewhere, and `listed` brings them back.
    """

    comm: MPI.Comm
    cells: tuple[int, ...]  #: of the whole box, along x, y(, z)
    origin: Array  #: (3,) lowest corner
    spacing: Array  #: (3,) edges of a cell, 1 for z in 2-D
    partition: Partition
    around: Mask | None = None  #: which cells exist, with a layer of other ranks' cells around; None for all
    counts: tuple[int, int] | None = None  #: cells and nodes that exist, of all ranks
    first_keys: NDArray[np.int64] | None = None  #: (z, y) number of the first cell that exists in each row of this rank
    surfaces: dict[str, Array] = field(default_factory=dict)  #: (t, 3, 3) triangles of the named faces of a part
    surface: Array | None = None  #: (t, 3, 3) all triangles of the part, outward
    notes: tuple[str, ...] = ()  #: what the user should know of how the part was read
    turn: int = 0  #: steps by which `laid` turns the axes

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
        """Owned cells that exist."""
        return math.prod(self.shape) if self.slots is None else len(self.slots)

    @property
    def n_global(self) -> int:
        return self.counts[0] if self.counts else math.prod(self.cells)

    @property
    def n_nodes_global(self) -> int:
        return self.counts[1] if self.counts else math.prod(n + 1 for n in self.cells)

    @property
    def tags(self) -> dict[str, dict[int, Indices]]:
        return {name: {2: NOTHING} for name in self.surfaces}

    @property
    def filled(self) -> Mask | None:
        """Which owned cells exist, axes z, y, x; None for all."""
        return None if self.around is None else self.around[1:-1, 1:-1, 1:-1]

    @cached_property
    def slots(self) -> NDArray[np.integer] | None:
        """(n,) where in the flat box of this rank each cell that exists lies; None for all."""
        return None if self.filled is None else np.flatnonzero(self.filled).astype(_number(self.shape))

    @cached_property
    def laid(self) -> VoxelMesh:
        """The same cells in a box whose axes are turned, so that most rows of a part are all inside or all outside.

        Fields are worked on there: loops over long rows are fast, and rows that are all outside take no memory. `grid`
        and `listed` there take the values (n,) of here. Nothing is asked there about regions and places.
        """
        return _Turned.of(self) if self.turn else self

    def grid(self, values: NDArray[Any]) -> NDArray[Any]:
        """Values (n,) with the axes z, y, x, zero where no cell exists: a view of them in a full box (local)."""
        if self.slots is None:
            return values.reshape(self.shape)
        out = zeros(self.shape, values.dtype, sparse=True)
        self.put(out, values)
        return out

    def listed(self, grid: NDArray[Any]) -> NDArray[Any]:
        """(n,) values of the cells that exist, from the axes z, y, x: a view of them in a full box (local)."""
        flat = grid.reshape(-1)
        if self.slots is None:
            return flat
        out = np.empty(self.n, grid.dtype)
        for part in portions(self.n):
            out[part] = flat[self.slots[part]]
        return out

    def put(self, grid: NDArray[Any], values: NDArray[Any]) -> None:
        """Make an array with the axes z, y, x hold values (n,) (local)."""
        if self.slots is None:
            grid.reshape(-1)[:] = values
        else:
            self.fill(grid, values, lambda cells: cells)

    def fill(self, grid: NDArray[Any], values: NDArray[Any], of: Callable[[NDArray[Any]], NDArray[Any]]) -> None:
        """Make an array with the axes z, y, x hold a function of values (n,), some at a time (local)."""
        flat = grid.reshape(-1)
        for part in portions(self.n):
            flat[part if self.slots is None else self.slots[part]] = of(values[part])

    @cached_property
    def filled_nodes(self) -> Mask | None:
        """Which of this rank's nodes have a cell that exists, axes z, y, x; None for all."""
        return None if self.around is None else at_corners(self.around)

    @property
    def key(self) -> NDArray[np.int64]:
        """(n,) number of each owned cell among all that exist; made anew at each use."""
        if self.filled is not None:
            assert self.first_keys is not None
            counts = np.count_nonzero(self.filled, axis=2).ravel()
            before = np.cumsum(counts) - counts
            return np.asarray(np.repeat(self.first_keys.ravel() - before, counts) + np.arange(self.n))
        return self.places_in_box

    @property
    def places_in_box(self) -> NDArray[np.int64]:
        """(n,) number of each owned cell among those of the whole box, made anew at each use."""
        nx, ny = self.cells[:2]
        out = np.empty(self.n, np.int64)
        for part in portions(self.n):
            slots = np.arange(part.start, part.stop) if self.slots is None else self.slots[part]
            z, y, x = (low + at for low, at in zip(self._low_zyx, np.unravel_index(slots, self.shape), strict=True))
            out[part] = (z * ny + y) * nx + x
        return out

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
        return np.flatnonzero(self.listed(self._mask(region, 0.5, self.shape))).astype(np.int32)

    def nodes_in(self, region: Region) -> Mask:
        """Which of this rank's nodes lie in a region; axes z, y, x (local).

        `points` are the nodes nearest to them, at most two cells away; a tie goes to the smaller coordinate. A face of
        a part holds the nodes within half the diagonal of a cell, which is how far the steps of its voxels may be.
        """
        inside = self._mask(region, 0.0, self.node_shape)
        return inside if self.filled_nodes is None else inside & self.filled_nodes

    def _mask(self, region: Region, offset: float, shape: tuple[int, int, int]) -> Mask:
        if region.parts:
            masks = [self._mask(part, offset, shape) for part in region.parts]
            join = np.logical_and if region.all_of else np.logical_or
            return np.asarray(join.reduce(masks))
        inside = np.zeros(shape, dtype=bool)
        if region.points is not None and offset == 0.0:
            self._mark_nearest(region.points, inside)
        elif region.near is not None:
            distance, most = neighbourhood(region.near, self._face, self.tolerance), region.near.distance
            for k, layer in enumerate(self._layers(offset, shape)):
                inside[k] = (distance(layer) <= most + self.tolerance).reshape(shape[1:])
        elif region.tag in self.surfaces and offset == 0.0:
            most = self.step
            distance = distance_to(self.surfaces[region.tag], most)
            for k, layer in enumerate(self._layers(offset, shape)):
                inside[k] = (distance(layer) <= most).reshape(shape[1:])
        elif region.shape is not None:
            for k, layer in enumerate(self._layers(offset, shape)):
                inside[k] = region.shape.contains(layer, self.tolerance).reshape(shape[1:])
        return inside

    @property
    def step(self) -> float:
        """How far a node of the boundary may be from the face of the part that it stands for."""
        return (0.5 + 1e-6) * float(np.linalg.norm(self.spacing[: self.dim]))

    def _face(self, name: str) -> Array:
        if name not in self.surfaces:
            known = ", ".join(sorted(self.surfaces)) or "(none)"
            raise InputError(f"near: there is no face {name!r}; those of the part are {known}")
        return self.surfaces[name]

    def places(self, cells: bool) -> Iterator[Array]:
        """Coordinates (p, 3) of this rank's nodes, or centres of its cells, that exist, in portions; each is only good
        until the next (local)."""
        there = self.filled if cells else self.filled_nodes
        portions = self._layers(0.5, self.shape) if cells else self._layers(0.0, self.node_shape)
        return (x if there is None else x[there[k].ravel()] for k, x in enumerate(portions))

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


@dataclass(frozen=True)
class _Turned(VoxelMesh):
    """See `VoxelMesh.laid`."""

    own_slots: NDArray[np.integer] | None = None

    @classmethod
    def of(cls, mesh: VoxelMesh) -> _Turned:
        steps, slots, around = mesh.turn, mesh.slots, mesh.around
        assert slots is not None and around is not None
        axes = turned((2, 1, 0), steps)[::-1]
        shape = tuple(mesh.shape[axis] for axis in axes)
        found = np.empty(len(slots), _number(shape))
        for part in portions(len(slots)):
            place = np.unravel_index(slots[part], mesh.shape)
            found[part] = np.ravel_multi_index([place[axis] for axis in axes], shape)
        return cls(
            mesh.comm,
            turned(mesh.cells, steps),
            np.roll(mesh.origin, -steps),
            np.roll(mesh.spacing, -steps),
            mesh.partition.turned(steps),
            around.transpose(axes),
            mesh.counts,
            own_slots=found,
        )

    @property
    def slots(self) -> NDArray[np.integer] | None:
        return self.own_slots


def _number(shape: tuple[int, ...]) -> type[np.integer]:
    """The smaller type that numbers all entries of an array."""
    return np.int32 if math.prod(shape) < 2**31 else np.int64


def portions(count: int, width: int = 1) -> Iterator[slice]:
    """Rows of a width in portions that fit into a cache (local)."""
    step = max(1, PORTION // width)
    return (slice(start, min(start + step, count)) for start in range(0, count, step))


def at_corners(around: Mask) -> Mask:
    """Whether any of the cells around each corner is marked, from cells with a layer around them (local)."""
    low, high = slice(None, -1), slice(1, None)
    found = np.zeros(tuple(n - 1 for n in around.shape), dtype=bool)
    for corner in itertools.product((low, high), repeat=3):
        found |= around[corner]
    return found


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
