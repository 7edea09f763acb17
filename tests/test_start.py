"""A run that starts from the design of another one, or from an array."""

import json
import shutil
from pathlib import Path

from mpi4py import MPI

import numpy as np
import pytest
from helpers import box, make_problem, plane
from running import run, settings, write_mbb

import morpho
from morpho.errors import InputError
from morpho.mesh import build_mesh, voxel_mesh
from morpho.parts import Parts
from morpho.problem import dump_problem, load_problem, spec
from morpho.start import begin
from morpho.transfer import transfer

COMM = MPI.COMM_SELF


def bar(cells=(12, 6, 6), cell=None, volume=0.4, size=(2.0, 1.0, 1.0), iterations=0, **parts):
    dim = len(cells)
    return make_problem(
        box(list(cells), list(size)[:dim], cell),
        loads=[{"forces": [{"region": plane("x", size[0]), "total": [0, -1, 0][:dim]}]}],
        constraints=[{"volume_fraction": volume}],
        design={"filter": {"kind": "cone", "radius": 0.25}},
        optimizer={"max_iterations": iterations},
        **parts,
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """Designs of a box and of tetrahedra."""
    folder = tmp_path_factory.mktemp("runs")
    morpho.solve(bar(iterations=8), folder / "box", COMM)
    morpho.solve(bar((6, 3, 3), "tetrahedron", iterations=8), folder / "tetrahedra", COMM)
    return folder


def from_run(folder: Path, **parts):
    return bar(start={"run": str(folder)}, **parts)


def first(problem) -> morpho.Step:
    return next(iter(morpho.iterate(problem, COMM)))


def test_the_same_mesh_takes_the_design_as_it_is(runs):
    step = first(from_run(runs / "box"))
    np.testing.assert_array_equal(np.sort(step.x), np.sort(np.load(runs / "box" / "checkpoint" / "a" / "x.npy")))
    for volume in (0.02, 0.97, 0.3):
        shifted = first(from_run(runs / "box", volume=volume))
        assert shifted.volume == pytest.approx(volume, rel=1e-6)
    assert np.corrcoef(shifted.x, step.x)[0, 1] > 0.95


@pytest.mark.parametrize(
    ("run", "cells", "cell", "size"),
    [
        ("box", (24, 12, 12), None, (2, 1, 1)),
        ("box", (9, 5, 5), None, (2, 1, 1)),
        ("box", (12, 6, 6), None, (3, 1, 1)),
        ("box", (12, 6, 6), "tetrahedron", (2, 1, 1)),
        ("tetrahedra", (9, 5, 5), None, (2, 1, 1)),
        ("tetrahedra", (9, 5, 5), "tetrahedron", (2, 1, 1)),
    ],
)
def test_another_mesh_takes_it_by_location_and_has_the_volume(runs, run, cells, cell, size):
    problem = from_run(runs / run, cells=cells, cell=cell, size=size)
    with Parts(problem, COMM) as parts:
        start = begin(parts)
    step, cold = first(problem), first(bar(cells, cell, size=size))
    assert step.volume == pytest.approx(0.4, rel=1e-5)
    assert step.objective < (0.7 if size[0] == 2 else 1.5) * cold.objective
    assert any("scaled from the volume fraction" in note for note in start.notes)
    assert any("33 % of the volume lies outside" in note for note in start.notes) == (size[0] == 3)


def test_grids_keep_the_integral_and_find_themselves():
    coarse, fine = (voxel_mesh(spec.BoxMesh(size=(3, 2, 1), cells=cells), 0, COMM) for cells in ((7, 5, 3), (16, 9, 4)))
    values = np.random.default_rng(1).random(coarse.n)
    moved = transfer(coarse, values, fine)
    assert moved.found == pytest.approx(1)
    assert fine.volumes @ moved.values == pytest.approx(coarse.volumes @ values, rel=1e-13)
    np.testing.assert_allclose(transfer(coarse, values, coarse).values, values, atol=1e-14)
    tetrahedra = build_mesh(spec.Mesh.model_validate(box([7, 5, 3], [3.0, 2, 1], "tetrahedron")), COMM)
    linear = tetrahedra.centers @ [0.2, 0.1, 0.1]
    np.testing.assert_allclose(transfer(tetrahedra, linear, tetrahedra).values, linear, atol=0.03)
    apart = voxel_mesh(spec.BoxMesh(size=(1, 1, 1), cells=(2, 2, 2), origin=(9, 9, 9)), 0, COMM)
    assert transfer(coarse, values, apart).found == transfer(tetrahedra, linear, apart).found == 0


def test_voxels_of_a_part_take_it_and_give_it(runs, tmp_path):
    import trimesh

    trimesh.creation.icosphere(3, 0.45).apply_translation([1, 0.5, 0.5]).export(tmp_path / "ball.stl")

    def ball(spacing, **parts):
        return make_problem(
            {"voxelize": str(tmp_path / "ball.stl"), "spacing": spacing},
            supports=[{"region": {"box": {"min": [0, 0, 0], "max": [0.7, 1, 1]}}}],
            loads=[{"forces": [{"body": [0, -1, 0]}]}],
            optimizer={"max_iterations": 3},
            **parts,
        )

    own = morpho.solve(ball(0.1, start={"run": str(runs / "tetrahedra")}), tmp_path / "ball", COMM)
    assert own.volume == pytest.approx(0.5, rel=1e-3)
    finer = first(ball(0.07, start={"run": str(tmp_path / "ball")}))
    assert finer.volume == pytest.approx(0.5, rel=1e-5) and np.ptp(finer.x) > 0.5
    within = first(from_run(tmp_path / "ball"))
    assert within.volume == pytest.approx(0.4, rel=1e-5)


def test_any_number_of_ranks_starts_alike_and_goes_on(runs, tmp_path):
    """Written by two ranks, read by three; stopped at once, and resumed although the first run is gone."""
    shutil.copytree(runs / "box", tmp_path / "coarse")
    fine = bar((24, 12, 12), iterations=2)
    (tmp_path / "fine.yaml").write_text(dump_problem(fine) + "start: {run: coarse}\n")
    (tmp_path / "tets.yaml").write_text(dump_problem(bar((6, 5, 5), "tetrahedron", iterations=2)))
    two = run(2, "solve", tmp_path / "fine.yaml", "--output", tmp_path / "two", cwd=tmp_path)
    assert two.returncode == 0, two.stderr
    assert "start: from the design of" in two.stdout
    arguments = ["tets.yaml", "--start-from", "two", "--output", "three"]
    three = run(3, "solve", *arguments, *settings("optimizer.max_iterations=1"), cwd=tmp_path)
    assert three.returncode == 0, three.stderr
    alone = first(from_run(tmp_path / "two", cells=(6, 5, 5), cell="tetrahedron"))
    found = json.loads((tmp_path / "three" / "result.json").read_text())
    assert found["objective"] == pytest.approx(alone.objective, rel=1e-6)
    shutil.rmtree(tmp_path / "coarse")
    more = run(1, "resume", "two", *settings("optimizer.max_iterations=3"), cwd=tmp_path)
    assert more.returncode == 0, more.stderr
    serial = morpho.solve(from_run(runs / "box", cells=(24, 12, 12), iterations=3), comm=COMM)
    resumed = json.loads((tmp_path / "two" / "result.json").read_text())
    assert resumed["objective"] == pytest.approx(serial.objective, rel=1e-6)


def test_an_array_is_taken_as_it_is(runs):
    problem = bar(iterations=1)
    x = np.random.default_rng(0).random(432)
    result = morpho.solve(problem, comm=COMM, x0=x)
    np.testing.assert_array_equal(result.x, x)
    for wrong, said in ((x[:3], r"shape \(3,\), this rank has 432 cells"), (x + 1, "between 0 and 1")):
        with pytest.raises(InputError, match=said):
            morpho.solve(problem, comm=COMM, x0=wrong)


def test_no_iterations_solve_the_start(tmp_path):
    result = morpho.solve(bar(), tmp_path / "run", COMM)
    assert result.iterations == 0 and result.status is morpho.Status.ITERATION_LIMIT
    assert result.objective == pytest.approx(first(bar()).objective) and np.ptp(result.x) == 0
    assert morpho.resume(tmp_path / "run", bar(iterations=3), COMM).iterations == 3


def test_the_whole_design_is_in_the_order_of_the_file():
    result = morpho.solve(bar((6, 3, 3), "tetrahedron"), comm=COMM)
    assert result.whole(result.key, COMM).tolist() == list(range(324))
    assert result.whole(comm=COMM).shape == (324,)


def test_what_cannot_be_started_from(runs, tmp_path):
    file = write_mbb(tmp_path)

    def said(folder: str) -> str:
        problem = load_problem(file, [f"start.run={folder}", "optimizer.max_iterations=1"])
        with pytest.raises(InputError) as error:
            morpho.solve(problem, tmp_path / "new", COMM)
        assert not (tmp_path / "new").exists()
        return str(error.value)

    assert "there is no such folder" in said("nowhere")
    (tmp_path / "empty").mkdir()
    assert "is no run folder" in said("empty")
    assert "is 3-dimensional, the problem 2-dimensional" in said(str(runs / "box"))
    for broken, text in (("meta.json", "no usable checkpoint"), ("problem.yaml", "cannot be read again")):
        shutil.copytree(runs / "box", tmp_path / broken)
        for path in (tmp_path / broken).rglob(broken):
            path.write_text("# morpho of a stranger\n[]")
        assert text in said(broken)
    shutil.copytree(runs / "box", tmp_path / "other")
    text = (tmp_path / "other" / "problem.yaml").read_text()
    (tmp_path / "other" / "problem.yaml").write_text(text.replace("[12, 6, 6]", "[1200000, 600000, 600000]"))
    problem = from_run(tmp_path / "other", cells=(3, 3, 3))
    with pytest.raises(InputError, match="not of the mesh that its"):
        morpho.solve(problem, comm=COMM)
