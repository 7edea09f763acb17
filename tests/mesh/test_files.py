"""Mesh files: geometry, named groups, stable cell numbers, and what is said of files that hold no usable mesh."""

from __future__ import annotations

import meshio
import numpy as np
import pytest
from dolfinx import mesh as dmesh
from helpers import CELLS, by_key, make_mesh, write_gmsh

from morpho.errors import InputError
from morpho.fem.loads import entity_measure
from morpho.mesh.select import select
from morpho.problem.regions import Region

SQUARE = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [2, 0, 0], [9, 9, 0]], dtype=float)
TRIANGLES = [("triangle", [[0, 1, 2], [0, 2, 3]])]
MESHIO = {"triangle": "triangle", "quadrilateral": "quad", "tetrahedron": "tetra", "hexahedron": "hexahedron"}


def read(path):
    """The mesh of a file."""
    return make_mesh({"file": str(path)})


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_gmsh_groups_by_name(tmp_path, cell, order):
    mesh = read(write_gmsh(tmp_path / "mesh.msh", cell, order=order))
    facet = mesh.dim - 1
    assert mesh.domain.topology.cell_name() == cell
    assert mesh.volumes.sum() == pytest.approx(1.0, rel=1e-12)
    measures = {name: entity_measure(mesh, facet, mesh.tags[name][facet]) for name in ("left", "right", "outer")}
    assert measures == pytest.approx({"left": 1.0, "right": 1.0, "outer": 2.0}, rel=1e-12)
    assert len(mesh.tags["all"][mesh.dim]) == mesh.n
    assert mesh.volumes[mesh.tags["block"][mesh.dim]].sum() == pytest.approx(0.5, rel=1e-12)
    assert mesh.centers[mesh.tags["block"][mesh.dim], 0].max() < 0.5
    corner = dmesh.entities_to_geometry(mesh.domain, 0, mesh.tags["corner"][0])[:, 0]
    np.testing.assert_allclose(mesh.domain.geometry.x[corner], [[1.0, 1.0, 0.0]], atol=1e-12)
    if mesh.dim == 3:
        assert entity_measure(mesh, 1, mesh.tags["edge"][1]) == pytest.approx(1.0, rel=1e-12)
    assert sorted(mesh.tags) == sorted(
        ["all", "block", "left", "right", "outer", "corner"] + ["edge"] * (mesh.dim == 3)
    )


@pytest.mark.parametrize("cell", CELLS)
def test_second_order_cells_are_read_as_straight_ones(tmp_path, cell):
    meshes = [read(write_gmsh(tmp_path / f"order{order}.msh", cell, order=order)) for order in (1, 2)]
    assert meshes[1].domain.geometry.cmap.degree == 1
    np.testing.assert_allclose(by_key(meshes[1], meshes[1].centers), by_key(meshes[0], meshes[0].centers), atol=1e-12)
    assert len(meshes[1].domain.geometry.x) == len(meshes[0].domain.geometry.x)


