"""Stress beside loads and supports is left out of what is certified."""

import json

from mpi4py import MPI

import numpy as np
import pytest
from helpers import box, make_problem, plane
from running import run as start

import morpho
from morpho.judge import finished_parts
from morpho.pads import away_from_pads
from morpho.problem import dump_problem

KINDS = [("voxel", None), ("assembled", "hexahedron"), ("assembled", "tetrahedron")]


def beam(engine, cell, n=1, supports=None, forces=None):
    """Held on the left, loaded along an edge on the right, where the stress grows with the mesh."""
    edge = {"all_of": [plane("x", 4), plane("z", 0)]}
    return make_problem(
        box([16 * n, 4 * n, 4 * n], [4.0, 1.0, 1.0], cell),
        loads=[{"name": "tip", "forces": forces or [{"region": edge, "total": [0, 0, -1]}]}],
        supports=supports or [{"region": plane("x", 0)}],
        constraints=[{"volume_fraction": 0.5}],
        design={"filter": {"kind": "cone", "radius": 0.5}},
        optimizer={"max_iterations": 2},
        solver={"rtol": 1e-9},
        engine=engine,
    )


@pytest.mark.parametrize(("engine", "cell"), KINDS)
def test_cells_within_two_edges_are_left_out(engine, cell):
    problem = beam(engine, cell)
    with finished_parts(problem, MPI.COMM_SELF) as parts:
        away = away_from_pads(parts, 0)
        x = np.concatenate([np.array(part) for part in parts.mesh.places(cells=True)])
    edge = 0.25
    assert not away[x[:, 0] < 1.2 * edge].any() and away[(x[:, 0] > 2.5 * edge) & (x[:, 0] < 3.4)].all()
    to_edge = np.hypot(x[:, 0] - 4, x[:, 2])
    assert not away[to_edge < 1.2 * edge].any() and away[(x[:, 0] > 2) & (to_edge > 2.2 * edge)].all()


@pytest.mark.parametrize(("engine", "cell"), KINDS)
def test_a_force_at_a_point_does_not_count(engine, cell):
    """Pulled at one node: far from it the stress is near force over area."""
    pull = [{"region": {"points": [[4, 0.5, 0.5]]}, "point": [1, 0, 0]}]
    found = morpho.analyse(beam(engine, cell, forces=pull), comm=MPI.COMM_SELF).cases["tip"]
    assert found.von_mises_away < 2.5 and found.von_mises > 2.5 * found.von_mises_away


@pytest.mark.parametrize(("engine", "cell"), KINDS)
def test_symmetry_and_weight_are_no_pads(engine, cell):
    planes = [{"region": plane(axis, 0), "fix": axis} for axis in "xyz"]
    problem = beam(engine, cell, supports=planes, forces=[{"body": [1, 0, 0]}])
    with finished_parts(problem, MPI.COMM_SELF) as parts:
        assert away_from_pads(parts, 0).all()


@pytest.mark.parametrize(("engine", "cell"), KINDS[::2])
def test_it_is_noted_and_the_same_on_three_ranks(tmp_path, engine, cell):
    problem = beam(engine, cell)
    (tmp_path / "beam.yaml").write_text(dump_problem(problem))
    assert start(2, "solve", tmp_path / "beam.yaml", "--output", tmp_path / "run", cwd=tmp_path).returncode == 0
    said = start(3, "export", tmp_path / "run", "--certify", cwd=tmp_path)
    assert "leaves out the cells within two edges" in said.stdout
    part = morpho.analyse(problem, tmp_path / "run", MPI.COMM_SELF, threshold=True).cases["tip"]
    noted = json.loads((tmp_path / "run" / "result.json").read_text())["as_built"]["cases"]["tip"]
    assert noted["von_mises_away"] == pytest.approx(part.von_mises_away, rel=1e-4)
    assert noted["von_mises_away"] <= noted["von_mises"] == pytest.approx(part.von_mises, rel=1e-4)
