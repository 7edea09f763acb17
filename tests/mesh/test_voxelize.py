"""Parts filled with voxels: what exists, what acts on it, what is refused; equal to boxes, on any number of ranks."""

import json
from math import pi
from pathlib import Path

from mpi4py import MPI

import numpy as np
import pytest
import trimesh
from cad_parts import RADIUS, SIZE, draw_plate, drawing
from helpers import assert_same, box, evaluate, plane, taylor_rates
from part_facts import HOLE, facts, problem

from morpho.design.helmholtz import HelmholtzFilter
from morpho.errors import InputError
from morpho.fem.voxel.helmholtz import VoxelHelmholtz
from morpho.fem.voxel.part_helmholtz import PartHelmholtz
from morpho.mesh import voxelized
from morpho.parts import Parts
from morpho.problem import spec
from morpho.problem.load import parse_problem
from morpho.problem.regions import Region

SCRIPT = Path(__file__).parent.parent / "part_facts.py"
H = 1.25


@pytest.fixture(scope="module")
def plate(tmp_path_factory):
    """The plate with a hole of `test_cad`, as a STEP file."""
    return draw_plate(tmp_path_factory.mktemp("part") / "plate.step")


@pytest.fixture
def brick(tmp_path):
    """A brick of 2 x 1 x 1 as STL."""
    path = tmp_path / "brick.stl"
    trimesh.creation.box(bounds=[(0, 0, 0), (2, 1, 1)]).export(path)
    return path


def filled(path, spacing=H, comm=MPI.COMM_SELF, **parts):
    return voxelized(spec.Mesh(voxelize=str(path), spacing=spacing, **parts), comm)


def test_cells_are_inside_when_their_centre_is(plate):
    mesh = filled(plate)
    assert mesh.cells == (32, 16, 4) and mesh.origin.tolist() == [0, 0, 0]
    x = np.concatenate(list(mesh.places(cells=True)))
    away = np.hypot(*(np.stack(np.meshgrid(np.arange(32), np.arange(16))) + 0.5 - 8)) * H
    assert len(x) == mesh.n == mesh.n_global == 4 * np.count_nonzero(away > RADIUS)
    assert np.hypot(x[:, 0] - 10, x[:, 1] - 10).min() > RADIUS
    assert mesh.total_volume == pytest.approx(mesh.n * H**3) and mesh.volumes.sum() == pytest.approx(mesh.n * H**3)
    assert np.array_equal(mesh.key, np.arange(mesh.n))
    assert mesh.total_volume == pytest.approx(40 * 20 * 5 - pi * RADIUS**2 * 5, rel=5e-3)
    assert filled(plate, 2 * H, refine=1).n_global == mesh.n_global


def test_a_full_box_is_a_box(brick, tmp_path):
    """Nothing differs from a box mesh but the order of some sums."""
    given = {
        "supports": [{"region": plane("x", 0)}],
        "loads": [{"forces": [{"region": plane("x", 2), "total": [0, 0, -1]}]}],
        "constraints": [{"volume_fraction": 0.4}],
        "design": {"filter": {"radius": 0.3}},
    }
    rows = []
    for mesh in ({"voxelize": str(brick), "spacing": 0.125}, box([16, 8, 8], [2, 1, 1])):
        with Parts(parse_problem(given | {"mesh": mesh}, "brick", tmp_path), MPI.COMM_SELF) as parts:
            rows.append(evaluate(parts, np.linspace(0.2, 0.9, parts.mesh.n)))
    assert rows[0].objective == pytest.approx(rows[1].objective, rel=1e-9)
    assert np.allclose(rows[0].d_objective, rows[1].d_objective, rtol=1e-7)


def test_like_a_box_with_void(plate, tmp_path):
    """What is outside is what void tends to."""
    cut = {"cylinder": {"center": [10, 10, 0], "radius": RADIUS}}
    end = {"forces": [{"region": plane("x", 0), "total": [0, 3, 1]}]}
    compliance = []
    for mesh, passive in (
        ({"voxelize": str(plate), "spacing": H}, {}),
        (box([32, 16, 4], list(SIZE)), {"passive": {"void": [cut]}}),
    ):
        given = problem(
            plate, mesh=mesh, loads=[end], material={"E_min_ratio": 1e-9}, design={"filter": {"radius": 3.0}} | passive
        )
        with Parts(given, MPI.COMM_SELF) as parts:
            rho = np.full(parts.mesh.n, 0.7)
            rho[parts.design.passive.void] = 0
            compliance.append(parts.physics.solve(rho).compliance[0])
    assert compliance[0] == pytest.approx(compliance[1], rel=1e-6)