@pytest.mark.parametrize("cell", CELLS)
def test_keys_are_the_order_of_the_file(tmp_path, cell):
    path = write_gmsh(tmp_path / "mesh.msh", cell)
    data = meshio.read(path)
    cells = np.concatenate([block.data for block in data.cells if block.type == MESHIO[cell]])
    mesh = read(path)
    np.testing.assert_allclose(by_key(mesh, mesh.centers), data.points[cells].mean(axis=1), atol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_unnamed_groups_go_by_their_number(tmp_path, cell):
    path = write_gmsh(tmp_path / "mesh.msh", cell, named=False)
    mesh = read(path)
    facet = mesh.dim - 1
    right = next(name for name in mesh.tags if facet in mesh.tags[name])
    assert right.isdecimal()
    assert entity_measure(mesh, facet, mesh.tags[right][facet]) == pytest.approx(1.0, rel=1e-12)


@pytest.mark.parametrize(("dim", "cells"), [(2, TRIANGLES), (2, [("quad", [[0, 1, 2, 3]])])], ids=["tri", "quad"])
def test_vtu_leaves_out_points_that_no_cell_uses(tmp_path, dim, cells):
    meshio.Mesh(SQUARE, cells).write(tmp_path / "mesh.vtu")
    mesh = read(tmp_path / "mesh.vtu")
    assert (mesh.dim, mesh.n) == (dim, len(cells[0][1]))
    assert len(mesh.domain.geometry.x) == 4
    assert mesh.volumes.sum() == pytest.approx(1.0)


def test_plane_mesh_may_lie_at_any_height(tmp_path):
    meshio.Mesh(SQUARE + np.array([0, 0, 5]), TRIANGLES).write(tmp_path / "mesh.vtu")
    mesh = read(tmp_path / "mesh.vtu")
    assert mesh.volumes.sum() == pytest.approx(1.0)
    assert np.all(mesh.centers[:, 2] == 0)


def test_turned_cells_keep_their_volume(tmp_path):
    meshio.Mesh(SQUARE, [("triangle", [[0, 2, 1], [0, 2, 3]])]).write(tmp_path / "mesh.vtu")
    assert read(tmp_path / "mesh.vtu").volumes == pytest.approx([0.5, 0.5])


def test_abaqus_element_sets(tmp_path):
    path = tmp_path / "mesh.inp"
    path.write_text(
        "*NODE\n1, 0., 0., 0.\n2, 1., 0., 0.\n3, 1., 1., 0.\n4, 0., 1., 0.\n5, 3., 0., 0.\n6, 3., 1., 0.\n"
        "*ELEMENT, TYPE=CPS4\n1, 1, 2, 3, 4\n2, 2, 5, 6, 3\n*ELSET, ELSET=BIG\n2\n"
    )
    mesh = read(path)
    assert sorted(mesh.volumes) == pytest.approx([1.0, 2.0])
    assert mesh.volumes[mesh.tags["BIG"][2]] == pytest.approx([2.0])
    assert np.array_equal(select(mesh, Region.model_validate("BIG"), 2), mesh.tags["BIG"][2])


UNUSABLE = {
    "mixed cells": ([("quad", [[0, 1, 2, 3]]), ("triangle", [[1, 4, 2]])], "mixes quad and triangle"),
    "lines only": ([("line", [[0, 1], [1, 2]])], "has no triangles, quadrilaterals, tetrahedra or hexahedra"),
    "other cells": ([("polygon", [[0, 1, 4, 2, 3]])], "has cells of type polygon; morpho takes triangles"),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_files_without_a_usable_mesh(tmp_path, name):
    cells, said = UNUSABLE[name]
    path = tmp_path / "mesh.vtu"
    meshio.Mesh(SQUARE, cells).write(path)
    with pytest.raises(InputError, match=said) as error:
        read(path)
    assert str(error.value).startswith(f"mesh.file: {path}")


def test_surfaces_that_are_not_flat(tmp_path):
    points = SQUARE + np.outer(SQUARE[:, 0] + 2 * SQUARE[:, 1] ** 2 - SQUARE[:, 0] * SQUARE[:, 1], [0, 0, 0.1])
    meshio.Mesh(points, TRIANGLES).write(tmp_path / "mesh.vtu")
    with pytest.raises(InputError, match=r"is a surface that is not flat .* fill the surface with tetrahedra"):
        read(tmp_path / "mesh.vtu")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("mesh.vtu", "<not xml", "Couldn't read file"),
        ("mesh.msh", "nonsense", "Couldn't read file"),
        ("mesh.nothing", "nonsense", "nothing is no format that is read here; save it as gmsh .msh"),
        ("mesh.msh", "$NOD\n0\n$ENDNOD\n", "it is of version 1; save it as 4.1"),
        ("mesh.unv", "nonsense", "no dataset 2412"),
        ("mesh.inp", "nonsense", "no keyword"),
        ("mesh.msh", "$MeshFormat\n4.1 0 8\n$EndMeshFormat\n$Nodes\n1 9 1 9\n", "Could not read"),
    ],
)
def test_unreadable_files(tmp_path, name, text, said):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(InputError, match=said) as error:
        read(path)
    assert str(error.value).startswith(f"mesh.file: cannot read {path}: ")
    assert "\n" not in str(error.value)
