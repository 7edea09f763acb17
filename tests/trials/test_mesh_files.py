"""Mesh files as people have them: cells twice, groups that overlap, sets and assemblies, any format and plane."""

from __future__ import annotations

from pathlib import Path

import joined
import meshio
import numpy as np
import pytest
from dolfinx import mesh as dmesh
from helpers import CELLS, DIM, make_mesh, make_problem, plane, write_gmsh

from morpho.errors import InputError
from morpho.fem.assembled import AssembledEquation
from morpho.mesh.select import advice
from morpho.problem.regions import Region

SQUARE = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [2, 0, 0], [2, 1, 0]], dtype=float)
TWO = [[0, 1, 2, 3], [1, 4, 5, 2]]
MSH22 = (
    '$MeshFormat\n2.2 0 8\n$EndMeshFormat\n$PhysicalNames\n4\n0 3 "a"\n1 2 "a"\n2 1 "all"\n2 5 "keep"\n'
    "$EndPhysicalNames\n$Nodes\n6\n"
    + "".join(f"{i + 1} {x:g} {y:g} {z:g}\n" for i, (x, y, z) in enumerate(SQUARE))
    + "$EndNodes\n$Elements\n5\n1 15 2 3 1 1\n2 1 2 2 4 4 1\n3 3 2 1 1 1 2 3 4\n4 3 2 1 1 2 5 6 3\n5 3 2 5 1 2 5 6 3\n"
    "$EndElements\n"
)


def read(path: Path, text: str = ""):
    """The mesh of a file, which is written first if its text is given."""
    if text:
        path.write_text(text)
    return make_mesh({"file": str(path)})


def groups(mesh) -> dict[str, dict[int, int]]:
    """How many entities of each dimension every group has."""
    return {name: {dim: len(entities) for dim, entities in dims.items()} for name, dims in mesh.tags.items()}


def test_cells_of_overlapping_groups_are_one_cell_with_both(tmp_path):
    mesh = read(tmp_path / "mesh.msh", MSH22)
    assert mesh.n_global == 2 and mesh.total_volume == pytest.approx(2.0)
    assert groups(mesh) == {"a": {0: 1, 1: 1}, "all": {2: 2}, "keep": {2: 1}}
    assert mesh.notes[0].startswith("1 cell of ") and "is listed again" in mesh.notes[0]


@pytest.mark.parametrize("cell", CELLS)
def test_cells_twice_and_cells_with_a_node_twice(tmp_path, cell):
    points, cells = joined.block(cell, 0.0, 2)
    kind = joined.MESHIO[cell]
    twice = np.concatenate([cells, np.roll(cells[:3], 1, axis=1)])
    meshio.Mesh(points, [(kind, twice)]).write(tmp_path / "twice.vtu")
    mesh = read(tmp_path / "twice.vtu")
    assert mesh.n_global == len(cells) and mesh.total_volume == pytest.approx(1.0)
    assert mesh.notes[0].startswith("3 cells of ")
    cells[[1, 2], -1] = cells[[1, 2], 0]
    meshio.Mesh(points, [(kind, cells)]).write(tmp_path / "broken.vtu")
    with pytest.raises(InputError, match=r"2 cells of .* have a node twice; mesh it anew"):
        read(tmp_path / "broken.vtu")


@pytest.mark.parametrize("cell", CELLS)
def test_cells_on_top_of_others_with_nodes_of_their_own(tmp_path, cell):
    points, cells = joined.block(cell, 0.0, 3)
    noise = 1e-13 * np.random.default_rng(0).uniform(-1, 1, points.shape)
    for again in (cells[4:5], np.roll(cells, 1, axis=0)):
        both = np.concatenate([points, points + (noise if DIM[cell] == 3 else noise * [1, 1, 0])])
        twice = np.concatenate([cells, again + len(points)])
        meshio.Mesh(both, [(joined.MESHIO[cell], twice)]).write(tmp_path / "mesh.vtu")
        lie = "1 cell of .* lies on top of another" if len(again) == 1 else f"{len(cells)} cells of .* lie on top of"
        with pytest.raises(InputError, match=f"{lie}.*, with nodes of .* own; delete one of them"):
            read(tmp_path / "mesh.vtu")


def test_a_body_meshed_twice_with_other_diagonals(tmp_path):
    first = np.array([[0, 1, 2], [0, 2, 3], [1, 4, 5], [1, 5, 2]])
    second = np.array([[0, 1, 3], [1, 2, 3], [1, 4, 2], [4, 5, 2]])
    meshio.Mesh(np.concatenate([SQUARE, SQUARE]), [("triangle", [*first, *(second + 6)])]).write(tmp_path / "mesh.vtu")
    with pytest.raises(InputError, match=r"more than two cells of .* meet at 1 edge: parts with nodes of their"):
        read(tmp_path / "mesh.vtu")


