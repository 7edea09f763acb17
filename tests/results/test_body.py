"""The exported surface of a voxelized part: its walls are those of the CAD part, halves are completed."""

from mpi4py import MPI

import numpy as np
import pytest
import trimesh
from cad_parts import RADIUS, draw_plate
from part_facts import HOLE, problem

import morpho
from morpho.results.designs import load_design
from morpho.results.surface import export, whole_design

FEW = {"max_iterations": 3, "objective_tolerance": 0}
KEPT = {"filter": {"radius": 3.0}, "passive": {"solid": [{"near": {"region": HOLE, "distance": 3}}]}}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Three designs of the plate with a hole."""
    folder = tmp_path_factory.mktemp("body")
    draw_plate(folder / "plate.step")
    given = problem(folder / "plate.step", optimizer=FEW, design=KEPT)
    morpho.solve(given, folder / "run", MPI.COMM_SELF)
    return folder / "run"


def test_walls_are_those_of_the_part(run, tmp_path):
    figures = export(run, tmp_path / "part.stl")
    assert figures["watertight"] and figures["volume"] == pytest.approx(figures["design_volume"], rel=5e-3)
    x = trimesh.load(tmp_path / "part.stl").vertices
    away = np.hypot(x[:, 0] - 10, x[:, 1] - 10)
    wall = away[(away < RADIUS + 1) & (x[:, 2] > 0.5) & (x[:, 2] < 4.5)]
    assert len(wall) > 50 and np.abs(wall - RADIUS).max() < 0.1  # a voxel is 1.25 wide
    assert x.min() > -1e-6 and x[:, 2].max() < 5 + 1e-6


def test_cells_that_exist_are_marked(run):
    design = load_design(run)
    inside = np.asarray(design.cell_data["inside"]) > 0
    assert not np.asarray(design.cell_data["physical_density"])[~inside].any()
    assert 0 < inside.sum() < design.n_cells
    assert (run / "part.stl").is_file()


def test_walls_are_as_far_away_as_the_cad_part_says(run):
    design = whole_design(run)
    x, wall = np.asarray(design.points), np.asarray(design.point_data["wall"])
    away = np.hypot(x[:, 0] - 10, x[:, 1] - 10)
    near = (np.abs(away - RADIUS) < 1) & (x[:, 2] == 2.5)
    assert near.sum() > 20
    assert wall[near] * design.spacing[0] == pytest.approx(RADIUS - away[near], abs=0.02)


def test_a_run_goes_on_and_is_analysed_again(run):
    given = problem(run.parent / "plate.step", optimizer=FEW | {"max_iterations": 5}, design=KEPT)
    result = morpho.resume(run, given, MPI.COMM_SELF)
    assert result.iterations == 5
    (case,) = morpho.analyse(given, run, MPI.COMM_SELF).cases.values()
    assert case.compliance == pytest.approx(next(iter(result.compliance.values())), rel=1e-4)
