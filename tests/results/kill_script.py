"""Save restart sets without end, until killed: FOLDER N. Prints each iteration when it is complete."""

import sys
from pathlib import Path

from mpi4py import MPI

import numpy as np

from morpho.results.checkpoint import save

folder, n_global = Path(sys.argv[1]), int(sys.argv[2])
key = np.arange(n_global)
iteration = 0
while True:
    iteration += 1
    save(folder, MPI.COMM_SELF, key, n_global, {"x": np.full(n_global, 1.0 * iteration)}, {"iteration": iteration})
    print(iteration, flush=True)