@pytest.mark.parametrize("cell", ["quadrilateral", "hexahedron"])
def test_cells_that_cross_themselves(tmp_path, cell):
    points, cells = joined.block(cell, 0.0, 2)
    cells[1, :4] = cells[1, [0, 2, 1, 3]]
    meshio.Mesh(points, [(joined.MESHIO[cell], cells)]).write(tmp_path / "mesh.vtu")
    with pytest.raises(InputError, match=r"1 cell of .* cross themselves or are folded"):
        read(tmp_path / "mesh.vtu")


@pytest.mark.parametrize("first", range(4))
@pytest.mark.parametrize("turned", [1, -1])
def test_a_concave_cell_is_said(tmp_path, first, turned):
    points = np.array([[0, 0, 0], [2, 0, 0], [0.9, 0.9, 0], [0, 2, 0]])
    meshio.Mesh(points, [("quad", [np.roll(np.arange(4)[::turned], first)])]).write(tmp_path / "mesh.vtu")
    mesh = read(tmp_path / "mesh.vtu")
    assert mesh.notes[0].startswith("1 cell of") and "concave" in mesh.notes[0]
    assert mesh.total_volume == pytest.approx(1.8)


@pytest.mark.parametrize("cell", ["quadrilateral", "hexahedron"])
@pytest.mark.parametrize("turned", [False, True])
def test_cells_that_are_inside_out_at_a_gauss_point(tmp_path, cell, turned):
    points, cells = joined.block(cell, 0.0, 2)
    middle = np.linalg.norm(points[:, : DIM[cell]] - 0.5, axis=1).argmin()
    points[middle, : DIM[cell]] = 0.05
    if turned:
        cells = cells[:, [0, 3, 2, 1] if cell == "quadrilateral" else [4, 5, 6, 7, 0, 1, 2, 3]]
    meshio.Mesh(points, [(joined.MESHIO[cell], cells)]).write(tmp_path / "mesh.vtu")
    with pytest.raises(
        InputError, match=r"1 cell of .* is so concave, such as at \(0\..*\), that the Jacobian"
    ) as error:
        read(tmp_path / "mesh.vtu")
    assert len(error.value.complaints) == 1


@pytest.mark.parametrize("cell", CELLS)
def test_the_order_of_the_nodes_of_a_cell_changes_nothing(tmp_path, cell):
    points, cells = joined.block(cell, 0.0, 3)
    mirrored = {"triangle": [0, 2, 1], "quadrilateral": [0, 3, 2, 1], "tetrahedron": [0, 2, 1, 3]}
    turned = cells.copy()
    turned[::2] = cells[::2][:, mirrored.get(cell, [4, 5, 6, 7, 0, 1, 2, 3])]
    found = []
    for name, nodes in (("plain", cells), ("turned", turned)):
        part = {"file": str(tmp_path / f"{name}.vtu")}
        meshio.Mesh(points, [(joined.MESHIO[cell], nodes)]).write(part["file"])
        problem = make_problem(part, loads=[{"forces": [{"region": plane("x", 1), "pressure": 1.0}]}])
        with AssembledEquation(make_mesh(part), problem) as physics:
            found += [*physics.solve(np.full(physics.mesh.n, 0.5)).compliance]
            np.testing.assert_allclose(physics.applied[0].total, [-1.0, 0.0, 0.0][: DIM[cell]], atol=1e-12)
    assert found[0] == pytest.approx(found[1], rel=1e-9)


def test_cells_that_overlap(tmp_path):
    cells = [[0, 1, 2, 3], [1, 4, 5, 2], [1, 2, 3, 5]]
    meshio.Mesh(SQUARE, [("quad", cells)]).write(tmp_path / "mesh.vtu")
    with pytest.raises(InputError, match=r"more than two cells of .* meet at 1 edge"):
        read(tmp_path / "mesh.vtu")


