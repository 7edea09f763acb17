"""Stress limits in every cell: derivatives at fixed multipliers, the limit met, a run that goes on where it stopped."""

from mpi4py import MPI

import numpy as np
import pytest
from functional_problems import beam, limited
from helpers import assert_engines_agree, evaluate, random_cells, taylor_rates

import morpho
from morpho.errors import InputError
from morpho.parts import Parts

LIGHT = {"kind": "volume_under_stress", "limit": 1.5}


@pytest.mark.parametrize("dim", [2, 3])
def test_both_engines_find_the_same(dim):
    assert_engines_agree(lambda engine: limited(dim, engine))


@pytest.mark.parametrize(("dim", "engine"), [(dim, e) for dim in (2, 3) for e in ("voxel", "assembled")])
def test_derivatives_at_fixed_multipliers(dim, engine):
    with Parts(beam(dim, engine, objective=LIGHT, constraints=[{"volfrac": 1}]), MPI.COMM_SELF) as parts:
        x, dx = random_cells(parts.mesh, 0.4, 0.6), random_cells(parts.mesh, -1, 1, seed=3)
        evaluate(parts, x)
        for _ in range(5):
            parts.functionals[0].advance()
        assert parts.functionals[0].multipliers.max() > 0

        def f(x):
            found = evaluate(parts, x)
            return found.objective, found.d_objective

        assert taylor_rates(f, x, dx, h=2e-3).min() > 1.9


def light(**parts):
    tip = {"box": {"min": [1.75, 0.3], "max": [2, 0.7]}}
    end = {"box": {"min": [2, 0.3], "max": [2, 0.7]}}
    given = {
        "mesh": {"box": {"size": [2, 1], "cells": [48, 24]}},
        "loads": [{"name": "tip", "forces": [{"region": end, "total": [0, -1]}]}],
        "objective": {"kind": "volume_under_stress", "limit": 18, "exclude": [tip]},
        "constraints": [{"volfrac": 1}],
        "design": {"filter": {"kind": "cone", "radius": 0.1}, "initial": 0.5, "passive": {"solid": [tip]}},
        "optimizer": {"max_iterations": 240, "move_limit": 0.05, "objective_tolerance": 0, "tolerance": 0},
        "solver": {"rtol": 1e-6},
    }
    return beam(2, **given | parts)


def test_the_limit_is_met_in_every_cell():
    result = morpho.solve(light(), comm=MPI.COMM_SELF)
    with Parts(light(), MPI.COMM_SELF) as parts:
        parts.physics.solve(result.rho)
        counts = parts.functionals[0].limited > 0
        stress = (np.sqrt(result.rho) * parts.physics.von_mises(0))[counts & (result.rho > 0.5)]
    assert stress.max() < 1.03 * 18
    assert result.volume < 0.6
    assert result.von_mises["tip"] > 0


def test_a_limit_that_is_exceeded_is_said(tmp_path):
    """In the message, in `feasible` and among the responses, whatever the objective says."""
    few = {"max_iterations": 3, "objective_tolerance": 0}
    result = morpho.solve(light(optimizer=few), tmp_path / "run", MPI.COMM_SELF)
    response = result.responses["highest stress"]
    assert response.value > 1.02 * response.limit == 1.02 * 18 and not response.feasible and not result.feasible
    assert "does not meet its constraints" in result.message
    assert "constraint not met: highest stress" in (tmp_path / "run" / "log.txt").read_text()


@pytest.mark.parametrize("objective", [{"kind": "stress"}, {"kind": "volume_under_stress", "limit": 1}])
def test_nothing_left_to_limit_is_refused(objective):
    everything = {"box": {"min": [0, 0], "max": [2, 1]}}
    with pytest.raises(InputError, match=r"objective\.exclude: leaves no cell"):
        Parts(light(objective=objective | {"exclude": [everything]}), MPI.COMM_SELF)


def test_a_run_goes_on_where_it_stopped(tmp_path):
    limits = [{"max_iterations": n, "move_limit": 0.15, "objective_tolerance": 0, "tolerance": 0} for n in (24, 13)]
    whole = morpho.solve(light(optimizer=limits[0]), comm=MPI.COMM_SELF)
    morpho.solve(light(optimizer=limits[1]), tmp_path / "run", MPI.COMM_SELF)
    gone_on = morpho.resume(tmp_path / "run", light(optimizer=limits[0]), MPI.COMM_SELF)
    assert gone_on.objective == pytest.approx(whole.objective, rel=1e-5)
