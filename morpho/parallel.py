"""Small collectives: reductions over owned entries, and errors that every rank sees together."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NoReturn, TypeVar

from mpi4py import MPI

import numpy as np
from numba import njit

from morpho.errors import InputError
from morpho.interfaces import Array

T = TypeVar("T")
LANES = 256  #: entries of which each has a largest change of its own, so that vectors are filled
PATIENCE = 5.0  #: seconds within which ranks that fail alike have all failed


def global_sum(comm: MPI.Comm, values: Array) -> float:
    """Sum of owned entries over all ranks (collective)."""
    return float(comm.allreduce(float(np.sum(values)), MPI.SUM))


def global_dot(comm: MPI.Comm, a: Array, b: Array) -> float:
    """Dot product of two owned arrays (collective)."""
    return float(comm.allreduce(float(np.dot(a, b)), MPI.SUM))


def global_max(comm: MPI.Comm, values: Array) -> float:
    """Largest owned entry over all ranks, -inf if there is none (collective)."""
    return float(comm.allreduce(float(np.max(values, initial=-np.inf)), MPI.MAX))


def largest_change(comm: MPI.Comm, a: Array, b: Array) -> float:
    """Largest |a - b| of owned entries over all ranks (collective)."""
    return float(comm.allreduce(_largest_change(a, b), MPI.MAX))


@njit(cache=True, error_model="numpy")
def _largest_change(a: Array, b: Array) -> float:
    lanes = np.zeros(LANES)
    for start in range(0, len(a), LANES):
        one, other = a[start : start + LANES], b[start : start + LANES]
        for i in range(len(one)):
            change = abs(one[i] - other[i])
            lanes[i] = change if change > lanes[i] else lanes[i]
    return float(lanes.max())


def any_rank(comm: MPI.Comm, flag: bool) -> bool:
    """Whether the flag is up on any rank (collective)."""
    return bool(comm.allreduce(flag, MPI.LOR))


def raise_together(comm: MPI.Comm, complaints: Sequence[str]) -> None:
    """Raise InputError on every rank if any rank has a complaint (collective); equal ones are said once."""
    said = dict.fromkeys(text for texts in comm.allgather(list(complaints)) for text in texts)
    if said:
        raise InputError(list(said))


@contextmanager
def failing_alike(comm: MPI.Comm) -> Iterator[None]:
    """A block that fails on all ranks or ends all of them (collective).

    An exception is raised when every rank has come to one within PATIENCE. If not, the others are waiting in some
    collective call for this rank: it prints its traceback and aborts. The block is left early by `break`, in a
    generator, on all ranks together.
    """
    if comm.size == 1:
        yield
        return
    own = comm.Dup()
    try:
        yield
    except GeneratorExit:
        own.Free()
        raise
    except BaseException:
        if not _all_come(own):
            abort(f"rank {MPI.COMM_WORLD.rank} failed, and the others did not; all of them are stopped")
        own.Free()
        raise
    own.Free()


def abort(reason: str) -> NoReturn:
    """Print the traceback of the exception under way and end all ranks with status 1 (local)."""
    with suppress(OSError, ValueError):
        traceback.print_exc()
        print(f"error: {reason}", file=sys.stderr, flush=True)
    MPI.COMM_WORLD.Abort(1)
    os._exit(1)


def _all_come(comm: MPI.Comm) -> bool:
    """Whether all ranks get here within PATIENCE (collective, but for that)."""
    end = time.monotonic() + PATIENCE
    request = comm.Ibarrier()
    while not request.Test():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def on_root(comm: MPI.Comm, work: Callable[[], T]) -> T:
    """Run work on rank 0 and give its result, or its exception, to every rank (collective)."""
    result: T | None = None
    failure: Exception | None = None
    if comm.rank == 0:
        try:
            result = work()
        except Exception as error:  # whatever it is: the other ranks are waiting
            failure = error
    result, failure = comm.bcast((result, failure), root=0)
    if failure is not None:
        raise failure
    return result  # type: ignore[return-value]
