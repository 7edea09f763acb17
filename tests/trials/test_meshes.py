"""Bodies of meshes: parts that are not joined, passive void that cuts a load off, loads inside a body."""

from __future__ import annotations

import json
from pathlib import Path

from mpi4py import MPI

import cut_off
import joined
import meshio
import numpy as np
import pytest
from helpers import CELLS, DIM, assert_same, box, make_mesh, make_problem, plane, write_gmsh

from morpho.errors import InputError, SolverError
from morpho.fem.assembled import AssembledEquation
from morpho.fem.voxel.equation import VoxelEquation
from morpho.mesh import voxel_mesh
from morpho.parts import Parts

PLANAR = ("triangle", "quadrilateral")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("joined")
    for cell in CELLS:
        for joint, (shared, *_) in joined.JOINTS.items():
            joined.two_blocks(place / f"{cell}_{joint}.vtu", cell, shared)
    return place


@pytest.fixture(scope="module")
def alone(folder):
    return joined.facts(MPI.COMM_SELF, str(folder))


@pytest.mark.parametrize("joint", joined.JOINTS)
@pytest.mark.parametrize("cell", CELLS)
def test_parts_carry_load_where_they_are_joined_well_enough(alone, cell, joint):
    stands = joined.JOINTS[joint][1 if cell in PLANAR else 2]
    if cell in PLANAR and joint == "edge":  # in 2-D these are one node
        stands = False
    loaded, unloaded = (f"{cell} {joint} {state}" for state in ("loaded", "unloaded"))
    assert alone[f"{unloaded}: complaints"] == ""
    if stands:
        assert alone[f"{loaded}: complaints"] == "" and alone[f"{loaded}: pinned"] == 0
        assert ": held in place" not in alone[f"{unloaded}: notes"]
    else:
        said = alone[f"{loaded}: complaints"]
        cells, free = (
            9 * (1 if cell in PLANAR else 3),
            {"none": 3 if cell in PLANAR else 6, "corner": 1, "edge": 1}[joint],
        )
        cells *= {"triangle": 2, "tetrahedron": 6}.get(cell, 1)
        free = 3 if joint == "corner" and cell not in PLANAR else free
        assert said.startswith(f"mesh: {cells} of {2 * cells} cells, between (1, 0") and "carry load" in said
        assert "nodes lie where another one lies: unless that is a crack, merge them in the mesher" in said
        assert alone[f"{unloaded}: pinned"] == free and "held in place" in alone[f"{unloaded}: notes"]


@pytest.mark.parametrize("cell", CELLS)
def test_a_loose_part_without_load_changes_nothing(alone, cell):
    without, hinged = (alone[f"{cell} {joint} unloaded: compliance"][0] for joint in ("none", "corner"))
    assert without == pytest.approx(hinged, rel=1e-9) and without > 0


def test_joints_do_not_depend_on_the_ranks(mpirun, folder, alone):
    found = json.loads(mpirun(3, Path(joined.__file__), folder, *joined.PARALLEL))
    assert_same(found, {k: v for k, v in alone.items() if k.startswith(joined.PARALLEL)}, rtol=1e-7)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("preset", ["direct", "multigrid"])
def test_a_singular_stiffness_does_not_go_unnoticed(folder, cell, preset):
    part = {"file": str(folder / f"{cell}_none.vtu")}
    force = [{"region": plane("x", 2), "total": [0.1, -1.0, 0.3][: DIM[cell]]}]
    solver = {"preset": preset, "max_iterations": 200}
    with AssembledEquation(make_mesh(part), make_problem(part, loads=[{"forces": force}], solver=solver)) as physics:
        with pytest.raises(SolverError) as error:
            physics.solve(np.full(physics.mesh.n, 0.5))
        assert "singular to rounding" in str(error.value) or "raise solver.max_iterations" in str(error.value)


def test_a_loose_part_falls_under_its_weight(folder):
    part = {"file": str(folder / "triangle_none.vtu")}
    physics = AssembledEquation(make_mesh(part), make_problem(part, loads=[{"forces": [{"self_weight": [0, -1]}]}]))
    assert [text[:21] for text in physics.complaints] == ["mesh: 18 of 36 cells,"]
    held = [{"region": plane("x", 0)}, {"region": plane("x", 2)}]
    loads = [{"forces": [{"self_weight": [0, -1]}]}]
    assert AssembledEquation(make_mesh(part), make_problem(part, supports=held, loads=loads)).complaints == []


def test_all_cells_apart(tmp_path):
    points, cells = joined.block("quadrilateral", 0.0, 12)
    apart = meshio.Mesh(points[cells].reshape(-1, 3), [("quad", np.arange(4 * len(cells)).reshape(-1, 4))])
    apart.write(tmp_path / "apart.vtu")
    part = {"file": str(tmp_path / "apart.vtu")}
    physics = AssembledEquation(make_mesh(part), make_problem(part, loads=[{"forces": [{"body": [0, -1]}]}]))
    assert len(physics.complaints) == 5 and physics.complaints[-1].endswith("such parts more")


