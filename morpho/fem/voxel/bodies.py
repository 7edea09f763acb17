"""Bodies of a box of equal cells: what hangs together once passive void cells are left out."""

from __future__ import annotations

import itertools
from typing import Any

from mpi4py import MPI

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects, label

from morpho.fem.voxel.halo import AXES, SharedPlanes
from morpho.interfaces import Array
from morpho.mesh.bodies import Bodies, Labels, gathered, union
from morpho.mesh.voxels import Mask, VoxelMesh
from morpho.mesh.window import Window

NOBODY = np.zeros(0, np.int64)


def whole(mesh: VoxelMesh, nodes: Labels) -> Bodies:
    """All cells that exist: a box is one body (collective)."""
    if mesh.filled is not None:
        return find_bodies(mesh, mesh.filled, nodes)
    low, high = mesh.corners
    return Bodies(np.array([mesh.n_global]), low[None], high[None], np.zeros(len(nodes), np.int64))


def find_bodies(mesh: VoxelMesh, included: Mask, nodes: Labels = NOBODY) -> Bodies:
    """The bodies of the included cells, axes z, y, x; `of_node` is of these nodes, by flat number (collective)."""
    labels, count = _label(mesh, included)
    window = Window(mesh.comm, mesh.partition, (1, 1, 1)[: mesh.dim])
    wide, begin = window.extend(labels), np.array([part.start for part in window.inner])
    at = _around(mesh, wide, begin, nodes)
    of_node = np.where(at.any(axis=0), np.where(at > 0, at, count + 1).min(axis=0, initial=count + 1), 0) - 1
    shared = _several(mesh, wide, begin) if count > 1 else NOBODY
    bodies, numbers, x = _around(mesh, wide, begin, shared) - 1, _numbers(mesh, shared), places(mesh, shared)
    touching = [(int(numbers[j]), int(bodies[i, j]), *x[j]) for i, j in zip(*np.nonzero(bodies >= 0), strict=True)]
    cells = sum((np.bincount(layer.ravel(), minlength=count + 1) for layer in labels), start=np.zeros(count + 1, int))
    corners = _corners(mesh, labels, count)
    return gathered(mesh.comm, mesh.dim, cells[1:], corners, of_node, (NOBODY, NOBODY), touching)


def _around(mesh: VoxelMesh, wide: Labels, begin: Labels, nodes: Labels) -> Labels:
    """(corners, p) body of the cells around nodes, numbered from 1, 0 for none.

    Args:
        wide: (z, y, x) bodies of this rank's cells and of those around.
        begin: (3,) where this rank's cells begin there.
    """
    at = np.array(np.unravel_index(nodes, mesh.node_shape))
    found = []
    for step in itertools.product((0,) if mesh.dim == 2 else (-1, 0), (-1, 0), (-1, 0)):
        cell = at + (begin + step)[:, None]
        there = ((cell >= 0) & (cell < np.array(wide.shape)[:, None])).all(axis=0)
        found.append(np.where(there, wide[tuple(np.where(there, cell, 0))], 0).astype(np.int64))
    return np.array(found)


def _several(mesh: VoxelMesh, wide: Labels, begin: Labels) -> Labels:
    """The nodes with cells of several bodies around, by their flat number, a layer at a time (local)."""
    nz, ny, nx = mesh.node_shape
    found: list[NDArray[Any]] = [NOBODY]
    above = wide.max() + 1
    for z in range(nz):
        low, high = np.full((ny, nx), above, wide.dtype), np.zeros((ny, nx), wide.dtype)
        for layer in range(max(0, z + begin[0] - mesh.dim + 2), min(len(wide), z + begin[0] + 1)):
            padded = np.zeros((ny + 1, nx + 1), wide.dtype)
            y, x = 1 - begin[1], 1 - begin[2]
            padded[y : y + wide.shape[1], x : x + wide.shape[2]] = wide[layer]
            for dy, dx in itertools.product((0, 1), (0, 1)):
                cells = padded[dy : dy + ny, dx : dx + nx]
                np.minimum(low, cells, out=low, where=cells > 0)
                np.maximum(high, cells, out=high)
        found.append(np.flatnonzero(low < high) + z * ny * nx)
    return np.concatenate(found)


def places(mesh: VoxelMesh, nodes: Labels) -> Array:
    """(p, 3) coordinates of this rank's nodes, by their flat number (local)."""
    steps = np.stack(np.unravel_index(nodes, mesh.node_shape)[::-1], axis=1)
    steps[:, : mesh.dim] += mesh.low
    return np.asarray(mesh.origin + mesh.spacing * steps)


def _label(mesh: VoxelMesh, included: Mask) -> tuple[Labels, int]:
    """(z, y, x) body of each cell of this rank, from 1, 0 for those left out, and the number of bodies (collective)."""
    own, number = label(included)
    planes, first = SharedPlanes(mesh.comm, mesh.partition), sum(mesh.comm.allgather(number)[: mesh.comm.rank])
    pairs = [np.zeros((0, 2), dtype=np.int64)]
    for axis, nodal_axis in enumerate(AXES):
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
    names = np.append(0, renamed + 1).astype(own.dtype)
    for layer in own:
        layer[:] = names[layer]
    return own, count


def _numbers(mesh: VoxelMesh, nodes: Labels) -> Labels:
    """Numbers in the whole box of this rank's nodes (local)."""
    steps = np.stack(np.unravel_index(nodes, mesh.node_shape)[::-1], axis=1).astype(np.int64)
    steps[:, : mesh.dim] += mesh.low
    nx, ny = (n + 1 for n in mesh.cells[:2])
    return np.asarray((steps[:, 2] * ny + steps[:, 1]) * nx + steps[:, 0])


def _corners(mesh: VoxelMesh, labels: Labels, count: int) -> tuple[Array, Array]:
    """Corners of the box around each body on this rank; those it has no cell of are inside out (local)."""
    low, high = np.full((count, 3), np.inf), np.full((count, 3), -np.inf)
    for body, found in enumerate(find_objects(labels)):
        if found is not None:
            begin = np.array([part.start for part in found][::-1], dtype=float)
            end = np.array([part.stop for part in found][::-1], dtype=float)
            begin[: mesh.dim] += mesh.low
            end[: mesh.dim] += mesh.low
            if mesh.dim == 2:
                begin[2] = end[2] = 0.0
            low[body], high[body] = mesh.origin + mesh.spacing * begin, mesh.origin + mesh.spacing * end
    return low, high
