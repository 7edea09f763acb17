"""The run folder: every file of it, with its columns and keys, after a short run on two ranks."""

import json
from pathlib import Path

from mpi4py import MPI

import numpy as np
import pytest
import pyvista
from running import run, settings, write_mbb

import morpho
from morpho.problem import load_problem
from morpho.results.history import read_history

COLUMNS = "iteration,objective,kind,volume,change,greyness,exact_solves,linear_iterations,seconds"
KEYS = {
    *("name", "status", "objective", "volume", "iterations", "exact_solves", "linear_iterations", "wall_seconds"),
    *("setup_seconds", "peak_rss_bytes", "n_design", "n_dofs", "ranks", "source", "morpho_version"),
}
ITERATIONS = 13


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the run went by default."""
    cwd = tmp_path_factory.mktemp("run")
    more = "material: {penalty: {start: 2, max: 3, every: 5, step: 1}}"
    file = write_mbb(cwd, more, name="beam.yaml")
    output = settings("output.checkpoint_every=4", "output.every=6", "output.first=3")
    done = run(2, "solve", file, "--set", f"optimizer.max_iterations={ITERATIONS}", *output, cwd=cwd)
    assert done.returncode == 0, done.stderr
    (cwd / "runs" / "beam" / "terminal").write_text(done.stdout)
    return cwd / "runs" / "beam"


def result_of(folder: Path) -> dict:
    return json.loads((folder / "result.json").read_text())


def test_files(folder: Path) -> None:
    names = {path.name for path in folder.iterdir()} - {"terminal", "vtk", ".lock"}
    assert names == {"problem.yaml", "history.csv", "result.json", "design.pvd", "checkpoint", "log.txt"}
    assert {path.name for path in (folder / "checkpoint").iterdir()} == {"a", "b"}


def test_history(folder: Path) -> None:
    header, *lines = (folder / "history.csv").read_text().splitlines()
    assert f"{header},".startswith(f"{COLUMNS},")
    assert len(lines) == ITERATIONS
    table = read_history(folder / "history.csv")
    assert table["iteration"].tolist() == list(range(1, ITERATIONS + 1))
    assert set(table["kind"]) == {"exact"}
    assert table["exact_solves"].tolist() == list(range(1, ITERATIONS + 1))
    assert (np.diff(table["linear_iterations"], prepend=0) > 0).all()
    assert table["penalty"].tolist() == [2.0] * 5 + [3.0] * (ITERATIONS - 5)
    assert table["objective"][4] < table["objective"][0]
    np.testing.assert_allclose(table["volume"], 0.5, atol=1e-9)
    assert (table["seconds"] > 0).all()
    assert ((table["change"] > 0) & (table["change"] <= 0.2 + 1e-12)).all()
    assert ((table["greyness"] > 0) & (table["greyness"] <= 1)).all()


def test_result(folder: Path) -> None:
    result, table = result_of(folder), read_history(folder / "history.csv")
    assert set(result) >= KEYS
    assert (result["name"], result["status"], result["source"]) == ("beam", "iteration_limit", "exact")
    assert "optimizer.max_iterations" in result["message"]
    assert result["objective"] == table["objective"][-1]
    assert result["volume"] == table["volume"][-1]
    assert result["iterations"] == result["exact_solves"] == ITERATIONS
    assert result["linear_iterations"] == table["linear_iterations"][-1]
    assert (result["n_design"], result["n_dofs"], result["ranks"]) == (48, 130, 2)
    assert result["morpho_version"] == morpho.__version__
    assert 0 < result["setup_seconds"] < result["wall_seconds"]
    assert result["wall_seconds"] >= table["seconds"].sum()
    assert result["peak_rss_bytes"] > 2 * 50e6


def test_paraview_series(folder: Path) -> None:
    series = pyvista.get_reader(folder / "design.pvd")
    assert series.time_values == [1.0, 2.0, 3.0, 6.0, 12.0, float(ITERATIONS)]
    series.set_active_time_value(float(ITERATIONS))
    design = series.read()[0]
    assert design.n_cells == 48
    assert {"density", "physical_density", "sensitivity"} <= set(design.cell_data)
    assert design.point_data["displacement"].shape == (design.n_points, 3)
    assert design.bounds[:4] == (0.0, 12.0, 0.0, 4.0)
    assert design.cell_data["physical_density"].mean() == pytest.approx(0.5)
    # The load goes down at the upper left corner, so that is where the beam gives way most.
    tip = design.find_closest_point((0.0, 4.0, 0.0))
    work = -design.point_data["displacement"][tip, 1]
    assert work == pytest.approx(result_of(folder)["objective"], rel=1e-9)


def test_checkpoints_alternate(folder: Path) -> None:
    metas = [json.loads(path.read_text())["meta"] for path in (folder / "checkpoint").glob("?/meta.json")]
    assert sorted(meta["iteration"] for meta in metas) == [12, ITERATIONS]
    x = np.load(folder / "checkpoint" / "a" / "x.npy")
    assert x.shape == (48,)
    assert 0 <= x.min() < x.max() <= 1


def test_log_is_what_was_on_the_terminal(folder: Path) -> None:
    log = (folder / "log.txt").read_text()
    assert log == (folder / "terminal").read_text()
    lines = log.splitlines()
    iterations = [line for line in lines if line.startswith("it ")]
    assert [line.split(",")[0] for line in iterations] == [f"it {i}" for i in range(1, ITERATIONS + 1)]
    for key in ("objective", "constraint", "volume", "change", "grey", "penalty", "linear its", "exact"):
        assert all(key in line for line in iterations)
    for sentence in (
        f"morpho {morpho.__version__}: beam, 2 ranks",
        "mesh: 48 quadrilateral cells of mean size 1, domain 12 x 4",
        "filter: cone, radius 1.5 = 1.50 elements",
        "state: 130 unknowns, solver voxel multigrid",
        "loads[0].forces[0]: on 1 vertex, resultant (0, -1)",
        "load case tip: weight 1, total force (0, -1), moment about the origin 0",
        "results are in runs/beam (not converged)",
    ):
        assert sentence in lines


def test_resolved_problem_can_be_solved_again(folder: Path) -> None:
    text = (folder / "problem.yaml").read_text()
    assert text.startswith(f"# morpho {morpho.__version__}\n")
    problem = load_problem(folder / "problem.yaml")
    assert problem.name == "beam"
    assert problem.optimizer.max_iterations == ITERATIONS
    assert problem.move_limit(1) == 0.2
    assert morpho.solve(problem, comm=MPI.COMM_SELF).objective == pytest.approx(
        result_of(folder)["objective"], rel=1e-9
    )


def test_a_new_run_replaces_the_old_one(tmp_path: Path) -> None:
    problem = load_problem(write_mbb(tmp_path), ["optimizer.max_iterations=12"])
    morpho.solve(problem, tmp_path / "run", comm=MPI.COMM_SELF)
    short = load_problem(write_mbb(tmp_path), ["optimizer.max_iterations=3", "output.first=2"])
    with pytest.raises(morpho.errors.InputError, match=r"holds the results of a run already.*--overwrite"):
        morpho.solve(short, tmp_path / "run", comm=MPI.COMM_SELF)
    for name in ("design.stl", "history.png", "notes.txt"):
        (tmp_path / "run" / name).write_text("of the run before")
    morpho.solve(short, tmp_path / "run", comm=MPI.COMM_SELF, overwrite=True)
    assert not (tmp_path / "run" / "design.stl").exists() and not (tmp_path / "run" / "history.png").exists()
    assert (tmp_path / "run" / "notes.txt").read_text() == "of the run before"
    assert len(read_history(tmp_path / "run" / "history.csv")["iteration"]) == 3
    assert result_of(tmp_path / "run")["iterations"] == 3
    assert pyvista.get_reader(tmp_path / "run" / "design.pvd").time_values == [1.0, 2.0, 3.0]
    assert len(list((tmp_path / "run" / "vtk").glob("*.pvti"))) == 3
    assert (tmp_path / "run" / "log.txt").read_text().count("morpho ") == 2
    metas = [json.loads(path.read_text())["meta"] for path in (tmp_path / "run" / "checkpoint").glob("?/meta.json")]
    assert [meta["iteration"] for meta in metas] == [3]


def test_bad_input_leaves_the_run_before_as_it_was(tmp_path: Path) -> None:
    problem = load_problem(write_mbb(tmp_path), ["optimizer.max_iterations=2"])
    morpho.solve(problem, tmp_path / "run", comm=MPI.COMM_SELF)
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    wrong = load_problem(write_mbb(tmp_path), ["gradient.source=exakt"])
    with pytest.raises(morpho.errors.InputError, match="did you mean 'exact'"):
        morpho.solve(wrong, tmp_path / "run", comm=MPI.COMM_SELF, overwrite=True)
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


def test_check_solves_nothing(tmp_path: Path) -> None:
    done = run(1, "check", write_mbb(tmp_path), cwd=tmp_path)
    assert done.returncode == 0
    assert "design: 48 variables, 0 solid and 0 void cells" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["mbb.yaml"]


@pytest.mark.parametrize("cell", ["triangle", "quadrilateral", "tetrahedron", "hexahedron"])
def test_cells_in_paraview_have_their_corners_in_order(cell: str, tmp_path: Path) -> None:
    dim = 2 if cell in ("triangle", "quadrilateral") else 3
    problem = morpho.Problem(
        mesh={"box": {"size": [2] + [1] * (dim - 1), "cells": [4] + [2] * (dim - 1), "cell": cell}},
        supports=[{"region": {"plane": {"axis": "x", "at": 0}}}],
        loads=[{"forces": [{"region": {"plane": {"axis": "x", "at": 2}}, "total": [1] + [0] * (dim - 1)}]}],
        constraints=[{"volume_fraction": 0.5}],
        optimizer={"max_iterations": 1},
        engine="assembled",
    )
    result = morpho.solve(problem, tmp_path, comm=MPI.COMM_SELF)
    design = pyvista.get_reader(tmp_path / "design.pvd").read()[0]
    assert design.n_cells == result.n_design
    for i in range(design.n_cells):
        corner, *others = design.get_cell(i).points
        edges = np.array(others) - corner
        if cell in ("tetrahedron", "triangle"):
            assert np.linalg.matrix_rank(edges) == dim
        elif cell == "quadrilateral":  # around the cell: the corner opposite to the first comes third
            np.testing.assert_allclose(edges[1], edges[0] + edges[2])
        else:  # around the bottom, then around the top
            np.testing.assert_allclose(edges[[1, 4, 6, 5]], edges[[0, 0, 2, 1]] + edges[[2, 3, 3, 3]])
    stretched = design.point_data["displacement"][:, 0]
    assert np.corrcoef(stretched, design.points[:, 0])[0, 1] > 0.98
