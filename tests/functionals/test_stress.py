"""The highest stress: derivatives, engines, identities."""

from mpi4py import MPI

import numpy as np
import pytest
from functional_problems import beam
from helpers import by_key, evaluate, random_cells, rates_of_rows

import morpho
from morpho.parts import Parts

PROBLEMS = [(dim, engine) for dim in (2, 3) for engine in ("voxel", "assembled")]


@pytest.mark.parametrize(("dim", "engine"), PROBLEMS)
def test_derivatives_through_the_whole_chain(dim, engine):
    with Parts(beam(dim, engine), MPI.COMM_SELF) as parts:
        assert min(rates_of_rows(parts, (0, 2))) > 1.9


@pytest.mark.parametrize("dim", [2, 3])
def test_both_engines_find_the_same(dim):
    found = []
    for engine in ("voxel", "assembled"):
        with Parts(beam(dim, engine), MPI.COMM_SELF) as parts:
            one = evaluate(parts, random_cells(parts.mesh, 0.3, 0.7))
            d = [by_key(parts.mesh, row) for row in (one.d_objective, *one.d_constraints)]
            vm = by_key(parts.mesh, parts.physics.von_mises(0))
        found.append([np.array([one.objective]), one.constraints, *d, vm])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-9 * np.abs(theirs).max())


@pytest.mark.parametrize(("dim", "engine"), PROBLEMS)
@pytest.mark.parametrize("plane", ["stress", "strain"])
def test_a_bar_under_tension(dim, engine, plane):
    """Uniaxial stress s: von Mises is s; in plane strain s sqrt(1 - nu + nu^2)."""
    rollers = [{"region": {"plane": {"axis": axis, "at": 0}}, "fix": axis} for axis in "xyz"[:dim]]
    pull = [{"region": {"plane": {"axis": "x", "at": 2}}, "traction": [1.7, 0, 0][:dim]}]
    given = {"supports": rollers, "loads": [{"forces": pull}], "material": {"E": 3.0, "nu": 0.3, "plane": plane}}
    stress = {"kind": "stress", "p": 6}
    problem = beam(dim, engine, **given, objective=stress, constraints=[{"volfrac": 1}], design={})
    with Parts(problem, MPI.COMM_SELF) as parts:
        found = evaluate(parts, np.ones(parts.mesh.n))
        vm = parts.physics.von_mises(0)
    expected = 1.7 * (np.sqrt(1 - 0.3 + 0.09) if dim == 2 and plane == "strain" else 1)
    assert found.objective == pytest.approx(expected, rel=1e-8)
    np.testing.assert_allclose(vm, expected, rtol=1e-8)


def test_scaled_it_is_the_maximum():
    with Parts(beam(2, objective={"kind": "stress", "case": "side"}), MPI.COMM_SELF) as parts:
        rho = random_cells(parts.mesh, 0.3, 1)
        gradient = parts.source.estimate(rho)
        assert gradient.values[0] == pytest.approx((np.sqrt(rho) * parts.physics.von_mises(0)).max(), rel=1e-10)


def test_a_limit_is_kept(tmp_path):
    """The lightest beam whose stress stays below a limit; the fields say the same as the result."""
    root = {"box": {"min": [0, 0], "max": [0.125, 1]}}
    tip = {"box": {"min": [1.75, 0], "max": [2, 1]}}
    parts = {
        "mesh": {"box": {"size": [2, 1], "cells": [32, 16]}},
        "loads": [{"forces": [{"region": {"plane": {"axis": "x", "at": 2}}, "total": [0, -1]}]}],
        "objective": {"kind": "volume"},
        "constraints": [{"kind": "stress", "max": 10.0, "exclude": [root, tip]}],
        "design": {"filter": {"kind": "cone", "radius": 0.15}, "initial": 0.5, "passive": {"solid": [tip]}},
        "optimizer": {"max_iterations": 100, "move_limit": 0.1, "objective_tolerance": 0},
        "solver": {"rtol": 1e-6},
    }
    result = morpho.solve(beam(2, **parts), tmp_path / "run", MPI.COMM_SELF)
    (response,) = result.responses.values()
    assert response.limit == 10 and response.value == pytest.approx(10, rel=0.02)
    assert result.volume < 0.8
