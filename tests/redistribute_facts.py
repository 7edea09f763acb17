"""Cells dealt out twice, at random, and moved from the one to the other; run on any number of ranks."""

from __future__ import annotations

import sys
import time
from typing import Any

from mpi4py import MPI

import numpy as np
from helpers import main

from morpho.redistribute import Redistribution

N = 1000


def facts(comm: MPI.Comm, own: str) -> dict[str, Any]:
    """How many values arrive wrongly; `own` is "all", or "first" if the first rank has all the cells."""
    random = np.random.default_rng(0)  # the same on all ranks
    owner = random.integers(comm.size, size=N) if own == "all" else np.zeros(N, int)
    have = np.flatnonzero(owner == comm.rank)[::-1] * 7  # keys have gaps
    want = np.random.default_rng(comm.rank).choice(N, (comm.rank + 1) * 150 if comm.rank != 1 else 0, False) * 7
    way = Redistribution(comm, have, want)
    table = random.standard_normal((7 * N, 3))
    wrong = [
        np.count_nonzero(way.apply(table[have, 0]) != table[want, 0]),
        np.count_nonzero(way.apply(table[have]) != table[want]),
        np.count_nonzero(way.apply(table[have, :0]).shape != (len(want), 0)),
    ]
    for start, tag in ((0, 5), (1, 6), (1, 5)):  # the second and third go on while nothing has been waited for
        arrival = way.receive(2, tag)
        requests = way.send(table[have, start : start + 2], tag)
        while not arrival.is_there():
            time.sleep(1e-4)
        wrong.append(np.count_nonzero(arrival.values() != table[want, start : start + 2]))
        MPI.Request.Waitall(requests)
    try:
        Redistribution(comm, have, np.append(want, 3) if comm.rank == 0 else want)
        refused = False
    except ValueError:
        refused = True
    return {"wrong": comm.allreduce(sum(map(int, wrong))), "refused": comm.allreduce(int(refused)), "ranks": comm.size}


if __name__ == "__main__":
    main(facts, *sys.argv[1:])
