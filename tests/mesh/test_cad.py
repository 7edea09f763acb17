"""STEP parts: tetrahedra, faces by number and by name, holes that keep their radius, forces on them."""

from math import pi

from mpi4py import MPI

import numpy as np
import pytest
from cad_parts import RADIUS, draw_plate, drawing
from dolfinx.mesh import entities_to_geometry
from typer.testing import CliRunner

from morpho.cli import app
from morpho.errors import InputError
from morpho.mesh import cad
from morpho.mesh.file import read_mesh
from morpho.mesh.select import select
from morpho.parts import Parts
from morpho.problem.load import parse_problem
from morpho.problem.regions import Region


@pytest.fixture(scope="module")
def plate(tmp_path_factory):
    return draw_plate(tmp_path_factory.mktemp("cad") / "plate.step")


@pytest.fixture(scope="module")
def assembly(tmp_path_factory):
    """Two bricks that touch, and one that does not."""
    path = tmp_path_factory.mktemp("cad") / "assembly.step"
    with drawing(path) as occ:
        for x in (0, 2, 5):
            occ.addBox(x, 0, 0, 2, 2, 2)
    return path


def hole_of(path):
    (found,) = [face for face in cad.faces(str(path)) if face.kind == "Cylinder"]
    return found


def held(path, force, size=2.0):
    given = {
        "mesh": {"file": str(path), "size": size},
        "supports": [{"region": {"plane": {"axis": "x", "at": 40}}}],
        "loads": [{"forces": [force]}],
        "constraints": [{"volume_fraction": 0.5}],
    }
    return parse_problem(given, "plate", path.parent)


def nodal_forces(parts):
    """Places and forces of the nodes of the only load case."""
    force = parts.physics.loads[0].reshape(-1, 3)
    return zip(parts.physics.V.tabulate_dof_coordinates()[: len(force)], force, strict=True)


def test_the_faces_of_a_part(plate):
    found, hole = cad.faces(str(plate)), hole_of(plate)
    assert [face.number for face in found] == list(range(1, 8))
    assert hole.radius == pytest.approx(RADIUS) and hole.area == pytest.approx(2 * pi * RADIUS * 5)
    np.testing.assert_allclose(hole.centre, [10, 10, 2.5], atol=1e-9)
    assert np.linalg.norm(np.cross(hole.points[:, 1] - hole.points[:, 0], hole.points[:, 2] - hole.points[:, 0]),
                          axis=1).sum() / 2 == pytest.approx(hole.area, rel=0.03)  # fmt: skip


def test_normals_point_outwards(plate):
    for face in cad.faces(str(plate)):
        normals = np.cross(face.points[:, 1] - face.points[:, 0], face.points[:, 2] - face.points[:, 0])
        away = face.points.mean(axis=1) - [20, 10, 2.5]
        if face.kind == "Cylinder":
            away = [10, 10, 2.5] - face.points.mean(axis=1)
            away[:, 2] = 0
        assert np.all(np.einsum("ni,ni->n", normals, away) > 0)
        assert face.kind == "Cylinder" or face.normal @ (face.centre - [20, 10, 2.5]) > 0


def test_the_volume_is_that_of_the_part_and_the_hole_keeps_its_radius(plate):
    mesh = read_mesh(str(plate), MPI.COMM_SELF, 1.5)
    exact = 40 * 20 * 5 - pi * RADIUS**2 * 5
    assert mesh.total_volume == pytest.approx(exact, rel=2e-3)
    facets = select(mesh, Region.model_validate({"face": hole_of(plate).number}), 2)
    assert len(facets) > 50
    nodes = mesh.domain.geometry.x[entities_to_geometry(mesh.domain, 2, facets).ravel()]
    np.testing.assert_allclose(np.hypot(*(nodes[:, :2] - 10).T), RADIUS, rtol=1e-9)


def test_a_pin_presses_on_one_half_of_its_hole(plate):
    number = hole_of(plate).number
    with Parts(held(plate, {"region": {"face": number}, "bearing": [100, 0, 0]}), MPI.COMM_SELF) as parts:
        (applied,) = parts.physics.applied
        pressed = [at for at, force in nodal_forces(parts) if abs(force[0]) > 0.01]
    np.testing.assert_allclose(applied.total, [100, 0, 0], atol=1e-9)
    np.testing.assert_allclose(applied.moment, np.cross([10, 10, 2.5], [100, 0, 0]), rtol=0.02, atol=20)
    assert min(x for x, _, _ in pressed) > 9.5


def test_solids_that_touch_are_joined_and_all_are_read(assembly):
    mesh = read_mesh(str(assembly), MPI.COMM_SELF, 1.0)
    assert mesh.total_volume == pytest.approx(24)
    assert mesh.coincident == 0
    assert "3 solids; those that touch are joined" in " ".join(mesh.notes)


@pytest.mark.parametrize("size", [1e-3, 100.0])
def test_a_size_that_does_not_suit_the_part_is_refused(plate, size):
    with pytest.raises(InputError, match=r"mesh.size: got .*reaches from \(0, 0, 0\) to \(40, 20, 5\)"):
        read_mesh(str(plate), MPI.COMM_SELF, size)


def test_faces_without_a_solid_are_refused(tmp_path):
    with drawing(tmp_path / "sheet.step") as occ:
        occ.addRectangle(0, 0, 0, 1, 1)
    with pytest.raises(InputError, match="holds 1 faces and no solid"):
        read_mesh(str(tmp_path / "sheet.step"), MPI.COMM_SELF, 0.1)


def test_what_is_no_step_file_is_said(tmp_path):
    (tmp_path / "part.step").write_text("solid\n")
    with pytest.raises(InputError, match="cannot read"):
        read_mesh(str(tmp_path / "part.step"), MPI.COMM_SELF, 0.1)


@pytest.mark.parametrize(
    ("mesh", "said"),
    [
        ({"file": "plate.step"}, "is a CAD part: give size"),
        ({"file": "plate.msh", "size": 1}, "size is for CAD files"),
        ({"box": {"size": [1, 1], "cells": [2, 2]}, "size": 1}, "size is for CAD files"),
    ],
)
def test_size_goes_with_cad(plate, mesh, said):
    with pytest.raises(InputError, match=said):
        parse_problem({"mesh": mesh, "loads": [], "supports": [], "constraints": []}, "p", plate.parent)


@pytest.mark.parametrize("face", ["top", [], True])
def test_face_is_a_number(face):
    with pytest.raises(ValueError, match="give the number of a face"):
        Region.model_validate({"face": face})


def test_check_lists_and_pictures_the_faces(plate, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plate.yaml").write_text(f"mesh: {{file: {plate}}}\n")
    done = CliRunner().invoke(app, ["check", "plate.yaml", "--faces"])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "plate_faces.png").stat().st_size > 10_000


def test_what_is_near_a_face(plate):
    """The cells within a distance of a hole, by their centres; everything else is farther."""
    mesh, number = read_mesh(str(plate), MPI.COMM_SELF, 2.0), hole_of(plate).number
    near = select(mesh, Region.model_validate({"near": {"region": {"face": number}, "distance": 3}}), 3)
    radius = np.hypot(*(mesh.centers[:, :2] - 10).T)
    assert np.isin(np.flatnonzero(radius < RADIUS + 2.8), near).all()
    assert radius[near].max() <= RADIUS + 3
