"""The voxel engine gives the assembled engine's numbers, on any number of ranks, and fast."""

from __future__ import annotations

import json
from pathlib import Path

from mpi4py import MPI

import numpy as np
import pytest
from helpers import evaluate, plane, random_cells, taylor_rates
from voxel_engine_facts import BOXES, LARGE, facts, problem, smooth_density

import morpho
from morpho.errors import InputError, SolverError
from morpho.mesh import VoxelMesh
from morpho.parts import Parts

PROBLEMS = Path(__file__).parents[2] / "problems"
CLAMPED = [{"region": plane("x", 0)}]
CANTILEVER = ["mesh.box.cells=[32,16,16]", "design.filter.radius=0.125", "solver.rtol=1e-5"]


@pytest.fixture(scope="module")
def alone():
    return facts(MPI.COMM_SELF)


def test_equal_to_the_assembled_engine(alone):
    differences = {name: value for name, value in alone.items() if name.endswith("differs by")}
    assert len(differences) == 5 * len(BOXES)
    assert max(differences.values()) < 1e-8, differences


def check_void(found):
    """Most of the box is left out, and nothing but rounding of what void carries is missed."""
    for name in BOXES | LARGE:
        if name not in ("flat", "slender"):
            assert 0.2 < found[f"{name} without void: left out"] < 0.95, name
        assert found[f"{name} without void: compliance"] < 1e-6, name
        assert found[f"{name} without void: derivative"] < 1e-5, name


def test_void_makes_no_difference(alone):
    check_void(alone)


@pytest.mark.parametrize("ranks", [2, 3])
def test_equal_on_several_ranks(mpirun, alone, ranks):
    found = json.loads(mpirun(ranks, Path(__file__).with_name("voxel_engine_facts.py")))
    assert max(value for name, value in found.items() if name.endswith("differs by")) < 1e-8
    check_void(found)
    for name in BOXES | LARGE:
        assert found[f"{name} without void: left out"] == alone[f"{name} without void: left out"]
    for name in BOXES:
        np.testing.assert_allclose(found[f"{name}: compliance"], alone[f"{name}: compliance"], rtol=1e-9)


@pytest.mark.parametrize("rule", ["cone", "helmholtz"])
@pytest.mark.parametrize("name", ["odd", "odd bricks"])
def test_taylor(name, rule):
    """The whole chain from x, with self weight and moving supports."""
    given = problem(
        BOXES[name],
        "voxel",
        design={"filter": {"kind": rule, "radius": 0.5}, "projection": {"beta": 2.0, "eta": 0.4}},
        material={"E_min_ratio": 1e-3},
    )
    with Parts(given, MPI.COMM_SELF) as parts:

        def value(x):
            found = evaluate(parts, x)
            return found.objective, found.d_objective

        x, dx = random_cells(parts.mesh, 0.3, 0.7), random_cells(parts.mesh, -1.0, 1.0, seed=1)
        assert taylor_rates(value, x, dx).min() >= 1.9


def test_rate_of_convergence():
    """Energy of a smooth problem converges with h^2: a bar under its own weight, fixed at both ends."""
    energies = []
    for n in (4, 8, 16, 32):
        box = {"size": [1.0, 1.0, 1.0], "cells": [n] * 3}
        given = problem(
            box,
            "voxel",
            supports=[{"region": plane(axis, at)} for axis in "xyz" for at in (0, 1)],
            loads=[{"forces": [{"body": [1.0, 0.5, -0.2]}]}],
        )
        with Parts(given, MPI.COMM_SELF) as parts:
            energies.append(parts.physics.solve(np.ones(parts.mesh.n)).compliance[0])
    first, second, third = np.diff(energies)
    assert np.log2(first / second) > 1.6
    assert np.log2(second / third) > 1.8


def test_iterations_stay_low_on_a_black_and_white_design():
    """From a grey start to struts: a warm-started solve to 1e-5 takes less than 40 iterations throughout."""
    given = morpho.load_problem(PROBLEMS / "cantilever_3d.yaml", [*CANTILEVER, "optimizer.max_iterations=30"])
    iterations, before = [], 0
    for step in morpho.iterate(given, MPI.COMM_SELF):
        iterations.append(step.linear_iterations - before)
        before = step.linear_iterations
    assert step.greyness < 0.3
    assert iterations[0] <= 14
    assert max(iterations) < 40


@pytest.mark.parametrize(("rtol", "most"), [(1e-5, 20), (1e-8, 160)])
def test_islands(rtol, most):
    """Solid islands in void of 1e-9 cost nothing at 1e-5, and some iterations when the last digits are wanted."""
    box = {"size": [2.0, 1.0, 1.0], "cells": [24, 12, 12]}
    end = {"all_of": [plane("x", 2), {"box": {"min": [0, 0, 0], "max": [2, 1, 0.3]}}]}
    case = {"forces": [{"region": end, "total": [0, 0, -1]}]}
    given = problem(
        box,
        "voxel",
        material={"E_min_ratio": 1e-9},
        loads=[case],
        solver={"rtol": rtol},
        supports=[{"region": plane("x", 0)}],
    )
    with Parts(given, MPI.COMM_SELF) as parts:
        rho = np.zeros(parts.mesh.shape)
        rho[:4] = 1.0
        rho[6:9, 3:6, 8:12] = rho[10:, 9:, 20:] = 1.0
        assert parts.physics.solve(rho.ravel()).linear_iterations < most


