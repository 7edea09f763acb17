"""The exported part is closed, and as large as the part it shows."""

import zipfile

from mpi4py import MPI

import numpy as np
import pytest
import pyvista
import trimesh
import yaml
from results_boxes import SPACING, box, centres, image_box, run_script

from morpho.errors import InputError, StorageError
from morpho.results.designs import load_design
from morpho.results.surface import export, find_part, said
from morpho.results.vtk import VtkSeries

RADIUS = 0.35
SPHERE = 4 / 3 * np.pi * RADIUS**3


@pytest.fixture(params=[box, image_box])
def make(request):
    return request.param


def write_design(folder, make, density, shape=(24, 24, 24)):
    """A run folder with a unit box and a density that is a function of the distance to a point or of x."""
    grid = make(shape, MPI.COMM_SELF, [1.0] * len(shape))
    VtkSeries(folder, grid, None).write(3, {"physical_density": density(centres(grid))}, {})


def ball(centre):
    return lambda x: np.clip(0.5 + 12.0 * (RADIUS - np.linalg.norm(x - centre, axis=1)), 0.0, 1.0)


@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("suffix", [".stl", ".ply"])
@pytest.mark.parametrize(
    ("centre", "volume"), [((0.5, 0.5, 0.5), SPHERE), ((0.5, 0.5, 0.0), SPHERE / 2), ((1, 1, 1), SPHERE / 8)]
)
def test_ball_inside_and_cut_by_the_domain(tmp_path, make, centre, volume, suffix, smooth):
    write_design(tmp_path, make, ball(np.array(centre)))
    output = tmp_path / f"part{suffix}"
    report = export(tmp_path, output, smooth=smooth)
    part = pyvista.read(output).clean()
    assert report["watertight"] and part.n_open_edges == 0 and part.is_manifold
    assert report["n_triangles"] == part.n_cells
    assert report["volume"] == pytest.approx(volume, rel=0.04)
    assert part.volume == pytest.approx(report["volume"], rel=1e-5)


@pytest.mark.parametrize("smooth", [False, True])
def test_full_box_keeps_its_faces(tmp_path, make, smooth):
    write_design(tmp_path, make, lambda x: np.ones(len(x)), (3, 4, 5))
    report = export(tmp_path, tmp_path / "part.stl", smooth=smooth)
    assert report["watertight"] and report["volume"] == pytest.approx(1.0, rel=1e-6)


@pytest.mark.parametrize("centre", [(0.5, 0.5, 0.5), (0.5, 0.5, 0.0), (1, 1, 1)])
def test_the_part_has_the_volume_of_the_design(tmp_path, make, centre):
    write_design(tmp_path, make, lambda x: 0.8 * ball(np.array(centre))(x) ** 2)
    figures = export(tmp_path, tmp_path / "part.stl")
    assert figures["volume"] == pytest.approx(figures["design_volume"], rel=2e-3)
    assert figures["pieces"] == 1 and figures["watertight"]
    assert len(said(tmp_path / "part.stl", figures)) == 1


def two_balls(x):
    return np.maximum(ball([0.3, 0.3, 0.3])(x + 0.15), ball([0.75, 0.75, 0.75])(x - 0.2))


def test_pieces_are_counted_and_dropped(tmp_path, make):
    write_design(tmp_path, make, two_balls)
    both = export(tmp_path, tmp_path / "part.stl", level=0.5)
    one = export(tmp_path, tmp_path / "one.stl", level=0.5, largest=True)
    assert (both["pieces"], one["pieces"]) == (2, 1) and 0 < both["loose"] < 0.5
    assert one["volume"] == pytest.approx((1 - both["loose"]) * both["volume"], rel=0.05)
    assert "warning: the part is 2 pieces" in said(tmp_path, both)[-1]
    whole, rest = (export(tmp_path, tmp_path / "part.stl", largest=largest) for largest in (False, True))
    assert rest["level"] == whole["level"] and rest["volume"] < 0.8 * whole["volume"]


def test_only_what_is_cut_is_smoothed(tmp_path, make):
    """A half ball on a face: the points in the face stay."""
    write_design(tmp_path, make, ball(np.array([0.5, 0.5, 0.0])))
    rough, smooth = (find_part(load_design(tmp_path), 0.5, smooth).surface for smooth in (False, True))
    before, after = ({tuple(x) for x in np.round(surface.points, 12)} for surface in (rough, smooth))
    assert {x for x in after if x[2] == 0} == {x for x in before if x[2] == 0}
    assert len(before & after) < 0.7 * len(before)


