"""Save on some ranks and load on others, for every pair of rank counts: FOLDER N..."""

import sys
from pathlib import Path
from typing import Any

from mpi4py import MPI

import numpy as np
from results_boxes import owned_keys, restored

from morpho.results.checkpoint import save

world = MPI.COMM_WORLD
numbers_read: list[int] = []
from_file = np.fromfile


def watched(*given: Any, **more: Any) -> Any:
    """`np.fromfile`, which notes how much it reads."""
    numbers_read.append(more["count"])
    return from_file(*given, **more)


np.fromfile = watched
for n_global in map(int, sys.argv[2:]):
    folder = Path(sys.argv[1]) / str(n_global)
    for iteration, (before, after) in enumerate(np.ndindex(world.size, world.size)):
        comm = world.Split(0 if world.rank <= before else MPI.UNDEFINED)
        if comm != MPI.COMM_NULL:
            key = owned_keys(n_global, comm)
            arrays = {"x": np.sin(key + iteration), "mma.low": np.stack([key, key * iteration, -key], axis=1) / 3}
            save(folder, comm, key, n_global, arrays, {"iteration": iteration, "beta": 2.5})
            comm.Free()
        world.Barrier()
        comm = world.Split(0 if world.rank <= after else MPI.UNDEFINED)
        if comm != MPI.COMM_NULL:
            key = owned_keys(n_global, comm)
            numbers_read.clear()
            arrays, meta = restored(folder, comm, key, n_global)
            share = -(-n_global // comm.size)
            assert sum(numbers_read) <= (1 + 3) * share, "a rank reads its share of each array, never a whole one"
            assert meta == {"iteration": iteration, "beta": 2.5}
            assert sorted(arrays) == ["mma.low", "x"]
            assert np.array_equal(arrays["x"], np.sin(key + iteration))
            assert np.array_equal(arrays["mma.low"], np.stack([key, key * iteration, -key], axis=1) / 3)
            only, _ = restored(folder, comm, key, n_global, names=["x"])
            assert list(only) == ["x"]
            comm.Free()
        world.Barrier()
