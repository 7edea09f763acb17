"""Owned cells in mesh order to and from contiguous blocks in key order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mpi4py import MPI

import numpy as np
from numpy.typing import NDArray

from morpho.interfaces import Array

PORTION = 1 << 18  #: cells of all ranks that are redistributed at a time


class Portions:
    """The keys 0..N-1 in portions, so that what is redistributed takes little memory."""

    def __init__(self, comm: MPI.Comm, key: NDArray[np.int64], n_global: int) -> None:
        """Plan for the owned cells key (n,) (collective)."""
        self.comm, self.n_global = comm, n_global
        key = np.asarray(key, dtype=np.int64)
        #: of the cells by key, None where they have that order
        self._order = None if bool(np.all(key[:-1] < key[1:])) else np.argsort(key, kind="stable")
        self._key = key if self._order is None else key[self._order]

    def __iter__(self) -> Iterator[tuple[int, Any, Blocks]]:
        """First key, the owned cells of each portion, and the blocks among its keys (collective)."""
        for first in range(0, self.n_global, PORTION):
            count = min(PORTION, self.n_global - first)
            start, stop = np.searchsorted(self._key, (first, first + count))
            own = slice(int(start), int(stop)) if self._order is None else self._order[start:stop]
            yield first, own, Blocks(self.comm, self._key[start:stop] - first, count)


class Blocks:
    """Deals the keys 0..N-1 out to the ranks in order, one contiguous block each.

    With 2 ranks, N = 5 and keys [4, 0, 2] on rank 0 and [1, 3] on rank 1, rank 0 has the block of keys 0, 1
    and rank 1 that of keys 2, 3, 4.
    """

    def __init__(self, comm: MPI.Comm, key: NDArray[np.int64], n_global: int) -> None:
        """Plan the exchange for the owned cells key (n,); collective.

        Raises ValueError on all ranks if the keys of all ranks together are not 0..N-1, each once.
        """
        starts = np.array([n_global * rank // comm.size for rank in range(comm.size + 1)])
        self.start, self.stop = int(starts[comm.rank]), int(starts[comm.rank + 1])
        key = np.asarray(key, dtype=np.int64)
        in_range = bool(np.all((key >= 0) & (key < n_global)))
        if not comm.allreduce(in_range, MPI.LAND):
            raise ValueError(f"keys should lie in 0..{n_global - 1}")
        self._comm = comm
        self._order = np.argsort(key, kind="stable")
        self._there = np.diff(np.searchsorted(key[self._order], starts))
        self._here = np.empty_like(self._there)
        comm.Alltoall(self._there, self._here)
        received = np.empty(int(self._here.sum()), dtype=np.int64)
        self._exchange(key[self._order], self._there, received, self._here)
        self._rows = received - self.start
        once = np.array_equal(np.sort(self._rows), np.arange(self.stop - self.start))
        if not comm.allreduce(once, MPI.LAND):
            raise ValueError(f"keys should be 0..{n_global - 1}, each on one rank and once")

    def gather(self, owned: Array) -> Array:
        """This rank's block (b,) or (b, c) in key order, from owned values (n,) or (n, c); collective."""
        sent = np.ascontiguousarray(owned, dtype=np.float64)[self._order]
        received = np.empty((len(self._rows), *sent.shape[1:]))
        self._exchange(sent, self._there, received, self._here)
        block = np.empty_like(received)
        block[self._rows] = received
        return block

    def scatter(self, block: Array) -> Array:
        """Owned values (n,) or (n, c), from this rank's block (b,) or (b, c) in key order; collective."""
        received = np.empty((len(self._order), *block.shape[1:]))
        self._exchange(block[self._rows], self._here, received, self._there)
        owned = np.empty_like(received)
        owned[self._order] = received
        return owned

    def _exchange(self, sent: NDArray, there: NDArray, received: NDArray, here: NDArray) -> None:
        """Alltoallv of rows; counting rows keeps the counts below 2^31 whatever the width."""
        width = int(np.prod(sent.shape[1:], dtype=int))
        entry = MPI.INT64_T if sent.dtype == np.int64 else MPI.DOUBLE
        row = entry.Create_contiguous(width).Commit()
        try:
            self._comm.Alltoallv([sent, (there, None), row], [received, (here, None), row])
        finally:
            row.Free()