def test_faces_regions_and_forces(plate):
    """A face of the CAD part holds the steps that stand for it; a pressure in a hole has no resultant."""
    mesh = filled(plate)
    (hole,) = [name for name, x in mesh.surfaces.items() if np.ptp(x[:, :, 2]) == 5 and np.ptp(x[:, :, 0]) == 8]
    near = Region.model_validate({"near": {"region": hole, "distance": 2.5}})
    x = np.concatenate(list(mesh.places(cells=True)))[mesh.cells_in(near)]
    distance = np.hypot(x[:, 0] - 10, x[:, 1] - 10)
    assert distance.min() > RADIUS - 0.01 and distance.max() < RADIUS + 2.5 + 0.01 and len(x) > 100
    for region, force, total in (
        ({"tag": hole}, {"pressure": 2.0}, (0, 0, 0)),
        ({"tag": hole}, {"bearing": [5, 0, 0]}, (5, 0, 0)),
        ({"near": {"region": HOLE, "distance": 0.9}}, {"total": [0, 3, 1]}, (0, 3, 1)),
        ({"plane": {"axis": "z", "at": 5}}, {"traction": [0, 0, 1]}, (0, 0, mesh.n_global / 4 * H**2)),
    ):
        with Parts(problem(plate, loads=[{"forces": [{"region": region} | force]}]), MPI.COMM_SELF) as parts:
            (applied,) = parts.physics.applied
        assert not applied.complaint and applied.total == pytest.approx(total, abs=1e-9)


def test_self_weight_is_that_of_the_part(plate):
    given = problem(plate, loads=[{"forces": [{"self_weight": [0, 0, -2]}]}], optimizer={"kind": "mma"})
    with Parts(given, MPI.COMM_SELF) as parts:
        (applied,) = parts.physics.applied
        assert applied.total[2] == pytest.approx(-2 * parts.mesh.total_volume)
        x = np.concatenate(list(parts.mesh.places(cells=True)))
        assert applied.moment == pytest.approx(np.cross(x.mean(axis=0), applied.total))


@pytest.mark.parametrize("kind", ["cone", "helmholtz", "sensitivity"])
def test_filters_keep_a_full_part_full(plate, kind):
    with Parts(problem(plate, design={"filter": {"kind": kind, "radius": 3.0}}), MPI.COMM_SELF) as parts:
        rho, pull = parts.design.at(1).apply(np.ones(parts.mesh.n))
        assert rho == pytest.approx(1, abs=1e-9) and pull(rho).sum() == pytest.approx(parts.mesh.n)
        assert parts.design.smooth(rho, rho) == pytest.approx(1)