@pytest.mark.parametrize("cell", CELLS)
def test_a_number_that_marks_several_dimensions(tmp_path, cell):
    import gmsh

    path = write_gmsh(tmp_path / "mesh.msh", cell)
    gmsh.initialize(interruptible=False)
    try:
        gmsh.option.setNumber("General.Terminal", 0)
        gmsh.open(str(path))
        model = gmsh.model
        groups = model.getPhysicalGroups()
        known = [(model.getPhysicalName(*g), g[0], model.getEntitiesForPhysicalGroup(*g)) for g in groups]
        model.removePhysicalGroups()
        for name, dim, entities in known:
            model.removePhysicalName(name)  # it stays with the number otherwise
            if name in ("all", "left", "corner"):
                model.addPhysicalGroup(dim, entities, 1)
        gmsh.write(str(path))
    finally:
        gmsh.finalize()
    facet, mesh = DIM[cell] - 1, read(path)
    assert set(mesh.tags["1"]) == {0, facet, DIM[cell]}
    for region in (1, "1"):
        physics = AssembledEquation(mesh, make_problem({"file": "mesh"}, supports=[{"region": region}]))
        assert physics.held == AssembledEquation(mesh, make_problem({"file": "mesh"})).held
        assert any("the group '1' marks cells and facets and" in note for note in physics.notes)
    forces = [{"region": 1, "total": [1] * DIM[cell]}]
    physics = AssembledEquation(mesh, make_problem({"file": "mesh"}, loads=[{"forces": forces}]))
    assert physics.applied[0].target == f"{'length' if facet == 1 else 'area'} 1"


def test_partly_tagged_msh(tmp_path):
    import gmsh

    path = tmp_path / "mesh.msh"
    gmsh.initialize(interruptible=False)
    try:
        gmsh.option.setNumber("General.Terminal", 0)
        gmsh.option.setNumber("Mesh.SaveAll", 1)
        gmsh.model.occ.addBox(0, 0, 0, 1, 1, 1)
        gmsh.model.occ.synchronize()
        gmsh.model.addPhysicalGroup(2, [1], name="wall")
        gmsh.model.mesh.generate(3)
        for version in (4.0, 4.1):
            gmsh.option.setNumber("Mesh.MshFileVersion", version)
            gmsh.write(str(path))
            mesh = read(path)
            assert list(mesh.tags) == ["wall"] and mesh.total_volume == pytest.approx(1.0)
        assert gmsh.model.getPhysicalGroups() == [(2, 1)]  # a program's own model stays as it is
    finally:
        gmsh.finalize()


@pytest.mark.parametrize("cell", ["triangle", "tetrahedron"])
@pytest.mark.parametrize("ending", ["unv", "bdf", "inp", "mesh", "xdmf", "med", "vtk"])
def test_other_formats_give_the_same_body(tmp_path, cell, ending):
    import gmsh

    path = write_gmsh(tmp_path / "mesh.msh", cell)
    if ending in ("unv", "bdf", "inp"):
        gmsh.initialize(interruptible=False)
        gmsh.option.setNumber("General.Terminal", 0)
        gmsh.open(str(path))
        gmsh.write(str(tmp_path / f"mesh.{ending}"))
        gmsh.finalize()
    else:
        data = meshio.read(path)
        kind = joined.MESHIO[cell]
        whole = meshio.Mesh(data.points, [(kind, np.concatenate([b.data for b in data.cells if b.type == kind]))])
        if ending == "mesh":
            numbers = np.where(whole.points[whole.cells[0].data].mean(axis=1)[:, 0] < 0.5, 1, 2)
            whole.cell_data = {"medit:ref": [numbers]}
        whole.write(tmp_path / f"mesh.{ending}")
    mesh, expected = read(tmp_path / f"mesh.{ending}"), read(path)
    assert mesh.n_global == expected.n_global and mesh.total_volume == pytest.approx(1.0, rel=1e-6)
    if ending == "mesh":
        assert mesh.volumes[mesh.tags["1"][mesh.dim]].sum() == pytest.approx(0.5)
    if ending == "unv":
        assert len(mesh.tags["PERMANENT GROUP" if "PERMANENT GROUP" in mesh.tags else "left"])


@pytest.mark.parametrize("turned", [[2, 0, 1], [0, 2, 1], None])
def test_a_flat_mesh_in_any_plane(tmp_path, turned):
    points, cells = joined.block("quadrilateral", 0.0, 4)
    points[:, 0] *= 3
    if turned is None:
        a, b = np.array([1.0, 1.0, 0.0]) / np.sqrt(2), np.array([-1.0, 1.0, 1.0]) / np.sqrt(3)
        placed = points[:, :1] * a + points[:, 1:2] * b + np.array([1.0, 2.0, 3.0])
    else:
        placed = points[:, turned] + np.eye(3)[turned.index(2)]
    meshio.Mesh(placed, [("quad", cells)]).write(tmp_path / "mesh.vtu")
    mesh = read(tmp_path / "mesh.vtu")
    assert mesh.total_volume == pytest.approx(3.0) and "plane" in mesh.notes[0]
    x = mesh.domain.geometry.x
    assert np.all(x[:, 2] == 0)
    if turned is not None:
        np.testing.assert_allclose(np.ptp(x[:, :2], axis=0), [3.0, 1.0] if turned[0] == 0 else [1.0, 3.0][::-1])


