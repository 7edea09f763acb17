"""Means over the images of each cell, on any mesh that is mapped onto itself: centres are matched with centres."""

from __future__ import annotations

from collections.abc import Callable

from mpi4py import MPI

import numpy as np
from numpy.typing import NDArray

from morpho.interfaces import Array
from morpho.late import spatial
from morpho.mesh import Mesh
from morpho.redistribute import Redistribution

ALIKE = 1e-3  #: cell sizes that the centre of a cell may be away from that of its image


class Matched:
    """The mean over the powers g, g^2, ..., of a map whose `times`-th power is the identity, given by the keys of the
    images (collective)."""

    def __init__(self, mesh: Mesh, images: NDArray[np.int64], times: int) -> None:
        self._redistribution, self.times = Redistribution(mesh.comm, mesh.key, images), times

    def of(self, field: Array) -> Array:
        """(n,) the mean (collective)."""
        image = field
        mean = field.copy()
        for _ in range(self.times - 1):
            image = self._redistribution.apply(image)
            mean += image
        mean /= self.times
        return mean


def images_of(mesh: Mesh, mapped: Callable[[Array], Array]) -> NDArray[np.int64]:
    """(n,) key of the cell that has its centre where that of each owned cell is mapped to, -1 for none (collective).

    Args:
        mapped: (p, 3) of points (p, 3).
    """
    comm, centers, near = mesh.comm, mesh.centers, ALIKE * mesh.cell_size
    wanted = mapped(centers)
    corners = np.stack([np.min(centers, axis=0, initial=np.inf), np.max(centers, axis=0, initial=-np.inf)])
    chosen = [
        np.flatnonzero(np.all((wanted >= low - near) & (wanted <= high + near), axis=1))
        for low, high in comm.allgather(corners)
    ]
    asked = comm.alltoall([wanted[rows] for rows in chosen])
    tree = spatial.cKDTree(centers) if len(centers) else None

    def found(points: Array) -> NDArray[np.int64]:
        keys = np.full(len(points), -1, dtype=np.int64)
        if tree is not None and len(points):
            distance, at = tree.query(points, distance_upper_bound=near)
            there = np.isfinite(distance)
            keys[there] = mesh.key[at[there]]
        return keys

    images = np.full(len(centers), -1, dtype=np.int64)
    for rows, keys in zip(chosen, comm.alltoall([found(points) for points in asked]), strict=True):
        images[rows] = np.maximum(images[rows], keys)
    return images


def missing(comm: MPI.Comm, images: NDArray[np.int64]) -> int:
    """Cells without an image, of all ranks (collective)."""
    return int(comm.allreduce(int(np.count_nonzero(images < 0))))
