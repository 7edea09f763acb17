"""Cone-weighted averages over neighbouring cells, distributed, on any mesh."""

from __future__ import annotations

from typing import Protocol

from mpi4py import MPI

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from morpho.interfaces import Array, Pullback
from morpho.late import spatial


class Averages(Protocol):
    """Weighted averages over neighbouring cells: of a `Neighbourhood`, or of a `VoxelNeighbourhood`."""

    def average(self, values: Array) -> Array: ...

    def average_transposed(self, values: Array) -> Array: ...


class Neighbourhood:
    """Weights w_ij = max(0, R - |c_i - c_j|) v_j between cells closer than R, and the exchange they need.

    Args:
        flat: whether they are v_j instead, the same in the whole ball.
        centers: (n, 3) cell centres of the owned cells.
        volumes: (n,) their volumes.
        radius: physical length R.
    """

    def __init__(self, comm: MPI.Comm, centers: Array, volumes: Array, radius: float, flat: bool = False) -> None:
        self.comm, self.n = comm, len(centers)
        near, owner, index = _halo_candidates(comm, centers, radius)
        points = np.concatenate([centers, near])
        pairs = spatial.cKDTree(centers).sparse_distance_matrix(
            spatial.cKDTree(points), radius, output_type="coo_matrix"
        )
        used = np.unique(pairs.col[pairs.col >= self.n])
        column = np.empty(len(points), dtype=np.int64)
        column[: self.n], column[used] = np.arange(self.n), self.n + np.arange(len(used))
        self.halo = _Halo(comm, owner[used - self.n], index[used - self.n])
        size = self.halo.extend(volumes)
        cone = (np.ones_like(pairs.data) if flat else radius - pairs.data) * size[column[pairs.col]]
        shape = (self.n, self.n + len(used))
        self.weights = sp.csr_matrix((cone, (pairs.row, column[pairs.col])), shape=shape)
        self.row_sum = np.asarray(self.weights.sum(axis=1)).ravel()

    def average(self, values: Array) -> Array:
        """(n,) weighted averages (collective)."""
        return np.asarray(self.weights @ self.halo.extend(values)) / self.row_sum

    def average_transposed(self, values: Array) -> Array:
        """(n,) the exact transpose of `average` (collective)."""
        return self.halo.reduce(self.weights.T @ (values / self.row_sum))


class ConeFilter:
    """Density filter (Bruns & Tortorelli 2001; Bourdin 2001): rho_i = sum w_ij x_j / sum w_ij.

    Never above 1, as the mean of a solid neighbourhood could be by rounding.
    """

    def __init__(self, neighbourhood: Averages) -> None:
        self.neighbourhood = neighbourhood

    def apply(self, x: Array) -> tuple[Array, Pullback]:
        rho = self.neighbourhood.average(x)
        return np.minimum(rho, 1.0, out=rho), self.neighbourhood.average_transposed


class SensitivityFilter:
    """Sigmund (1997): smooths the compliance derivative instead of the density. Heuristic, not a derivative.

    With d the derivative per cell: d_i <- sum w_ij x_j d_j / (max(x_i, 1e-3) sum w_ij), on cell densities d/v.
    """

    def __init__(self, neighbourhood: Averages, volumes: Array) -> None:
        self.neighbourhood, self.volumes = neighbourhood, volumes

    def smooth(self, x: Array, d: Array) -> Array:
        """(n,) smoothed derivative of the compliance (collective)."""
        return self.neighbourhood.average(x * d / self.volumes) * self.volumes / np.maximum(x, 1e-3)


class _Halo:
    """Values of other ranks' cells, in a fixed order after the owned ones.

    Args:
        owner: (h,) rank of each wanted cell.
        index: (h,) its local number there.
    """

    def __init__(self, comm: MPI.Comm, owner: NDArray[np.int64], index: NDArray[np.int64]) -> None:
        self.comm = comm
        self.order = np.argsort(owner, kind="stable")
        self.receive = np.bincount(owner, minlength=comm.size)
        self.send = np.empty_like(self.receive)
        comm.Alltoall(self.receive, self.send)
        self.wanted = np.empty(self.send.sum(), dtype=np.int64)
        comm.Alltoallv([index[self.order], self.receive], [self.wanted, self.send])

    def extend(self, values: Array) -> Array:
        """Owned values followed by those of the halo (collective)."""
        out = np.empty(len(self.order))
        self.comm.Alltoallv([values[self.wanted], self.send], [out, self.receive])
        extended = np.empty(len(values) + len(out))
        extended[: len(values)] = values
        extended[len(values) + self.order] = out
        return extended

    def reduce(self, extended: Array) -> Array:
        """The transpose of `extend`: add what stands in the halo to its owner (collective)."""
        n = len(extended) - len(self.order)
        back = np.empty(len(self.wanted))
        self.comm.Alltoallv([extended[n:][self.order], self.receive], [back, self.send])
        values = extended[:n].copy()
        np.add.at(values, self.wanted, back)
        return values


def _halo_candidates(
    comm: MPI.Comm, centers: Array, radius: float
) -> tuple[Array, NDArray[np.int64], NDArray[np.int64]]:
    """Centres of other ranks' cells within radius of this rank's bounding box, their ranks and numbers (collective)."""
    inf = np.full(3, np.inf)
    box = np.stack([np.min(centers, axis=0, initial=np.inf), np.max(centers, axis=0, initial=-np.inf)])
    boxes = comm.allgather(box if len(centers) else np.stack([inf, -inf]))
    outgoing = []
    for rank, (low, high) in enumerate(boxes):
        inside = np.all((centers >= low - radius) & (centers <= high + radius), axis=1) & (rank != comm.rank)
        chosen = np.flatnonzero(inside)
        outgoing.append((centers[chosen], chosen))
    incoming = comm.alltoall(outgoing)
    owner = np.concatenate([np.full(len(c), rank, dtype=np.int64) for rank, (c, _) in enumerate(incoming)])
    return (
        np.concatenate([c for c, _ in incoming]).reshape(-1, 3),
        owner,
        np.concatenate([i for _, i in incoming]).astype(np.int64),
    )