PART = (
    "*HEADING\n*PART, NAME=P\n*NODE, NSET=SOME\n1, 0, 0\n2, 1, 0\n*NODE\n3, 1, 1\n4, 0, 1\n"
    "*ELEMENT, TYPE=CPS4, ELSET=E\n1, 1, 2, 3, 4\n*NSET, NSET=SIDE, GENERATE\n1, 4, 3\n"
    "*SURFACE, NAME=TOP\n1, S3\n*END PART\n"
)


def test_abaqus_sets_of_every_kind(tmp_path):
    mesh = read(
        tmp_path / "mesh.inp",
        "*Node, nset=first\n1, 0., 0., 0.\n2, 1., 0., 0.\n** a remark\n*NODE, NSET=second\n3, 1., 1., 0.\n"
        "4, 0., 1., 0.\n5, 2., 0., 0.\n6, 2., 1., 0.\n*ELEMENT, TYPE=CPS4R,\nELSET=A\n1, 1, 2,\n3, 4\n"
        "*ELEMENT, TYPE=CPS4, ELSET=B\n2, 2, 5, 6, 3\n*ELSET, ELSET=both\nA, b\n*ELSET, ELSET=all, GENERATE\n1, 2\n"
        "*NSET, NSET=nodes, ELSET=B\n"
        "*NSET, NSET=named\nFIRST, 4\n*SURFACE, NAME=end, TYPE=ELEMENT\nB, S2\n*STEP\n*NSET, NSET=late\n1\n",
    )
    assert groups(mesh) == {
        "A": {2: 1}, "B": {2: 1}, "both": {2: 2}, "all": {2: 2}, "end": {1: 1},
        "first": {0: 2}, "second": {0: 4}, "nodes": {0: 4}, "named": {0: 3},
    }  # fmt: skip
    end = mesh.domain.geometry.x[dmesh.entities_to_geometry(mesh.domain, 1, mesh.tags["end"][1])[0]]
    assert np.all(end[:, 0] == 2.0)


def test_abaqus_elements_that_are_no_cells(tmp_path):
    lines = "*NODE\n1, 0, 0\n2, 1, 0\n3, 1, 1\n4, 0, 1\n*ELEMENT, TYPE=CPS4\n1, 1, 2, 3, 4\n"
    mesh = read(
        tmp_path / "mesh.inp", f"{lines}*ELEMENT, TYPE=SPRINGA\n2, 1, 3\n3, 2, 4\n*ELEMENT, TYPE=U1\n4, 1, 2, 3\n"
    )
    assert mesh.n == 1
    assert mesh.notes == (
        "elements of type SPRINGA (2 lines), which is no cell that is read: left out",
        "elements of type U1 (1 lines), which is no cell that is read: left out",
    )


def test_abaqus_sets_with_members_that_do_not_exist(tmp_path):
    mesh = read(
        tmp_path / "mesh.inp",
        "*NODE\n1, 0, 0\n2, 1, 0\n3, 1, 1\n4, 0, 1\n4, 0, 1\n*ELEMENT, TYPE=CPS4, ELSET=E\n1, 1, 2, 3, 4\n"
        "*NSET, NSET=LEFT\n1, 4, 777, 778\n*NSET, NSET=up, GENERATE\n2, 999999998, 2\n*ELSET, ELSET=none\n9\n"
        "*SURFACE, NAME=side\nE, S9\n1, S2\nF, S1\n*SURFACE, NAME=skin\nE,\n",
    )
    assert groups(mesh) == {"LEFT": {0: 2}, "up": {0: 2}, "E": {2: 1}, "side": {1: 1}}
    unread = "which the file does not have, or only of a type that is not read: left out"
    assert mesh.notes == (
        "the group 'LEFT' names the nodes 777, 778, which the file does not have: left out",
        "the group 'up' names 499999997 nodes from 2 to 999999998, which the file does not have: left out",
        f"the group 'none' names the element 9, {unread}",
        f"the group 'side' names the set F, {unread}",
        "the group 'side' names the face S9, which a quad does not have: left out",
        "the group 'skin' names no face, such as S1, of its elements: left out",
    )
    assert (
        advice(mesh, Region(tag="left"))
        == "the mesh has no tag 'left'; did you mean 'LEFT'? Its tags are E, LEFT, side, up"
    )
    said = advice(mesh, Region(tag="none"))
    assert said.startswith("the mesh has no tag 'none' (the group 'none' names the element 9, which")


