"""Functionals of the user's own: derivatives on both engines, as objective and as limit, and what goes wrong."""

from pathlib import Path

from mpi4py import MPI

import numpy as np
import pytest
from helpers import by_key, evaluate, random_cells, taylor_rates

import morpho
from morpho.errors import InputError, OwnCodeError
from morpho.functionals.functional import Value
from morpho.parts import Parts
from morpho.problem.load import parse_problem


class Mixed:
    """Of displacement, strain and density alike, and of both load cases."""

    def __init__(self, parameters, setting):
        self.setting, self.power, self.cases = setting, parameters["power"], (0, 1)

    def at(self, states):
        v, comm = self.setting.volumes * self.setting.inside, self.setting.comm
        u, e = states.centre(0), states.gradient(1)
        density = (u**self.power).sum(axis=1) + 0.3 * (e**2).sum(axis=1) * states.rho
        return Value(
            comm.allreduce(float(v @ density)),
            d_centre={0: v[:, None] * self.power * u ** (self.power - 1)},
            d_gradient={1: 0.6 * (v * states.rho)[:, None] * e},
            d_rho=0.3 * v * (e**2).sum(axis=1),
        )


class Work:
    """The displacement where the load acts, which is self-adjoint: no solve."""

    def __init__(self, parameters, setting):
        self.setting, self.cases = setting, (0,)

    def at(self, states):
        weights = np.zeros_like(states.centre(0))
        weights[:, 1] = -self.setting.volumes
        return Value(self.setting.comm.allreduce(float(np.sum(weights * states.centre(0)))), d_centre={0: weights})


def broken(parameters, setting):
    raise RuntimeError("no")


@pytest.fixture(autouse=True)
def registered():
    for name, own in (("mixed", Mixed), ("work", Work), ("broken", broken)):
        morpho.responses.register(name, own)


def problem(dim, engine="voxel", **parts):
    def cut(*values):
        return list(values[:dim])

    given = {
        "engine": engine,
        "mesh": {"box": {"size": cut(2, 1, 1), "cells": cut(8, 4, 4)}},
        "material": {"E_min_ratio": 1e-3},
        "supports": [{"region": {"plane": {"axis": "x", "at": 0}}}],
        "springs": [{"region": {"plane": {"axis": "x", "at": 2}}, "stiffness": cut(0, 0.02, 0)}],
        "loads": [
            {"name": "body", "forces": [{"body": cut(0, -1, 0)}, {"self_weight": cut(0.1, -0.4, 0.2)}]},
            {"name": "side", "forces": [{"region": {"plane": {"axis": "x", "at": 2}}, "total": cut(0.5, 0.4, 1)}]},
        ],
        "objective": {"kind": "own", "response": "mixed", "parameters": {"power": 2}, "case": "body"},
        "constraints": [
            {"volume_fraction": 0.5},
            {
                "kind": "own",
                "response": "mixed",
                "parameters": {"power": 3},
                "case": "side",
                "region": {"box": {"min": cut(1, 0, 0), "max": cut(2, 1, 1)}},
                "max": 50.0,
            },
        ],
        "design": {"filter": {"kind": "cone", "radius": 0.3}},
        "solver": {"rtol": 1e-12},
    }
    return parse_problem(given | parts, "own", Path())


@pytest.mark.parametrize(("dim", "engine"), [(dim, e) for dim in (2, 3) for e in ("voxel", "assembled")])
def test_derivatives_through_the_whole_chain(dim, engine):
    with Parts(problem(dim, engine), MPI.COMM_SELF) as parts:
        x, dx = random_cells(parts.mesh, 0.4, 0.6), random_cells(parts.mesh, -1, 1, seed=3)
        for row in (0, 2):

            def f(x, row=row):
                found = evaluate(parts, x)
                every = np.append(found.objective, found.constraints)
                return float(every[row]), np.vstack([found.d_objective, found.d_constraints])[row]

            assert taylor_rates(f, x, dx, h=2e-3).min() > 1.9


@pytest.mark.parametrize("dim", [2, 3])
def test_both_engines_find_the_same(dim):
    found = []
    for engine in ("voxel", "assembled"):
        with Parts(problem(dim, engine), MPI.COMM_SELF) as parts:
            one = evaluate(parts, random_cells(parts.mesh, 0.3, 0.7))
            d = [by_key(parts.mesh, row) for row in (one.d_objective, *one.d_constraints)]
        found.append([np.array([one.objective]), one.constraints, *d])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-9 * np.abs(theirs).max())


@pytest.mark.parametrize("engine", ["voxel", "assembled"])
def test_a_self_adjoint_one_needs_no_solve(engine):
    """And is the compliance, here that of a body force of one."""
    loads = [{"forces": [{"body": [0, -1]}]}]
    own = {"kind": "own", "response": "work"}
    with Parts(problem(2, engine, loads=loads, objective=own, constraints=[{"volfrac": 0.5}]), MPI.COMM_SELF) as parts:
        gradient = parts.source.estimate(random_cells(parts.mesh, 0.3, 0.7))
        alone = parts.physics.solve(random_cells(parts.mesh, 0.3, 0.7))
    assert gradient.values[0] == pytest.approx(gradient.compliance, rel=1e-10)
    np.testing.assert_allclose(gradient.d_values[0], gradient.d_compliance, rtol=1e-8)
    assert alone.linear_iterations <= len(loads)  # from the solution there is nothing to do, an adjoint would


@pytest.mark.parametrize("engine", ["voxel", "assembled"])
def test_values_of_loose_solves_have_a_quadratic_error(engine):
    rho = None
    errors = []
    for rtol in (1e-12, 1e-2, 1e-4):
        solver = {"rtol": 1e-12} if engine == "voxel" else {"rtol": 1e-12, "preset": "multigrid"}
        with Parts(problem(3, engine, solver=solver), MPI.COMM_SELF) as parts:
            rho = random_cells(parts.mesh, 0.3, 0.7)
            value = parts.physics.solve(rho, rtol).functionals.values[0]
        errors.append(value)
    exact, loose, tight = errors
    assert abs(loose / exact - 1) < 1e-3 and abs(tight / exact - 1) < 1e-6


def test_a_run_with_one(tmp_path):
    result = morpho.solve(problem(2, optimizer={"max_iterations": 15}), tmp_path / "run", MPI.COMM_SELF)
    assert list(result.responses)[1] == "mixed[{box: {min: [1, 0], max: [2, 1]}}, side]"
    assert result.objective < 1000


@pytest.mark.parametrize(
    ("objective", "error", "said"),
    [
        ({"kind": "own", "response": "unknown"}, InputError, "no response 'unknown' is registered"),
        ({"kind": "own"}, InputError, "response: is missing"),
    ],
)
def test_what_is_wrong_is_said(objective, error, said):
    with pytest.raises(error) as raised:
        problem(2, objective=objective | {"case": "body"})
    assert said in str(raised.value)


def test_a_factory_that_fails_is_the_users():
    objective = {"kind": "own", "response": "broken", "case": "body"}
    with pytest.raises(OwnCodeError, match="response broken could not be made"):
        Parts(problem(2, objective=objective), MPI.COMM_SELF)