@pytest.mark.parametrize("planes", [["x"], ["x", "y", "z"]])
def test_halves_are_completed(tmp_path, make, planes):
    write_design(tmp_path, make, ball(np.array([0.0, 1.0, 0.0])), (12, 12, 12))
    at = {"x": 0, "y": 1, "z": 0}
    problem = {
        "mesh": {"box": {"size": [1, 1, 1], "cells": [12, 12, 12]}},
        "supports": [{"region": {"plane": {"axis": axis, "at": at[axis]}}, "fix": axis} for axis in planes],
        "loads": [{"forces": [{"body": [0, 0, 1]}]}],
        "constraints": [{"volume_fraction": 0.5}],
    }
    (tmp_path / "problem.yaml").write_text(yaml.safe_dump(problem))
    part, whole = (export(tmp_path, tmp_path / "part.stl", symmetric=s) for s in (False, True))
    assert whole["volume"] == pytest.approx(2 ** len(planes) * part["volume"], rel=0.01) and whole["watertight"]
    (tmp_path / "problem.yaml").write_text(
        yaml.safe_dump(problem | {"supports": [{"region": {"plane": {"axis": "x", "at": 0}}}]})
    )
    with pytest.raises(InputError, match="no plane of symmetry"):
        export(tmp_path, tmp_path / "part.stl", symmetric=True)


def test_3mf_is_in_millimetres(tmp_path, make):
    write_design(tmp_path, make, ball(np.array([0.5, 0.5, 0.5])))
    figures = export(tmp_path, tmp_path / "part.3mf", units="cm")
    with zipfile.ZipFile(tmp_path / "part.3mf") as archive:
        assert 'unit="millimeter"' in archive.read("3D/3dmodel.model").decode()
    (part,) = trimesh.load(tmp_path / "part.3mf").geometry.values()
    assert part.is_watertight and part.body_count == 1 and len(part.faces) == figures["n_triangles"]
    assert part.volume == pytest.approx(1000 * figures["volume"], rel=1e-5)
    with pytest.raises(InputError, match="units: got furlong"):
        export(tmp_path, tmp_path / "part.3mf", units="furlong")


def test_cells_of_the_solid(tmp_path, make):
    write_design(tmp_path, make, ball(np.array([0.5, 0.5, 0.5])))
    figures = export(tmp_path, tmp_path / "part.vtu")
    cells = pyvista.read(tmp_path / "part.vtu")
    assert cells.n_cells == figures["cells"] and cells.volume == pytest.approx(figures["design_volume"], rel=0.04)


def test_noise_is_still_closed(tmp_path, make):
    write_design(tmp_path, make, lambda x: np.random.default_rng(0).random(len(x)).round(), (12, 12, 12))
    assert export(tmp_path, tmp_path / "part.stl", smooth=False)["watertight"]


@pytest.mark.parametrize(("script", "cell"), [("vtk_script.py", 1.0), ("image_script.py", SPACING.prod())])
def test_pieces_of_several_ranks_are_joined(tmp_path, script, cell):
    run_script(3, script, "none", "0,10", tmp_path, "6,4,5")
    design = load_design(tmp_path, step=0)
    assert design.n_cells == 120 and design.n_points == 7 * 5 * 6
    report = export(tmp_path, tmp_path / "part.stl", smooth=False)
    assert report["watertight"] and report["volume"] == pytest.approx(3 * 4 * 5 * cell, rel=0.01)


def test_what_cannot_be_exported(tmp_path, make):
    with pytest.raises(InputError, match=r"design\.pvd"):
        export(tmp_path, tmp_path / "part.stl")
    write_design(tmp_path, make, ball(np.array([0.5, 0.5, 0.5])), (4, 4, 4))
    with pytest.raises(InputError, match=r"\.obj"):
        export(tmp_path, tmp_path / "part.obj")
    with pytest.raises(InputError, match="between 0 and 1"):
        export(tmp_path, tmp_path / "part.stl", level=1.0)
    with pytest.raises(InputError, match="1 written steps"):
        load_design(tmp_path, step=1)
    with pytest.raises(StorageError, match="nowhere"):
        export(tmp_path, tmp_path / "nowhere" / "part.stl")
    (tmp_path / "folder.stl").mkdir()
    (tmp_path / "link.stl").symlink_to(tmp_path / "theirs.stl")
    for name, words in {"folder": "is a folder", "link": "is a link to"}.items():
        with pytest.raises(InputError, match=rf"{name}\.stl: {words}"):
            export(tmp_path, tmp_path / f"{name}.stl")
    assert not (tmp_path / "theirs.stl").exists()
    write_design(tmp_path, make, lambda x: np.full(len(x), 0.3), (4, 4, 4))
    with pytest.raises(InputError, match="above the level"):
        export(tmp_path, tmp_path / "part.stl", level=0.5)
    next((tmp_path / "vtk").glob("*.vt?")).unlink()
    with pytest.raises(InputError, match=r"missing files.*\.vt"):
        load_design(tmp_path)
    write_design(tmp_path, make, lambda x: np.ones(len(x)), (4, 4))
    with pytest.raises(InputError, match="two-dimensional"):
        export(tmp_path, tmp_path / "part.stl")
