"""Uniform refinement: children lie in their parents, tags stay where they were, numbers stay stable."""

from __future__ import annotations

from dataclasses import replace

import meshio
import numpy as np
import pytest
from helpers import CELLS, DIM, box, distort, make_mesh, plane, unit_box, write_gmsh

from morpho.fem.loads import entity_measure
from morpho.mesh import Mesh
from morpho.mesh.refine import refine
from morpho.mesh.select import select
from morpho.problem.regions import Region

CORNERS = {
    "triangle": [[0, 0], [1, 0], [0, 1]],
    "quadrilateral": [[0, 0], [1, 0], [1, 1], [0, 1]],
    "tetrahedron": [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "hexahedron": [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 1], [1, 0, 1], [1, 1, 1], [0, 1, 1]],
}
MESHIO = {"triangle": "triangle", "quadrilateral": "quad", "tetrahedron": "tetra", "hexahedron": "hexahedron"}


def single_cell(cell: str, folder) -> Mesh:
    """A mesh of one cell."""
    points = np.pad(np.array(CORNERS[cell], dtype=float), ((0, 0), (0, 3 - DIM[cell])))
    meshio.Mesh(points, [(MESHIO[cell], [list(range(len(points)))])]).write(folder / "cell.vtu")
    return make_mesh({"file": str(folder / "cell.vtu")})


def tagged(mesh: Mesh, region: Region, dims: list[int]) -> Mesh:
    """The mesh with the tag `here` on what the region selects."""
    return replace(mesh, tags={"here": {dim: select(mesh, region, dim) for dim in dims}})


def assert_tag_survives(coarse: Mesh, region: Region, dim: int) -> None:
    """The refined tag has the measure of the coarse one, 2^dim times its entities, and lies in the region."""
    fine = refine(coarse)
    before, after = coarse.tags["here"][dim], fine.tags["here"][dim]
    assert len(before) > 0
    assert len(after) == 2**dim * len(before)
    assert len(np.unique(after)) == len(after)
    assert entity_measure(fine, dim, after) == pytest.approx(entity_measure(coarse, dim, before), rel=1e-12)
    selected = select(fine, region, dim)
    assert np.all(np.isin(after, selected))
    assert dim < coarse.dim - 1 or len(after) == len(selected)  # new edges in a face have no tag


