"""Couples, remote forces and bearing loads: resultant and moment as given, on both engines."""

from pathlib import Path

from mpi4py import MPI

import numpy as np
import pytest
from helpers import box, plane

from morpho.errors import InputError
from morpho.parts import Parts
from morpho.problem.load import parse_problem

END, EDGE = plane("x", 2), {"all_of": [plane("x", 2), plane("y", 0)]}


def bar(force, engine="voxel", dim=3, cell=None):
    size, cells = ([2, 1, 1.5], [8, 4, 6]) if dim == 3 else ([2, 1], [8, 4])
    given = {
        "engine": engine,
        "mesh": box(cells, size, cell) if cell else {"box": {"size": size, "cells": cells}},
        "supports": [{"region": plane("x", 0)}],
        "loads": [{"forces": [force]}],
        "constraints": [{"volume_fraction": 0.5}],
        "solver": {"rtol": 1e-10},
    }
    return parse_problem(given, "bar", Path())


CASES = [
    (3, {"region": END, "moment": [0.3, -0.5, 2.0]}, [0, 0, 0], [0.3, -0.5, 2.0]),
    (3, {"region": END, "total": [1, 2, 3], "at": [5, 0, 1]}, [1, 2, 3], np.cross([5, 0, 1], [1, 2, 3])),
    (3, {"region": EDGE, "moment": [1, 0, 0]}, [0, 0, 0], [1, 0, 0]),
    (2, {"region": END, "moment": 0.7}, [0, 0], [0, 0, 0.7]),
    (2, {"region": END, "total": [0, -1], "at": [4, 0.5]}, [0, -1], [0, 0, -4]),
    (3, {"region": END, "total": [1, 2, 3]}, [1, 2, 3], np.cross([2, 0.5, 0.75], [1, 2, 3])),
    (3, {"region": plane("y", 1), "pressure": 2}, [0, -6, 0], np.cross([1, 1, 0.75], [0, -6, 0])),
    (3, {"body": [0, 0, -1]}, [0, 0, -3], np.cross([1, 0.5, 0.75], [0, 0, -3])),
    (3, {"self_weight": [0, 0, -1]}, [0, 0, -3], np.cross([1, 0.5, 0.75], [0, 0, -3])),
]


@pytest.mark.parametrize(("dim", "force", "total", "moment"), CASES)
@pytest.mark.parametrize(("engine", "cell"), [("voxel", None), ("assembled", None), ("assembled", "simplex")])
def test_resultant_and_moment_are_those_given(dim, force, total, moment, engine, cell):
    cell = {2: "triangle", 3: "tetrahedron"}[dim] if cell else None
    with Parts(bar(force, engine, dim, cell), MPI.COMM_SELF) as parts:
        (applied,) = parts.physics.applied
    np.testing.assert_allclose(applied.total, total, atol=1e-12)
    np.testing.assert_allclose(applied.moment, moment, atol=1e-11)


@pytest.mark.parametrize("engine", ["voxel", "assembled"])
def test_a_couple_bends_a_bar_as_beam_theory_says(engine):
    """A traction that is linear over the section is the exact solution: the slope at the end is M L / (E I)."""
    moment, inertia = 0.01, 1.0 / 12
    with Parts(bar({"region": END, "moment": moment}, engine, dim=2), MPI.COMM_SELF) as parts:
        work = parts.physics.solve(np.ones(parts.mesh.n)).compliance[0]
    assert work == pytest.approx(moment**2 * 2 / inertia, rel=0.05)


def test_both_engines_agree():
    force = {"region": END, "total": [1, 2, 3], "at": [5, 0, 1]}
    found = []
    for engine in ("voxel", "assembled"):
        with Parts(bar(force, engine), MPI.COMM_SELF) as parts:
            found.append(parts.physics.solve(np.ones(parts.mesh.n)).compliance[0])
    assert found[0] == pytest.approx(found[1], rel=1e-8)


@pytest.mark.parametrize(
    ("dim", "force", "said"),
    [
        (3, {"region": EDGE, "moment": [0, 0, 0]}, "moment: got nothing but zeros"),
        (3, {"region": END, "moment": 2}, "moment: got one number, the mesh is 3-dimensional; give three"),
        (2, {"region": END, "moment": [0, 0, 2]}, "moment: got 3 numbers, the mesh is 2-dimensional; give one"),
        (3, {"region": END, "traction": [0, 0, 1], "at": [0, 0, 0]}, "at goes with a total force"),
        (3, {"region": {"points": [[2, 0, 0]]}, "moment": [1, 0, 0]}, "take no moment; choose a larger region"),
        (3, {"region": EDGE, "moment": [0, 0, 1e-3], "name": 1}, "name"),
        (3, {"region": END, "bearing": [1, 0, 0]}, "none of its facets faces the force"),
    ],
)
def test_what_cannot_be_is_said(dim, force, said):
    with pytest.raises(InputError) as error:
        Parts(bar(force, dim=dim), MPI.COMM_SELF)
    assert said in str(error.value)