def test_abaqus_instances_are_put_where_they_belong(tmp_path):
    mesh = read(
        tmp_path / "mesh.inp",
        PART + "*ASSEMBLY, NAME=A\n*INSTANCE, NAME=I1, PART=P\n*END INSTANCE\n*INSTANCE, NAME=I2, PART=p\n5., 0., 0.\n"
        "5., 0., 0., 5., 0., 1., 90.\n*END INSTANCE\n*NSET, NSET=HELD, INSTANCE=I1\n1, 2\n"
        "*ELSET, ELSET=BOTH\nI1.E, I2.1\n*END ASSEMBLY\n",
    )
    low, high = mesh.corners
    assert low[:2].tolist() == [0.0, 0.0] and np.round(high[:2], 12).tolist() == [5.0, 1.0]  # I2 turned into x < 5
    assert mesh.total_volume == pytest.approx(2.0)
    found = groups(mesh)
    assert found["HELD"] == {0: 2} and found["BOTH"] == {2: 2} and found["E"] == {2: 2} and found["I2.E"] == {2: 1}
    assert found["TOP"] == {1: 2} and found["I1.SIDE"] == {0: 2} and found["SIDE"] == {0: 4}
    assert mesh.notes == ("assembled from the instances I1, I2; they are joined where they share nodes only",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("*NODE\n1, 0, 0\n*NGEN\n1, 5\n", r"line 3: \*NGEN is not read; write all nodes and elements out"),
        ("*NODE, INPUT=nodes.txt\n", r"line 1: \*NODE takes its lines from the file nodes.txt"),
        ("*NODE\n1, 0, 0\n*ELEMENT, TYPE=CPS4\n1, 1, 2, 3\n", "line 3: an element of type CPS4 has 4 nodes"),
        (
            "*NODE\n1, 0, 0\n*ELEMENT, TYPE=CPS3\n1, 1, 2, 3\n",
            "an element uses the node 2, which the file does not have",
        ),
        ("*NODE\n1, 0, 0\n*ELEMENT, TYPE=CAX4\n1, 1, 2, 3, 4\n", "CAX4 are axisymmetric"),
        ("*NODE\n1, 0, x\n", "line 1: could not convert string to float"),
        ("*NODE\n1, 0, 0\n*NSET, NSET=A, GENERATE\n1, 999999999999, 1\n", "line 3: GENERATE goes from 1 to 9999999999"),
        ("*NODE\n1, 0, 0\n*NSET, NSET=A, GENERATE\n5, 1\n", "line 3: GENERATE goes from 5 to 1; labels go upwards"),
        ("*NODE\n1, 0, 0\n*NSET, NSET=A, GENERATE\n5\n", "line 3: GENERATE needs the first label, the last one, and"),
        ("*NODE\n1, 0, 0\n2, 1, 0\n*NODE\n1, 0, 0\n2, 1, 1\n", "the node 2 is defined again with other coordinates"),
        (
            "*NODE\n1, 0, 0\n2, 1, 0\n3, 1, 1\n4, 0, 1\n*ELEMENT, TYPE=CPS3\n1, 1, 2, 3\n1, 1, 3, 4\n",
            "the element 1 is defined again with other nodes",
        ),
        ("*ASSEMBLY\n*INSTANCE, NAME=I, PART=Q\n", "line 2: there is no part Q for the instance I"),
        ("*NODE\n1, 0, 0\n", "has no triangles, quadrilaterals, tetrahedra or hexahedra"),
    ],
)
def test_abaqus_files_that_are_not_read(tmp_path, text, said):
    with pytest.raises(InputError, match=said) as error:
        read(tmp_path / "mesh.inp", text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("part.stl", "is a surface, without a mesh of the volume inside"),
        ("part.SLDPRT", "is a file of one CAD program; save the part as STEP"),
        ("part.geo", "is a geometry, not a mesh"),
    ],
)
def test_files_that_are_no_meshes(tmp_path, name, said):
    with pytest.raises(InputError, match=said):
        read(tmp_path / name, "solid")


def test_groups_by_cell_data(tmp_path):
    data = {"MaterialIds": [np.array([1, 2])], "zone": [np.array([7.0, 0.0])], "E": [np.array([0.5, 0.25])]}
    meshio.Mesh(SQUARE, [("quad", TWO)], cell_data=data).write(tmp_path / "mesh.vtu")
    mesh = read(tmp_path / "mesh.vtu")
    assert groups(mesh) == {"1": {2: 1}, "2": {2: 1}, "zone=7": {2: 1}}