def test_restart_from_the_lowest_corners():
    box = BOXES["odd bricks"]
    with Parts(problem(box, "voxel"), MPI.COMM_SELF) as parts:
        rho = smooth_density(box)
        parts.physics.solve(rho)
        again = parts.physics.solve(rho).linear_iterations
        saved = [parts.physics.displacement(i) for i in range(2)]
        parts.physics.set_displacement(0, saved[0])
        np.testing.assert_allclose(parts.physics.displacement(0), saved[0])
    assert again == 0


def test_stop_at_the_sensitivities():
    """Stopping when the derivatives have settled saves iterations, and the derivatives are as good as asked for."""
    cases = {}
    for stop in ("residual", "sensitivity"):
        overrides = ["mesh.box.cells=[32,16,16]", f"solver.stop={stop}", "solver.sensitivity_rtol=1e-3"]
        with Parts(morpho.load_problem(PROBLEMS / "cantilever_3d.yaml", overrides), MPI.COMM_SELF) as parts:
            cases[stop] = parts.physics.solve(random_cells(parts.mesh, 0.2, 0.8))
    exact, early = cases["residual"], cases["sensitivity"]
    assert early.linear_iterations < exact.linear_iterations
    error = np.linalg.norm(early.d_compliance - exact.d_compliance) / np.linalg.norm(exact.d_compliance)
    assert error < 2e-3


def test_not_converging_is_an_error():
    given = problem(BOXES["even"], "voxel", solver={"rtol": 1e-12, "max_iterations": 3})
    with (
        Parts(given, MPI.COMM_SELF) as parts,
        pytest.raises(SolverError, match=r"did not reach a relative residual of 1e-12 in 3"),
    ):
        parts.physics.solve(smooth_density(BOXES["even"]))


def test_densities_that_are_no_numbers_are_an_error():
    with Parts(problem(BOXES["even"], "voxel"), MPI.COMM_SELF) as parts, pytest.raises(SolverError):
        parts.physics.solve(np.full(parts.mesh.n, np.nan))


@pytest.mark.parametrize(
    ("change", "engine"),
    [
        ({}, "voxel"),
        ({"solver": {"preset": "multigrid"}}, "voxel"),
        ({"solver": {"preset": "direct"}}, "assembled"),
        ({"solver": {"degree": 2}}, "assembled"),
        ({"solver": {"petsc_options": {"ksp_type": "fcg"}}}, "assembled"),
        ({"mesh": {"box": BOXES["odd"] | {"cell": "triangle"}}}, "assembled"),
        ({"engine": "assembled"}, "assembled"),
    ],
)
def test_the_engine_is_chosen(change, engine):
    given = problem(BOXES["odd"], "auto", supports=[{"region": plane("x", -1.0)}]).model_dump(exclude_unset=True)
    with Parts(morpho.Problem.model_validate(given | change), MPI.COMM_SELF) as parts:
        assert isinstance(parts.mesh, VoxelMesh) == (engine == "voxel")


def test_an_engine_that_cannot_do_it_says_why():
    solver = {"degree": 2, "preset": "direct", "petsc_options": {"ksp_type": "cg"}}
    given = problem(BOXES["odd"] | {"cell": "triangle"}, "voxel", solver=solver)
    with pytest.raises(InputError) as caught:
        Parts(given, MPI.COMM_SELF)
    said = str(caught.value).splitlines()
    assert len(said) == 4
    assert all(line.startswith("engine: the voxel engine cannot be used: ") for line in said)


def test_the_assembled_engine_has_no_such_stop():
    given = problem(BOXES["even"], "assembled", solver={"stop": "sensitivity"})
    with pytest.raises(InputError, match=r"solver\.stop: the assembled engine stops on the residual only"):
        Parts(given, MPI.COMM_SELF)


def test_units_do_not_matter():
    """A modulus far from one takes the same iterations; as a power of two it does not change what is rounded off."""
    found = []
    for E in (1.0, 2.0**83):
        with Parts(problem(BOXES["even"], "voxel", material={"E": E}, supports=CLAMPED), MPI.COMM_SELF) as parts:
            state = parts.physics.solve(smooth_density(BOXES["even"]))
            found.append((state.linear_iterations, *(state.compliance * E)))
    np.testing.assert_array_equal(found[0], found[1])


def test_a_refined_box_is_a_finer_box():
    box = {"size": [2.0, 1.0], "cells": [8, 4]}
    with Parts(problem(box, "voxel", mesh={"box": box, "refine": 1}), MPI.COMM_SELF) as parts:
        assert parts.mesh.cells == (16, 8)