@pytest.mark.parametrize("cell", CELLS)
def test_children_lie_in_their_parents(cell):
    coarse = distort(make_mesh(unit_box(cell, 3)))
    fine = refine(coarse)
    children = 2**coarse.dim
    assert fine.parent is coarse
    assert np.array_equal(np.bincount(fine.parent_cell), np.full(coarse.n, children))
    mean = np.stack([np.bincount(fine.parent_cell, fine.centers[:, i]) / children for i in range(3)], axis=1)
    np.testing.assert_allclose(mean, coarse.centers, atol=1e-12)
    corners = [m.domain.geometry.x[m.domain.geometry.dofmap] for m in (fine, coarse)]
    low, high = corners[1].min(axis=1)[fine.parent_cell], corners[1].max(axis=1)[fine.parent_cell]
    assert np.all(corners[0] >= low[:, None] - 1e-12)
    assert np.all(corners[0] <= high[:, None] + 1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_volumes_of_the_children_sum_up(cell):
    coarse = make_mesh(unit_box(cell, 3))
    if cell != "hexahedron":  # the volume of a hexahedron with curved sides depends on how it is cut
        distort(coarse)
    fine = refine(coarse)
    np.testing.assert_allclose(np.bincount(fine.parent_cell, fine.volumes), coarse.volumes, rtol=1e-12)
    assert fine.volumes.min() > 0


@pytest.mark.parametrize("cell", CELLS)
def test_children_are_numbered_within_their_parents(cell):
    coarse = make_mesh(unit_box(cell, 2))
    fine = refine(coarse)
    children = 2**coarse.dim
    assert np.array_equal(np.sort(fine.key), np.arange(children * coarse.n))
    assert np.array_equal(fine.key // children, coarse.key[fine.parent_cell])


@pytest.mark.parametrize("cell", CELLS)
def test_refinement_conforms(cell):
    mesh = make_mesh(unit_box(cell, 2, refine=2))
    boundary = select(mesh, Region.model_validate({"sphere": {"center": [0, 0], "radius": 9}}), mesh.dim - 1)
    assert entity_measure(mesh, mesh.dim - 1, boundary) == pytest.approx(2 * mesh.dim, rel=1e-12)
    vertices = mesh.domain.topology.index_map(0).size_global
    assert vertices == (8 + 1) ** mesh.dim


def test_refined_tetrahedra_stay_well_shaped():
    shapes = []
    mesh = make_mesh(unit_box("tetrahedron", 1))
    for _ in range(3):
        x = mesh.domain.geometry.x[mesh.domain.geometry.dofmap]
        edges = [np.linalg.norm(x[:, i] - x[:, j], axis=1) for i in range(4) for j in range(i)]
        shapes.append(np.min(mesh.volumes / np.max(edges, axis=0) ** 3))
        mesh = refine(mesh)
    assert shapes == pytest.approx([shapes[0]] * 3, rel=1e-9)


@pytest.mark.parametrize("cell", CELLS)
def test_tags_on_one_side_survive(cell):
    mesh, region = make_mesh(unit_box(cell, 2)), Region.model_validate(plane("x", 1))
    for dim in range(1, mesh.dim):
        assert_tag_survives(tagged(mesh, region, [dim]), region, dim)


@pytest.mark.parametrize("cell", CELLS)
def test_tags_round_a_corner_survive(cell):
    """In the corner, a triangle or tetrahedron has two tagged sides, and its inner child none."""
    mesh = make_mesh(unit_box(cell, 1))
    region = Region.model_validate({"any_of": [plane(axis, 0) for axis in "xyz"[: mesh.dim]]})
    for dim in range(1, mesh.dim):
        assert_tag_survives(tagged(mesh, region, [dim]), region, dim)


@pytest.mark.parametrize("cell", CELLS)
def test_tags_on_every_side_of_a_single_cell_survive(cell, tmp_path):
    mesh = single_cell(cell, tmp_path)
    everywhere = Region.model_validate({"sphere": {"center": [0, 0], "radius": 9}})
    coarse = tagged(mesh, everywhere, [mesh.dim - 1])
    assert_tag_survives(coarse, everywhere, mesh.dim - 1)
    fine = refine(refine(coarse))
    sides = coarse.tags["here"][mesh.dim - 1]
    assert len(fine.tags["here"][mesh.dim - 1]) == 4 ** (mesh.dim - 1) * len(sides)


@pytest.mark.parametrize("cell", CELLS)
def test_tag_on_one_side_of_a_single_cell_survives(cell, tmp_path):
    mesh = single_cell(cell, tmp_path)
    for axis in "xyz"[: mesh.dim]:
        region = Region.model_validate(plane(axis, 0))
        assert_tag_survives(tagged(mesh, region, [mesh.dim - 1]), region, mesh.dim - 1)


@pytest.mark.parametrize("cell", CELLS)
def test_tagged_cells_pass_to_their_children(cell):
    mesh = make_mesh(unit_box(cell, 2))
    half = Region.model_validate({"box": {"min": [0.5, 0], "max": [1, 1]}})
    fine = refine(tagged(mesh, half, [mesh.dim]))
    here = fine.tags["here"][mesh.dim]
    assert fine.volumes[here].sum() == pytest.approx(0.5, rel=1e-12)
    np.testing.assert_array_equal(here, select(fine, half, mesh.dim))


@pytest.mark.parametrize("cell", CELLS)
def test_interface_between_cells_survives(cell, tmp_path):
    """A tagged facet or edge need not be on the boundary."""
    path = write_gmsh(tmp_path / "mesh.msh", cell, interface=True)
    coarse = make_mesh({"file": str(path)})
    fine = make_mesh({"file": str(path), "refine": 2})
    dim = coarse.dim - 1
    assert entity_measure(coarse, dim, coarse.tags["middle"][dim]) == pytest.approx(1.0, rel=1e-12)
    assert entity_measure(fine, dim, fine.tags["middle"][dim]) == pytest.approx(1.0, rel=1e-12)
    assert len(fine.tags["middle"][dim]) == 4**dim * len(coarse.tags["middle"][dim])


def test_points_are_kept():
    mesh = make_mesh(box([2, 2]))
    middle = select(mesh, Region.model_validate({"points": [[0.5, 0.5]]}), 0)
    mesh = replace(mesh, tags={"here": {0: middle}})
    fine = refine(mesh)
    chosen = select(fine, Region.model_validate("here"), 0)
    assert len(chosen) == 1
    np.testing.assert_allclose(fine.domain.geometry.x[chosen], [[0.5, 0.5, 0.0]], atol=1e-12)
