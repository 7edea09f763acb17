"""The largest displacement: derivatives, and a limit that is kept."""

from mpi4py import MPI

import numpy as np
import pytest
from functional_problems import beam
from helpers import evaluate, random_cells, taylor_rates

import morpho
from morpho.parts import Parts

PEAK = {"kind": "peak_displacement", "case": "side"}


@pytest.mark.parametrize(("dim", "engine"), [(dim, e) for dim in (2, 3) for e in ("voxel", "assembled")])
def test_derivatives_through_the_whole_chain(dim, engine):
    with Parts(beam(dim, engine, objective=PEAK), MPI.COMM_SELF) as parts:
        x, dx = random_cells(parts.mesh, 0.4, 0.6), random_cells(parts.mesh, -1, 1, seed=3)

        def f(x):
            found = evaluate(parts, x)
            return found.objective, found.d_objective

        assert taylor_rates(f, x, dx, h=2e-3).min() > 1.9


def test_it_is_near_the_largest_one_and_below():
    problem = beam(2, objective=PEAK | {"p": 60}, design={}, mesh={"box": {"size": [2, 1], "cells": [32, 16]}})
    with Parts(problem, MPI.COMM_SELF) as parts:
        value = evaluate(parts, np.ones(parts.mesh.n)).objective
        largest = np.linalg.norm(parts.physics.vertex_displacement(0), axis=1).max()
    assert 0.88 * largest < value < largest


def test_a_limit_is_kept():
    parts = {
        "mesh": {"box": {"size": [2, 1], "cells": [32, 16]}},
        "loads": [{"name": "side", "forces": [{"region": {"plane": {"axis": "x", "at": 2}}, "total": [0, -1]}]}],
        "objective": {"kind": "volume"},
        "constraints": [PEAK | {"max": 12.0}],
        "design": {"filter": {"kind": "cone", "radius": 0.15}},
        "optimizer": {"max_iterations": 60, "move_limit": 0.1, "objective_tolerance": 0},
        "solver": {"rtol": 1e-6},
    }
    result = morpho.solve(beam(2, **parts), comm=MPI.COMM_SELF)
    (response,) = result.responses.values()
    assert response.feasible and response.value == pytest.approx(12, rel=0.02)
    assert result.volume < 0.8
