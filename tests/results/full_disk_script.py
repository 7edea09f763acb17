"""One rank runs out of space while writing: WHAT FOLDER RANK. Prints the error that each rank sees."""

import resource
import sys
from pathlib import Path

from mpi4py import MPI

import numpy as np
from results_boxes import box, centres, image_box, owned_keys, restored

from morpho.errors import StorageError
from morpho.results.checkpoint import save
from morpho.results.history import History, HistoryRow
from morpho.results.vtk import VtkSeries

N = 30_000
what, folder, full_rank = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
comm = MPI.COMM_WORLD
key = owned_keys(N, comm)
grid = (image_box if what == "image" else box)((30, 40), comm)
series = VtkSeries(folder, grid, None)
history = History(folder / "history.csv", comm)


def write(iteration: int) -> None:
    """Write one kind of result."""
    if what in ("vtk", "image"):
        series.write(iteration, {"rho": np.random.default_rng(0).random(len(centres(grid)))}, {})
    elif what == "history":
        history.add(HistoryRow(iteration, 1.0, "exact", 0.5, 0.1, 0.2, iteration, 30, 1.5))
    else:
        save(folder, comm, key, N, {"x": key + 0.5, "y": 1.0 * key}, {"iteration": iteration})


write(1)
if comm.rank == full_rank:
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, resource.RLIM_INFINITY))
try:
    write(2)
    answer = "nothing"
except StorageError as error:
    answer = f"StorageError {error}"
if comm.rank == full_rank:
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
if what == "checkpoint":
    arrays, meta = restored(folder, comm, key, N)
    assert meta == {"iteration": 1} and np.array_equal(arrays["x"], key + 0.5)
print(*(comm.gather(answer) or []), sep="\n", end="")
