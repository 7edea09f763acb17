"""Local volume: exact derivatives, direct sums, the bound met around every cell."""

from __future__ import annotations

import json
from pathlib import Path

from mpi4py import MPI

import numpy as np
import pytest
from helpers import assert_same, random_cells, taylor_rates
from local_volume_facts import facts, porous
from scipy.spatial.distance import cdist

import morpho
from morpho.errors import InputError
from morpho.parts import Parts
from morpho.responses.local_volume import P


def local_means(rho, counted, radius):
    """By direct sums over all pairs of cells of edge 1, axes z, y, x."""
    centers = np.indices(rho.shape).reshape(3, -1).T
    near = (cdist(centers, centers) < radius) * counted.ravel()
    return (near @ rho.ravel() / near.sum(axis=1)).reshape(rho.shape) * counted


def picture():
    """Which cells are designed."""
    counted = np.ones((5, 8, 16))
    counted[4] = counted[:2, :2, 8:10] = 0
    return counted


def test_values_are_those_of_direct_sums():
    with Parts(porous(), MPI.COMM_SELF) as parts:
        rho = random_cells(parts.mesh)
        means, pullback = parts.design.local_mean(2.5, "constraints[1]").apply(rho)
        expected = local_means(rho.reshape(5, 8, 16), picture(), 2.5)
        np.testing.assert_allclose(means.reshape(expected.shape), expected, rtol=1e-12)
        y = random_cells(parts.mesh, seed=1)
        assert float(y @ means) == pytest.approx(float(pullback(y) @ rho), rel=1e-13)
        assert parts.responses.bounds[1].response.at(rho, None).value == pytest.approx(expected.max(), rel=1e-13)


@pytest.mark.parametrize("engine", ["voxel", "assembled"])
def test_the_derivative_is_that_of_the_mean(engine):
    """Up to the factor that makes the mean the maximum, which is 1 where all are alike."""
    with Parts(porous(engine), MPI.COMM_SELF) as parts:
        response, mean = parts.responses.bounds[1].response, parts.design.local_mean(2.5, "constraints[1]")

        def f(rho):
            means = mean.apply(rho)[0]
            value = float(np.sum(means**P) ** (1 / P))
            found = response.at(rho, None)
            return value, found.d_rho * value / found.value

        rho, d = random_cells(parts.mesh, 0.2, 0.8), random_cells(parts.mesh, -1, 1, seed=1)
        assert taylor_rates(f, rho, d, h=5e-3).min() > 1.9


def test_ranks_and_engines(mpirun):
    alone = facts(MPI.COMM_SELF)
    assert alone["value, voxel"] > 0.5
    for ranks in (2, 3):
        found = json.loads(mpirun(ranks, Path(__file__).with_name("local_volume_facts.py")))
        values = found.pop("values")
        np.testing.assert_allclose(values, alone["values"], rtol=1e-5)
        assert_same(found, {key: value for key, value in alone.items() if key != "values"}, 1e-12)


@pytest.fixture(scope="module")
def run():
    optimizer = {"max_iterations": 60}
    return morpho.solve(porous(optimizer=optimizer), comm=MPI.COMM_SELF)


def test_the_bound_is_met_around_every_cell(run):
    means = local_means(run.rho.reshape(5, 8, 16), picture(), 2.5)
    assert 0.49 < means.max() < 0.51
    assert run.feasible


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"radius": 1.2, "max": 0.5}, "so small a ball holds hardly more than its cell"),
        ({"radius": 1e12, "max": 0.5}, "constraints[0].radius: got 1e+12, and the mesh is"),
        ({"radius": 3, "max": 0.5, "region": {"plane": {"axis": "x", "at": 99}}}, "no cell lies in"),
    ],
)
def test_what_cannot_be_is_said(given, said):
    with pytest.raises(InputError) as error:
        Parts(porous(constraints=[{"kind": "local_volume"} | given]), MPI.COMM_SELF)
    assert said in str(error.value)
