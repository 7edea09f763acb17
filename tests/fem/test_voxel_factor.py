"""The sparse factor that helps the multigrid cycle on thin struts."""

from __future__ import annotations

import json
from pathlib import Path

from mpi4py import MPI

import numpy as np
import pytest
import scipy.sparse.linalg
from test_voxel_multigrid import matrix
from voxel_factor_facts import element, held, lattice, solved


def forces(seed):
    """Random ones where the lattice is, none on the piece that hangs in the air."""
    b = np.where(held(), 0, np.random.default_rng(seed).normal(size=held().shape))
    b[5:8, 6:9, :, 13:16] = 0
    return b


def test_it_solves_what_hangs_together():
    b, A = forces(1), matrix(element().K, lattice())
    there = np.flatnonzero((A.diagonal() > 0) & ~held().reshape(-1))
    exact = scipy.sparse.linalg.spsolve(A[there][:, there].tocsc(), b.reshape(-1)[there])
    found = solved(MPI.COMM_SELF, b)
    assert np.all(found[held()] == 0)
    loose = np.zeros(held().shape, dtype=bool)
    loose[5:8, 6:9, :, 13:16] = True
    kept = ~loose.reshape(-1)[there]
    difference = (found.reshape(-1)[there] - exact)[kept]
    assert np.linalg.norm(difference) < 0.1 * np.linalg.norm(exact[kept])  # the lift of the diagonal, 1e-6


def test_it_is_symmetric_and_positive():
    b = [forces(seed) for seed in range(3)]
    products = np.array([[np.vdot(one, solved(MPI.COMM_SELF, other)) for other in b] for one in b])
    assert np.linalg.eigvalsh((products + products.T) / 2).min() > 0
    scale = np.sqrt(np.outer(np.diag(products), np.diag(products)))
    np.testing.assert_allclose(products / scale, products.T / scale, atol=1e-3)


@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
def test_it_does_not_depend_on_the_ranks(mpirun, ranks):
    found = json.loads(mpirun(ranks, Path(__file__).with_name("voxel_factor_facts.py")))
    assert found["difference"] < 1e-2 and found["left out"]
    assert abs(found["compliance"]) < 1e-7 and found["beside"] == "factor"
