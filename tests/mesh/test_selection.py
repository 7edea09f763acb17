"""Which cells, facets, edges and vertices a region selects."""

from __future__ import annotations

import numpy as np
import pytest
from dolfinx import mesh as dmesh
from helpers import CELLS, box, make_mesh, plane, unit_box, write_gmsh

from morpho.fem.loads import entity_measure
from morpho.mesh.select import advice, nearest_vertices, select
from morpho.problem.regions import Region


def region(value) -> Region:
    """A region from what stands in a problem file."""
    return Region.model_validate(value)


def measure(mesh, value, dim) -> float:
    """Number of vertices, length, area or volume of what a region selects."""
    entities = select(mesh, region(value), dim)
    return mesh.volumes[entities].sum() if dim == mesh.dim else entity_measure(mesh, dim, entities)


@pytest.mark.parametrize("cell", CELLS)
def test_plane(cell):
    mesh = make_mesh(unit_box(cell, 4))
    assert measure(mesh, plane("y", 1), mesh.dim - 1) == pytest.approx(1.0, rel=1e-12)
    assert measure(mesh, plane("y", 1), 0) == 5 ** (mesh.dim - 1)
    assert measure(mesh, plane("y", 1), mesh.dim) == 0
    assert measure(mesh, plane("y", 1.0001), 0) == 0