WALL = {"box": {"min": [1.0, 0.0], "max": [1.5, 1.0]}}
HOLED = {"box": {"min": [1.0, 0.0], "max": [1.5, 0.7]}}


@pytest.mark.parametrize("engine", ["assembled", "voxel"])
@pytest.mark.parametrize(
    ("void", "force", "said"),
    [
        (
            WALL,
            {"region": plane("x", 3), "total": [0, -1]},
            "for passive void cells, 60 of 100 cells, between (1.5, 0)",
        ),
        (WALL, {"self_weight": [0, -1]}, "for passive void cells, 60 of 100 cells, between (1.5, 0)"),
        (WALL, {"region": {"points": [[1.2, 0.0]]}, "total": [0, -1]}, "1 nodes with a load, such as (1.25, 0)"),
        (WALL, {"region": {"points": [[0.5, 1.0]]}, "total": [0, -1]}, ""),
        (HOLED, {"region": plane("x", 3), "total": [0, -1]}, ""),
    ],
)
def test_void_that_cuts_off_a_load(engine, void, force, said):
    part = box([24, 5], [3.0, 1.0])
    design = {"passive": {"void": [void]}}
    problem = make_problem(part, design=design, loads=[{"forces": [force]}], engine=engine)
    if not said:
        Parts(problem, MPI.COMM_SELF).__exit__()
        return
    with pytest.raises(InputError) as error:
        Parts(problem, MPI.COMM_SELF)
    assert len(error.value.complaints) == 1 and said in str(error.value)


def test_engines_agree_where_every_node_is_held():
    supports = [{"region": plane("x", 0)}, {"region": plane("x", 1), "value": [0.1, 0.0]}]
    part = box([1, 4], [1.0, 4.0])
    problem = make_problem(part, supports=supports, solver={"preset": "auto"})
    with AssembledEquation(make_mesh(part), problem) as assembled:
        expected = assembled.solve(np.full(4, 0.5)).compliance
    physics = VoxelEquation(voxel_mesh(problem.mesh.box, 0, MPI.COMM_SELF), problem)
    assert physics.solve(np.full(4, 0.5)).compliance == pytest.approx(expected, rel=1e-12)
    assert expected[0] < 0


@pytest.mark.parametrize("cell", CELLS)
def test_a_load_on_an_interface(tmp_path, cell):
    part = {"file": str(write_gmsh(tmp_path / "mesh.msh", cell, interface=True))}
    mesh, value, loads = make_mesh(part), [0.3, -1.0, 0.5][: DIM[cell]], []
    for i, region in enumerate(("middle", plane("x", 0.5))):
        loads.append({"name": f"load{i}", "forces": [{"region": region, "total": value}]})
        loads.append({"name": f"traction{i}", "forces": [{"region": region, "traction": value}]})
    physics = AssembledEquation(mesh, make_problem(part, loads=loads))
    assert physics.complaints == []
    assert {applied.target.split()[1] for applied in physics.applied} == {"1"}
    assert all(applied.target.endswith("inside the body") for applied in physics.applied)
    for load in physics.loads:
        np.testing.assert_allclose(load, physics.loads[0], atol=1e-12)
    both = [{"forces": [{"region": {"any_of": ["middle", "left"]}, "total": value}]}]
    target = AssembledEquation(mesh, make_problem(part, loads=both)).applied[0].target
    assert " 1 of the boundary, without " in target and target.endswith(" facets inside the body")
    said = joined.complaints(mesh, loads=[{"forces": [{"region": "middle", "pressure": 1}]}])
    assert said == [
        "loads[0].forces[0].region: all facets of tag 'middle' are inside the body, where a pressure has no side; "
        "give traction"
    ]


@pytest.mark.parametrize("dim", [2, 3])
def test_engines_agree_on_a_load_inside(dim):
    part = box([4, 3, 2][:dim], [4.0, 3.0, 2.0][:dim])
    problem = make_problem(part, loads=[{"forces": [{"region": plane("x", 2), "total": [0.5, -1.0, 0.2][:dim]}]}])
    found = []
    with AssembledEquation(make_mesh(part), problem) as physics:
        found.append((physics.applied[0].target, physics.solve(np.full(physics.mesh.n, 0.5)).compliance[0]))
    voxels = VoxelEquation(voxel_mesh(problem.mesh.box, 0, MPI.COMM_SELF), problem)
    found.append((voxels.applied[0].target, voxels.solve(np.full(voxels.mesh.n, 0.5), rtol=1e-10).compliance[0]))
    assert found[0][0] == found[1][0] and found[0][1] == pytest.approx(found[1][1], rel=1e-6)


def test_void_that_cuts_a_box_is_seen_by_both_engines_on_any_ranks(mpirun):
    found, several = cut_off.facts(MPI.COMM_SELF), json.loads(mpirun(3, Path(cut_off.__file__)))
    assert found == several
    for dim in (2, 3):
        for void, said in (("wall", "are free to move along x"), ("bridge", "nothing"), ("diagonal", "free to rotate")):
            texts = {found[f"{void} {dim} {engine}"] for engine in ("assembled", "voxel")}
            assert len(texts) == 1 and said in texts.pop()
