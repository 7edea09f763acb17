"""Fields on grid nodes whose boundary planes are shared between ranks."""

from __future__ import annotations

from mpi4py import MPI

import numpy as np
from numpy.typing import NDArray

from morpho.mesh.partition import Partition

AXES = (0, 1, 3)  #: of a nodal array (z, y, component, x): the directions z, y, x


class SharedPlanes:
    """Keeps nodal arrays (z, y, component, x) equal on all ranks that share a node.

    Node planes between two ranks are stored on both. One exchange after an operator has been applied to each rank's
    own cells makes the sum complete; the sums are formed in the same order everywhere, so copies stay bitwise equal.
    """

    def __init__(self, comm: MPI.Comm, partition: Partition) -> None:
        self.comm, self.partition = comm, partition
        place = partition.place(comm.rank)
        self.low: dict[int, int] = {}  #: axis -> rank on the lower side
        self.high: dict[int, int] = {}
        for d in range(len(place)):
            for step, side in ((-1, self.low), (1, self.high)):
                neighbour = partition.rank_at((*place[:d], place[d] + step, *place[d + 1 :]))
                if neighbour is not None:
                    side[AXES[2 - d]] = neighbour

    @property
    def first_owned(self) -> tuple[int, int, int]:
        """First node along z, y, x that this rank owns (local)."""
        z, y, x = (1 if axis in self.low else 0 for axis in AXES)
        return z, y, x

    def sum(self, v: NDArray, sparse: bool = False) -> None:
        """Add up what the sharing ranks hold on shared nodes, in place (collective).

        Args:
            sparse: whether to write only where something is added, so that pages of zeros are not taken.
        """
        for axis in AXES:
            sides = [(self.low.get(axis), 0), (self.high.get(axis), -1)]
            planes = [(rank, v[(slice(None),) * axis + (at,)]) for rank, at in sides if rank is not None]
            received = [np.empty(plane.shape, v.dtype) for _, plane in planes]
            requests = [self.comm.Irecv(buffer, rank, axis) for (rank, _), buffer in zip(planes, received, strict=True)]
            requests += [self.comm.Isend(np.ascontiguousarray(plane), rank, axis) for rank, plane in planes]
            MPI.Request.Waitall(requests)
            for (_, plane), buffer in zip(planes, received, strict=True):
                np.add(plane, buffer, out=plane, where=buffer != 0 if sparse else True)

    def keep_owned(self, v: NDArray) -> None:
        """Zero the shared nodes that another rank owns, in place, so that `sum` counts each once (local)."""
        for axis in self.low:
            v[(slice(None),) * axis + (0,)] = 0

    def owned(self, v: NDArray) -> NDArray:
        """View of the nodes this rank owns: those shared with a lower neighbour are not (local)."""
        return v[tuple(slice(1 if axis in self.low else 0, None) for axis in range(v.ndim))]
