"""Values of cells from the ranks that own them to the ranks that want them, over one communicator."""

from __future__ import annotations

from collections.abc import Iterator

from mpi4py import MPI

import numpy as np
from numpy.typing import NDArray

from morpho.interfaces import Array

Keys = NDArray[np.int64]
Rows = tuple[NDArray[np.int64], NDArray[np.int64]]  #: rows in the order of the ranks they are for, and how many each


class Redistribution:
    """Moves values between two distributions of the cells of a mesh, both given by the keys of the cells.

    Every key is owned on exactly one rank and may be wanted on several, or on none.
    """

    def __init__(self, comm: MPI.Comm, have: Keys, want: Keys) -> None:
        """Plan the exchange for the cells have (n,) of this rank and the cells want (m,) (collective).

        Raises:
            ValueError: on all ranks, if a wanted key is nobody's.
        """
        self.comm, self.m = comm, len(want)
        self._there, self._here = _plan(comm, np.asarray(have, np.int64), np.asarray(want, np.int64))

    def apply(self, values: Array) -> Array:
        """(m,) or (m, c) values of the wanted cells, from those of the owned ones (n,) or (n, c) (collective)."""
        (rows, there), (order, here) = self._there, self._here
        sent = np.ascontiguousarray(values, np.float64)[rows]
        received = np.empty((self.m, *sent.shape[1:]))
        row = MPI.DOUBLE.Create_contiguous(int(np.prod(sent.shape[1:], dtype=int))).Commit()
        try:  # counting rows keeps the counts below 2^31 whatever the width
            self.comm.Alltoallv([sent, (there, None), row], [received, (here, None), row])
        finally:
            row.Free()
        return _at(order, received)

    def send(self, values: Array, tag: int) -> list[MPI.Request]:
        """Start to send (n,) or (n, c) values to the ranks that want them (local).

        The requests hold what is being sent; end each with its wait, at the latest before the next send of this tag.
        """
        rows, counts = self._there
        sent = np.ascontiguousarray(values, np.float64)[rows]
        return [self.comm.Isend(sent[part], rank, tag) for rank, part in _parts(counts)]

    def receive(self, columns: int, tag: int) -> Arrival:
        """Start to receive (m, columns) values that are sent with this tag (local)."""
        order, counts = self._here
        received = np.empty((self.m, columns))
        return Arrival([self.comm.Irecv(received[part], rank, tag) for rank, part in _parts(counts)], received, order)


class Arrival:
    """Values that are under way to this rank."""

    def __init__(self, requests: list[MPI.Request], received: Array, order: NDArray[np.int64]) -> None:
        self._requests, self._received, self._order = requests, received, order

    def is_there(self) -> bool:
        """Whether all of them have come to this rank, without waiting (local)."""
        return bool(MPI.Request.Testall(self._requests))

    def values(self) -> Array:
        """(m, columns) in the order of the wanted keys, after waiting for them (local)."""
        MPI.Request.Waitall(self._requests)
        return _at(self._order, self._received)


def _plan(comm: MPI.Comm, have: Keys, want: Keys) -> tuple[Rows, Rows]:
    """Rows of `have` to send and places in `want` to fill, both by rank (collective).

    The rank that a key modulo the number of ranks names knows where the key is owned.
    """
    announced = comm.alltoall([have[have % comm.size == rank] for rank in range(comm.size)])
    known = np.concatenate(announced)
    owner = np.repeat(np.arange(comm.size), [len(keys) for keys in announced])
    order = np.argsort(known, kind="stable")
    known, owner = known[order], owner[order]

    home = want % comm.size
    asked = comm.alltoall([want[home == rank] for rank in range(comm.size)])
    places = [np.searchsorted(known, keys) for keys in asked]
    found = all(
        bool(np.all(at < len(known)) and np.array_equal(known[at], keys))
        for at, keys in zip(places, asked, strict=True)
    )
    if not comm.allreduce(found, MPI.LAND):
        raise ValueError("every wanted key should be owned on a rank")
    answers = comm.alltoall([owner[at] for at in places])
    owner_of = np.empty(len(want), np.int64)
    for rank, answer in enumerate(answers):
        owner_of[home == rank] = answer

    wanted = comm.alltoall([want[owner_of == rank] for rank in range(comm.size)])
    by_key = np.argsort(have, kind="stable")
    rows = by_key[np.searchsorted(have[by_key], np.concatenate(wanted))]
    counts = np.array([len(keys) for keys in wanted])
    return (rows, counts), (np.argsort(owner_of, kind="stable"), np.bincount(owner_of, minlength=comm.size))


def _parts(counts: NDArray[np.int64]) -> Iterator[tuple[int, slice]]:
    """Ranks with something to send or receive, and where it lies."""
    ends = np.cumsum(counts)
    for rank in np.flatnonzero(counts):
        yield int(rank), slice(int(ends[rank] - counts[rank]), int(ends[rank]))


def _at(order: NDArray[np.int64], received: Array) -> Array:
    """Rows in the order of the wanted keys, from rows by rank (local)."""
    values = np.empty_like(received)
    values[order] = received
    return values
