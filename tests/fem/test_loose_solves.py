"""Solves that are asked for less than the problem's tolerance, with either engine."""

from __future__ import annotations

from mpi4py import MPI

import numpy as np
import pytest
from helpers import plane
from voxel_engine_facts import problem, smooth_density, voxel_key

from morpho.errors import SolverError
from morpho.parts import Parts

BOX = {"size": [2.0, 1.0, 1.0], "cells": [12, 6, 6]}
CLAMPED = [{"region": plane("x", 0)}]
WEAK_VOID = {"E_min_ratio": 1e-3}

each_engine = pytest.mark.parametrize("engine", ["voxel", "assembled"])
each_limit = pytest.mark.parametrize("limit", [{"rtol": 0.1}, {"at_most": 2}, {"rtol": 1e-12, "at_most": 2}])


def opened(engine, rtol=1e-9, preset="multigrid", **given):
    """Two load cases on a brick, one of them with self weight, solved by iteration."""
    solver = {"preset": preset, "rtol": rtol, **given}
    return Parts(problem(BOX, engine, solver=solver, supports=CLAMPED, material=WEAK_VOID), MPI.COMM_SELF)


def density(parts):
    return smooth_density(BOX)[voxel_key(parts.mesh, BOX)]


@pytest.mark.parametrize("at_most", [1, 2, 5])
@each_engine
def test_no_more_iterations_than_asked_for(engine, at_most):
    with opened(engine) as parts:
        state = parts.physics.solve(density(parts), at_most=at_most)
        assert state.linear_iterations == at_most * len(parts.physics.cases)
        assert not state.converged


@each_engine
def test_a_solve_improves_step_by_step(engine):
    """Compliance of a displacement that is not exact is too small; every step of conjugate gradients adds to it."""
    with opened(engine) as parts:
        rho = density(parts)
        compliance = [parts.physics.solve(rho, at_most=1).compliance for _ in range(6)]
        exact = parts.physics.solve(rho)
        assert exact.converged
        errors = (exact.compliance - compliance) / exact.compliance
        assert np.all(errors > 0)
        assert np.all(np.diff(errors, axis=0) < 0)
        assert np.all(errors[-1] < 0.1 * errors[0])


@each_engine
def test_a_loose_tolerance_takes_fewer_iterations(engine):
    iterations, errors = [], []
    with opened(engine) as parts:
        exact = parts.physics.solve(density(parts)).compliance
    for rtol in (0.3, 1e-2, 1e-4):
        with opened(engine) as parts:
            state = parts.physics.solve(density(parts), rtol=rtol)
            assert not state.converged
            iterations.append(state.linear_iterations)
            errors.append(np.max(1 - state.compliance / exact))
    assert iterations[0] < iterations[1] < iterations[2]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-5


@each_limit
@each_engine
def test_the_next_solve_is_as_good_as_ever(engine, limit):
    """What one solve was asked for does not stay in force."""
    with opened(engine) as parts:
        expected = parts.physics.solve(density(parts))
    with opened(engine) as parts:
        loose = parts.physics.solve(density(parts), **limit)
        state = parts.physics.solve(density(parts))
        assert (loose.converged, expected.converged, state.converged) == (False, True, True)
        np.testing.assert_allclose(state.compliance, expected.compliance, rtol=1e-9)
        np.testing.assert_allclose(state.energy, expected.energy, atol=1e-6 * expected.energy.max())


@each_engine
def test_more_iterations_than_needed_are_not_taken(engine):
    with opened(engine) as parts:
        expected = parts.physics.solve(density(parts))
    with opened(engine) as parts:
        state = parts.physics.solve(density(parts), at_most=100)
        assert state.converged
        assert state.linear_iterations == expected.linear_iterations


@each_engine
def test_a_tolerance_out_of_reach_is_an_error(engine):
    """With `rtol`, max_iterations still holds; only `at_most` makes it good enough."""
    with opened(engine, max_iterations=3) as parts:
        with pytest.raises(SolverError):
            parts.physics.solve(density(parts), rtol=1e-6)
        assert not parts.physics.solve(density(parts), at_most=2).converged


def test_a_direct_solver_is_always_exact():
    with opened("assembled") as parts:
        expected = parts.physics.solve(density(parts)).compliance
    with opened("assembled", preset="direct") as parts:
        state = parts.physics.solve(density(parts), rtol=0.5, at_most=1)
        assert state.converged
        np.testing.assert_allclose(state.compliance, expected, rtol=1e-9)


@pytest.mark.parametrize("loosely", ["asked for less", "as the problem says"])
@each_engine
def test_lost_stiffness_is_seen_from_a_warm_start(engine, loosely):
    """A bar that is cut but for a ligament leaves a small residual at once: soft motions take little force."""
    rtol = 0.3 if loosely == "as the problem says" else 1e-9
    with opened(engine, rtol) as parts:
        whole, ligament = np.ones((6, 6, 12)), (slice(0, 2), slice(0, 2))
        cut = whole.copy()
        cut[:, :, 5:7] = 0.01
        cut[(*ligament, slice(5, 7))] = 1.0
        whole, cut = (rho.ravel()[voxel_key(parts.mesh, BOX)] for rho in (whole, cut))
        parts.physics.solve(whole, rtol=1e-10)
        found = parts.physics.solve(cut, rtol=0.3 if loosely == "asked for less" else None).compliance
        exact = parts.physics.solve(cut, rtol=1e-10).compliance
    assert np.all(found > 0.8 * exact)
