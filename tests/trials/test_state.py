"""Loads, supports and solver options at the edges: right numbers on both engines, or a sentence."""

from __future__ import annotations

from mpi4py import MPI

import numpy as np
import pytest
from helpers import box, make_mesh, make_problem, plane

from morpho.errors import SolverError
from morpho.fem.assembled import AssembledEquation
from morpho.fem.voxel.equation import VoxelEquation
from morpho.mesh import voxel_mesh

PART = box([4, 2])


def engines(**parts):
    """The assembled and the voxel engine on a small plate."""
    problem = make_problem(PART, **parts)
    return (
        AssembledEquation(make_mesh(PART), problem),
        VoxelEquation(voxel_mesh(problem.mesh.box, 0, MPI.COMM_SELF), problem),
    )


@pytest.mark.parametrize("size", [1e-50, 1e-44, 1e40, 1e50])
def test_loads_beyond_single_precision(size):
    loads = [{"forces": [{"region": plane("x", 1), "total": [0, value]}]} for value in (1.0, size)]
    for i, physics in enumerate(engines(loads=[{"name": f"case{i}"} | load for i, load in enumerate(loads)])):
        one, scaled = physics.solve(np.full(8, 0.5)).compliance
        assert scaled / size / size == pytest.approx(one, rel=1e-7), ("assembled", "voxel")[i]
        physics.close()


@pytest.mark.parametrize("value", [0.1, [0.0, 0.1]])
def test_supports_that_move_the_body_as_a_whole(value):
    for physics in engines(supports=[{"region": plane("x", 0), "value": value}]):
        (said,) = physics.complaints
        assert "the supports move the body as a whole" in said
    ends = [{"region": plane("x", 0)}, {"region": plane("x", 1), "value": value}]
    for physics in engines(supports=ends):
        assert physics.complaints == []
    force = [{"forces": [{"region": plane("x", 1), "total": [0, 1]}]}]
    for physics in engines(supports=[{"region": plane("x", 0), "value": value}], loads=force):
        assert physics.complaints == []


@pytest.mark.parametrize(
    "options",
    [{"ksp_type": "cg", "pc_type": "jacobi", "ksp_atol": 1e10}, {"ksp_type": "preonly", "pc_type": "jacobi"}],
)
def test_options_that_leave_the_equation_unsolved(options):
    """From Python any option may be set."""
    force = [{"forces": [{"region": plane("x", 1), "total": [0, 1]}]}]
    problem = make_problem(PART, loads=force)
    solver = problem.solver.model_copy(update={"petsc_options": options})
    physics = AssembledEquation(make_mesh(PART), problem.model_copy(update={"solver": solver}))
    with pytest.raises(SolverError, match=r"left a residual of .* look at solver\.petsc_options"):
        physics.solve(np.full(8, 0.5))
    physics.close()