def test_the_helmholtz_filter_of_a_full_part_is_that_of_the_box(brick):
    part = filled(brick, 0.125)
    whole = VoxelHelmholtz(part, 0.2)
    mine = PartHelmholtz(part, 0.2)
    s = np.sin(np.arange(part.n) ** 2.0)
    assert mine.apply(s) == pytest.approx(whole.apply(s), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("kind", ["cone", "helmholtz"])
def test_derivatives(plate, kind):
    given = problem(plate, design={"filter": {"kind": kind, "radius": 3.0}, "projection": {"beta": 2}})
    with Parts(given, MPI.COMM_SELF) as parts:
        x = 0.5 + 0.3 * np.sin(np.arange(parts.mesh.n))

        def f(x):
            found = evaluate(parts, x)
            return found.objective, found.d_objective

        rates = taylor_rates(f, x, np.cos(np.arange(parts.mesh.n) * 1.7))
    assert rates.min() > 1.9


@pytest.mark.parametrize("kind", ["cone", "helmholtz"])
def test_any_number_of_ranks(mpirun, plate, kind):
    one = facts(MPI.COMM_SELF, str(plate), kind)
    assert one["volume"] == pytest.approx(0.4, rel=1e-4)
    for ranks in (2, 3):
        assert_same(json.loads(mpirun(ranks, SCRIPT, plate, kind)), one, 1e-6)


def test_filter_is_symmetric(plate):
    """In the volumes: the pullback is the transpose."""
    with Parts(problem(plate, design={"filter": {"kind": "helmholtz", "radius": 3.0}}), MPI.COMM_SELF) as parts:
        pde = parts.design._filter(1)[0]
        assert isinstance(pde, HelmholtzFilter)
        a, b = (np.sin(np.arange(parts.mesh.n) * w) for w in (0.3, 1.1))
        assert pde.pde.apply(a) @ b == pytest.approx(a @ pde.pde.apply(b), rel=1e-9)


# What people bring along


def complaint(path, spacing=H, **parts):
    with pytest.raises(InputError) as error:
        filled(path, spacing, **parts)
    return str(error.value)


def test_a_surface_with_a_hole_is_refused_with_its_place(tmp_path):
    sphere = trimesh.creation.icosphere(subdivisions=4, radius=10)
    sphere.update_faces(np.arange(len(sphere.faces)) > 0)
    sphere.export(tmp_path / "open.stl")
    said = complaint(tmp_path / "open.stl")
    assert "open.stl is open: 1 hole, at (" in said and "across" in said
    mesh = filled(tmp_path / "open.stl", 3.0)  # small against a voxel
    assert any("gap" in note for note in mesh.notes)


def test_surfaces_that_cross(tmp_path):
    one, other = (trimesh.creation.box(extents=(2, 2, 2)).subdivide() for _ in range(2))
    other.apply_translation((1, 0.5, 0.25))
    trimesh.util.concatenate([one, other]).export(tmp_path / "two.stl")
    mesh = filled(tmp_path / "two.stl", 0.25)
    assert mesh.total_volume == pytest.approx(16 - 1 * 1.5 * 1.75, rel=0.1)
    assert any("overlap" in note for note in mesh.notes)
    bow = trimesh.creation.box(extents=(2, 2, 2)).subdivide().subdivide()
    bow.vertices[:, :2] *= np.where(bow.vertices[:, 2:] < 0, -1.0, 1.0)  # turned inside out in the middle
    bow.vertices[np.abs(bow.vertices[:, 2]) < 0.1, :2] *= 0.3
    bow.export(tmp_path / "bow.stl")
    assert "crosses itself, at (" in complaint(tmp_path / "bow.stl", 0.1)


def test_a_cavity_stays_empty(tmp_path):
    outer, inner = trimesh.creation.box(extents=(4, 4, 4)), trimesh.creation.box(extents=(2, 2, 2))
    inner.invert()
    trimesh.util.concatenate([outer, inner]).export(tmp_path / "hollow.stl")
    mesh = filled(tmp_path / "hollow.stl", 0.5)
    assert mesh.total_volume == pytest.approx(64 - 8) and "1 body, 1 cavities" in mesh.notes[0]


def test_units_and_sizes(brick, tmp_path):
    assert "reaches from (0, 0, 0) to (2, 1, 1)" in complaint(brick, 1000.0)
    assert "this machine cannot hold" in complaint(brick, 1e-5)
    trimesh.creation.box(extents=(10, 10, 0.2)).export(tmp_path / "thin.stl")
    assert any("hardly thicker than a voxel" in note for note in filled(tmp_path / "thin.stl", 0.5).notes)
    trimesh.Trimesh([[0, 0, 0], [9, 0, 0], [0, 9, 0]], [[0, 1, 2], [0, 2, 1]]).export(tmp_path / "flat.stl")
    assert "no voxel has its centre" in complaint(tmp_path / "flat.stl")
    (tmp_path / "no.stl").write_text("solid nothing\nendsolid nothing\n")
    assert "no.stl" in complaint(tmp_path / "no.stl")
    (tmp_path / "part.msh").write_text("$MeshFormat\n")
    assert "should end with one of .stl" in complaint(tmp_path / "part.msh")


def test_an_assembly(tmp_path):
    """Bodies that touch are one, one apart is missed by the supports, which is said."""
    path = tmp_path / "assembly.step"
    with drawing(path) as occ:
        for x in (0, 2, 5):
            occ.addBox(x, 0, 0, 2, 2, 2)
    mesh = filled(path, 0.25)
    assert mesh.total_volume == pytest.approx(24) and "3 solids" in mesh.notes[0]
    given = {
        "mesh": {"voxelize": str(path), "spacing": 0.5},
        "supports": [{"region": plane("x", 0)}],
        "loads": [{"forces": [{"region": plane("x", 4), "total": [0, 0, -1]}]}],
        "constraints": [{"volume_fraction": 0.4}],
    }
    with Parts(parse_problem(given, "assembly", tmp_path), MPI.COMM_SELF) as parts:
        assert any("carry no load" in note for note in parts.physics.notes)
    given["loads"][0]["forces"][0]["region"] = plane("x", 7)
    with pytest.raises(InputError) as error, Parts(parse_problem(given, "assembly", tmp_path), MPI.COMM_SELF):
        pass
    assert "mesh: 64 of 192 cells" in str(error.value) and "carry load" in str(error.value)


def test_regions_by_a_surface_file(plate, tmp_path):
    trimesh.creation.cylinder(radius=RADIUS, height=20).apply_translation((10, 10, 0)).export(tmp_path / "bolt.stl")
    region = {"surface": "bolt.stl", "within": 0.9}
    given = problem(plate).model_dump(mode="json", exclude_none=True)
    given["loads"] = [{"forces": [{"region": region, "total": [0, 3, 1]}]}]
    with Parts(parse_problem(given, "plate", tmp_path), MPI.COMM_SELF) as parts:
        by_file = parts.physics.applied[0].target
    with Parts(problem(plate), MPI.COMM_SELF) as parts:
        by_shape = parts.physics.applied[0].target
    assert by_file == by_shape
    trimesh.creation.icosphere().apply_translation((500, 0, 0)).export(tmp_path / "bolt.stl")  # the same name
    with pytest.raises(InputError) as error, Parts(parse_problem(given, "plate", tmp_path), MPI.COMM_SELF):
        pass
    assert "the surface reaches from (499, -1, -1) to (501, 1, 1)" in str(error.value)
    given["loads"][0]["forces"][0]["region"] = {"surface": "bolt.stl"}
    with pytest.raises(InputError, match="needs a distance, within"):
        parse_problem(given, "plate", tmp_path)
    given["loads"][0]["forces"][0]["region"] = {"surface": "none.stl", "within": 0.9}
    with pytest.raises(InputError, match="surface: there is no file"):
        parse_problem(given, "plate", tmp_path)