@pytest.mark.parametrize("cell", CELLS)
def test_facets_are_those_of_the_boundary(cell):
    mesh = make_mesh(unit_box(cell, 4))
    assert measure(mesh, {"box": {"min": [0.4] * mesh.dim, "max": [0.8] * mesh.dim}}, mesh.dim - 1) == 0
    assert measure(mesh, plane("x", 0.5), 0) == 5 ** (mesh.dim - 1)
    whole = {"box": {"min": [0, 0], "max": [1, 1]}}
    assert measure(mesh, whole, mesh.dim - 1) == pytest.approx(2 * mesh.dim, rel=1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_box_takes_cells_by_centre_and_facets_by_their_vertices(cell):
    mesh = make_mesh(unit_box(cell, 4))
    part = {"box": {"min": [0.5, 0.25, 0.0][: mesh.dim], "max": [1.0, 1.0, 1.0][: mesh.dim]}}
    assert measure(mesh, part, mesh.dim) == pytest.approx(0.5 * 0.75, rel=1e-12)
    right = {"all_of": [part, plane("x", 1)]}
    assert measure(mesh, right, mesh.dim - 1) == pytest.approx(0.75, rel=1e-12)
    thin = {"box": {"min": [0.9, 0.3], "max": [1.0, 0.6]}}  # one row of vertices, no facet
    assert measure(mesh, thin, mesh.dim - 1) == 0
    assert measure(mesh, thin, 0) == 5 ** (mesh.dim - 2)


def test_sphere():
    mesh = make_mesh(unit_box("hexahedron", 4))
    assert measure(mesh, {"sphere": {"center": [0, 0, 0], "radius": 0.25}}, 0) == 4
    assert measure(mesh, {"sphere": {"center": [0, 0, 0], "radius": 0.25}}, 1) == pytest.approx(0.75)
    assert measure(mesh, {"sphere": {"center": [0, 0, 0], "radius": 0.25}}, 2) == 0
    assert measure(mesh, {"sphere": {"center": [0, 0, 0], "radius": 0.36}}, 2) == pytest.approx(3 / 16)
    assert measure(mesh, {"sphere": {"center": [0, 0, 0], "radius": 0.22}}, 3) == pytest.approx(1 / 64)


def test_disc():
    mesh = make_mesh(box([40, 40]))
    disc = {"sphere": {"center": [0.5, 0.5], "radius": 0.4}}
    assert measure(mesh, disc, 2) == pytest.approx(np.pi * 0.16, rel=0.01)


@pytest.mark.parametrize("axis", "xyz")
def test_cylinder(axis):
    mesh = make_mesh(unit_box("hexahedron", 8))
    whole = {"cylinder": {"center": [0.5, 0.5, 0.5], "radius": 0.4, "axis": axis}}
    cut = {"cylinder": whole["cylinder"] | {"between": [0.0, 0.5]}}
    inside = np.delete(mesh.centers - 0.5, "xyz".index(axis), axis=1)
    assert measure(mesh, whole, 3) == pytest.approx(np.mean(np.linalg.norm(inside, axis=1) <= 0.4))
    assert 0 < measure(mesh, cut, 3) == pytest.approx(measure(mesh, whole, 3) / 2)
    chosen = select(mesh, region(cut), 3)
    assert mesh.centers[chosen, "xyz".index(axis)].max() < 0.5


@pytest.mark.parametrize("cell", CELLS)
def test_all_of_and_any_of(cell):
    mesh = make_mesh(unit_box(cell, 3))
    facet = mesh.dim - 1
    sides = [plane("x", 1), plane("y", 0)]
    assert measure(mesh, {"any_of": sides}, facet) == pytest.approx(2.0, rel=1e-12)
    assert measure(mesh, {"any_of": sides}, 0) == 2 * 4**facet - 4 ** (facet - 1)
    assert measure(mesh, {"all_of": sides}, facet) == 0
    assert measure(mesh, {"all_of": sides}, 0) == 4 ** (facet - 1)
    nested = {"all_of": [{"any_of": sides}, plane("x", 1)]}
    assert np.array_equal(select(mesh, region(nested), facet), select(mesh, region(sides[0]), facet))


def test_edges_of_a_solid():
    mesh = make_mesh(box([2, 3, 4], [1.0, 2.0, 3.0]))
    assert measure(mesh, {"all_of": [plane("x", 1), plane("y", 0)]}, 1) == pytest.approx(3.0)
    assert measure(mesh, {"all_of": [plane("x", 1), plane("z", 3)]}, 1) == pytest.approx(2.0)


@pytest.mark.parametrize("cell", CELLS)
def test_tags_and_points(cell, tmp_path):
    mesh = make_mesh({"file": str(write_gmsh(tmp_path / "mesh.msh", cell))})
    facet = mesh.dim - 1
    assert measure(mesh, "left", facet) == pytest.approx(1.0, rel=1e-12)
    assert np.array_equal(select(mesh, region("left"), facet), select(mesh, region(plane("x", 0)), facet))
    assert measure(mesh, "block", mesh.dim) == pytest.approx(0.5, rel=1e-12)
    assert measure(mesh, "left", mesh.dim) == measure(mesh, "block", facet) == 0
    corner = select(mesh, region("corner"), 0)
    np.testing.assert_allclose(vertex_coordinates(mesh, corner), [[1, 1, 0]], atol=1e-12)
    assert len(select(mesh, region("corner"), facet)) == 0
    upper = {"all_of": ["left", {"box": {"min": [0, 0.5], "max": [1, 1]}}]}
    by_plane = {"all_of": [plane("x", 0), {"box": {"min": [0, 0.5], "max": [1, 1]}}]}
    assert np.array_equal(select(mesh, region(upper), facet), select(mesh, region(by_plane), facet))


def test_advice_about_a_region_that_selects_nothing(tmp_path):
    mesh = make_mesh({"file": str(write_gmsh(tmp_path / "mesh.msh", "triangle"))})
    tags = "all, block, corner, left, outer, right"
    wanted = Region(any_of=(Region(tag="left"), Region(all_of=(Region(tag="lefd"), Region(tag="korner")))))
    assert advice(mesh, wanted) == f"the mesh has no tag 'lefd'; did you mean 'left'? Its tags are {tags}"
    assert advice(mesh, Region(tag="block")) == "the tag 'block' marks cells"
    assert advice(mesh, Region(tag="corner")) == "the tag 'corner' marks points"
    off = "is 8.5 away; the mesh reaches from (0, 0) to (1, 1); move or enlarge it"
    off_by_plane = advice(mesh, Region(plane={"axis": "x", "at": 9.5}))
    assert off_by_plane == f"the nearest node, (1, 0), {off}"


def vertex_coordinates(mesh, vertices):
    """Coordinates of vertices, for an independent look at what was selected."""
    mesh.domain.topology.create_connectivity(0, mesh.dim)
    return mesh.domain.geometry.x[dmesh.entities_to_geometry(mesh.domain, 0, vertices)[:, 0]]


@pytest.mark.parametrize("cell", CELLS)
def test_nearest_vertex(cell):
    mesh = make_mesh(unit_box(cell, 4))
    rng = np.random.default_rng(1)
    points = np.zeros((12, 3))
    points[:, : mesh.dim] = rng.uniform(-0.3, 1.3, (12, mesh.dim))
    for point in points:
        found = vertex_coordinates(mesh, nearest_vertices(mesh, point[None]))
        np.testing.assert_allclose(found[0], np.clip(np.round(point * 4) / 4, 0, 1), atol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_tie_between_vertices_goes_to_the_smaller_coordinates(cell):
    mesh = make_mesh(unit_box(cell, 2))
    middle = np.array([[0.25, 0.75, 0.25][: mesh.dim] + [0.0] * (3 - mesh.dim)])
    found = vertex_coordinates(mesh, nearest_vertices(mesh, middle))
    np.testing.assert_allclose(found, [[0.0, 0.5, 0.0]], atol=1e-12)


def test_points_select_vertices_only_and_each_once():
    mesh = make_mesh(box([4, 4]))
    points = region({"points": [[0.1, 0.1], [0.05, 0.0], [1, 1]]})
    assert [len(select(mesh, points, dim)) for dim in (0, 1, 2)] == [2, 0, 0]


@pytest.mark.parametrize("cell", CELLS)
def test_facets_inside_the_body_where_a_surface_has_no_others(cell):
    mesh = make_mesh(unit_box(cell, 4))
    facet = mesh.dim - 1
    assert measure(mesh, plane("x", 0.5), facet) == pytest.approx(1.0, rel=1e-12)
    part = {"all_of": [plane("x", 0.5), {"box": {"min": [0, 0.5], "max": [1, 1]}}]}
    assert measure(mesh, part, facet) == pytest.approx(0.5, rel=1e-12)
    flat = {"box": {"min": [0.25, 0.5, 0][: mesh.dim], "max": [0.25, 1, 1][: mesh.dim]}}
    assert measure(mesh, flat, facet) == pytest.approx(0.5, rel=1e-12)
    both = {"any_of": [plane("x", 0.5), plane("x", 1)]}
    assert measure(mesh, both, facet) == pytest.approx(1.0, rel=1e-12)
