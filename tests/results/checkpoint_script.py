"""Save or load a restart set whose values follow from key and iteration: save|load FOLDER N ITERATION."""

import sys
from pathlib import Path

from mpi4py import MPI

import numpy as np
from results_boxes import owned_keys

from morpho.results.checkpoint import load, save

mode, folder, n_global, iteration = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
comm = MPI.COMM_WORLD
key = owned_keys(n_global, comm)
expected = {"x": np.sin(key + iteration), "mma.low": np.stack([key, key * iteration, -key], axis=1) / 3}
if mode == "save":
    save(folder, comm, key, n_global, expected, {"iteration": iteration, "beta": 2.5})
else:
    arrays, meta = load(folder, comm, key, n_global)
    assert meta == {"iteration": iteration, "beta": 2.5}
    assert arrays.keys() == expected.keys()
    assert all(np.array_equal(arrays[name], expected[name]) for name in expected)
    only, _ = load(folder, comm, key, n_global, names=["x"])
    assert list(only) == ["x"]
