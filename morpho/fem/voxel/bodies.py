"""Bodies of a box of equal cells: what hangs together once passive void cells are left out."""

from __future__ import annotations

import itertools
import math

from mpi4py import MPI

import numpy as np
from scipy.ndimage import find_objects, label

from morpho.fem.voxel.halo import SharedPlanes
from morpho.interfaces import Array
from morpho.mesh.bodies import Bodies, Labels, gathered, settle, union
from morpho.mesh.voxels import Mask, VoxelMesh


def whole(mesh: VoxelMesh, planes: SharedPlanes) -> Bodies:
    """All cells that exist: a box is one body (collective)."""
    if mesh.filled is not None:
        return find_bodies(mesh, planes, mesh.filled)
    low, high = mesh.corners
    return Bodies(np.array([mesh.n_global]), low[None], high[None], np.zeros(math.prod(mesh.node_shape), np.int64))


def find_bodies(mesh: VoxelMesh, planes: SharedPlanes, included: Mask) -> Bodies:
    """The bodies of the included cells, axes z, y, x; `of_node` is flat over this rank's nodes (collective)."""
    labels, count = _label(mesh, planes, included)
    nz, ny, nx = mesh.node_shape
    sums = np.zeros((nz, ny, 3, nx))
    corners = list(itertools.product(*_ends(mesh)))
    marks = labels + 1.0
    for corner in corners:
        for i, values in enumerate(((marks > 0).astype(float), marks, marks**2)):
            sums[:, :, i][corner] += values
    planes.sum(sums)
    of_node, several = settle(sums[:, :, 0].ravel(), sums[:, :, 1].ravel(), sums[:, :, 2].ravel())
    shared = np.flatnonzero(several)
    touching = []
    if len(shared):
        around = np.full((len(corners), *mesh.node_shape), -1, dtype=np.int64)
        for i, corner in enumerate(corners):
            around[i][corner] = labels
        bodies = around.reshape(len(corners), -1)[:, shared]
        numbers, x = _numbers(mesh, shared), places(mesh, shared)
        touching = [(int(numbers[j]), int(bodies[i, j]), *x[j]) for i, j in zip(*np.nonzero(bodies >= 0), strict=True)]
    else:
        numbers = shared
    cells = np.bincount(labels[labels >= 0], minlength=count)
    return gathered(mesh.comm, mesh.dim, cells, _corners(mesh, labels, count), of_node, (shared, numbers), touching)


def places(mesh: VoxelMesh, nodes: Labels) -> Array:
    """(p, 3) coordinates of this rank's nodes, by their flat number (local)."""
    steps = np.stack(np.unravel_index(nodes, mesh.node_shape)[::-1], axis=1)
    steps[:, : mesh.dim] += mesh.low
    return np.asarray(mesh.origin + mesh.spacing * steps)


def _label(mesh: VoxelMesh, planes: SharedPlanes, included: Mask) -> tuple[Labels, int]:
    """(z, y, x) body of each cell of this rank, -1 for those left out, and the number of bodies (collective)."""
    own, number = label(included)
    first = sum(mesh.comm.allgather(number)[: mesh.comm.rank])
    pairs = [np.zeros((0, 2), dtype=np.int64)]
    for axis, nodal_axis in enumerate((0, 1, 3)):
        above, below = planes.high.get(nodal_axis), planes.low.get(nodal_axis)
        requests = []
        if above is not None:
            top = np.take(own, -1, axis=axis).astype(np.int64)
            requests.append(mesh.comm.Isend(np.ascontiguousarray(np.where(top > 0, top + first, 0)), above, axis))
        if below is not None:
            bottom = np.take(own, 0, axis=axis).astype(np.int64)
            received = np.empty(bottom.shape, dtype=np.int64)
            mesh.comm.Recv(received, below, axis)
            met = (bottom > 0) & (received > 0)
            pairs.append(np.stack([bottom[met] - 1 + first, received[met] - 1], axis=1))
        MPI.Request.Waitall(requests)
    renamed, count = union(mesh.comm, number, np.concatenate(pairs))
    return np.append(renamed, -1)[own.astype(np.int64) - 1], count


def _ends(mesh: VoxelMesh) -> list[tuple[slice, ...]]:
    """Along z, y, x: the nodes at the lower and at the upper ends of the cells."""
    both = (slice(None, -1), slice(1, None))
    return [(slice(None),) if mesh.dim == 2 else both, both, both]


def _numbers(mesh: VoxelMesh, nodes: Labels) -> Labels:
    """Numbers in the whole box of this rank's nodes (local)."""
    steps = np.stack(np.unravel_index(nodes, mesh.node_shape)[::-1], axis=1).astype(np.int64)
    steps[:, : mesh.dim] += mesh.low
    nx, ny = (n + 1 for n in mesh.cells[:2])
    return np.asarray((steps[:, 2] * ny + steps[:, 1]) * nx + steps[:, 0])


def _corners(mesh: VoxelMesh, labels: Labels, count: int) -> tuple[Array, Array]:
    """Corners of the box around each body on this rank; those it has no cell of are inside out (local)."""
    low, high = np.full((count, 3), np.inf), np.full((count, 3), -np.inf)
    for body, found in enumerate(find_objects(labels + 1)):
        if found is not None:
            begin = np.array([part.start for part in found][::-1], dtype=float)
            end = np.array([part.stop for part in found][::-1], dtype=float)
            begin[: mesh.dim] += mesh.low
            end[: mesh.dim] += mesh.low
            if mesh.dim == 2:
                begin[2] = end[2] = 0.0
            low[body], high[body] = mesh.origin + mesh.spacing * begin, mesh.origin + mesh.spacing * end
    return low, high
