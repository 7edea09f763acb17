"""Failures in the middle of a run: exit status 3, a sentence, the last good design on disk, no rank left waiting."""

import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from mpi4py import MPI

import numpy as np
import pytest
import pyvista
from running import rows, run, settings, write_mbb

import morpho
from morpho.gradients import registry
from morpho.gradients.exact import Exact, Physics
from morpho.interfaces import Array, Gradient
from morpho.results.history import read_history

#: Conjugate gradients without a good preconditioner need more iterations as voids appear.
WEAK = settings("solver.preset=multigrid", "solver.petsc_options.pc_type=jacobi", "solver.max_iterations=79")

#: The command line with two sources that are exact until, on one rank, some iteration comes.
PROGRAM = """
import resource, sys
from mpi4py import MPI
import morpho
from morpho.cli import main
from morpho.gradients.exact import Exact

rank, iteration = int(sys.argv.pop(1)), int(sys.argv.pop(1))
calls = []

class Until(Exact):
    def estimate(self, rho):
        gradient = super().estimate(rho)
        calls.append(gradient)
        if len(calls) == iteration and MPI.COMM_WORLD.rank == rank:
            self.spoil(gradient)
        return gradient

class OneNan(Until):
    def spoil(self, gradient):
        gradient.d_cases[0, 0] = float("nan")

class FullDisk(Until):
    def spoil(self, gradient):
        # Room for the table, not for another field or checkpoint.
        resource.setrlimit(resource.RLIMIT_FSIZE, (1900, 1900))

morpho.gradients.register("one_nan", OneNan)
morpho.gradients.register("full_disk", FullDisk)
main()
"""


def said(ended: subprocess.CompletedProcess) -> list[str]:
    """The complaints of the command line."""
    assert "Traceback" not in ended.stdout + ended.stderr
    return [line for line in ended.stderr.splitlines() if line.startswith("error: ")]


def result_of(folder: Path) -> dict:
    return json.loads((folder / "result.json").read_text())


def check_last_design(folder: Path, iterations: int) -> None:
    """The design of the last good iteration is there for ParaView and for a restart."""
    assert rows(folder) == iterations
    series = pyvista.get_reader(folder / "design.pvd")
    assert series.time_values[-1] == iterations
    series.set_active_time_value(series.time_values[-1])
    assert np.isfinite(series.read()[0].cell_data["physical_density"]).all()
    metas = [json.loads(path.read_text())["meta"] for path in (folder / "checkpoint").glob("?/meta.json")]
    assert max(meta["iteration"] for meta in metas) == iterations


def test_linear_solver_does_not_converge(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    ended = run(2, "solve", write_mbb(tmp_path), "--output", folder, *WEAK, cwd=tmp_path)
    assert ended.returncode == 3, ended.stderr
    assert said(ended) == []
    result = result_of(folder)
    assert result["status"] == "solver_failed"
    assert "solver stopped after 79 iterations" in result["message"]
    assert "solver.max_iterations" in result["message"]
    assert result["message"] in ended.stdout.splitlines()
    assert result["iterations"] > 1
    assert result["objective"] > 0
    check_last_design(folder, result["iterations"])
    # The way out that the message names.
    problem = morpho.load_problem(folder / "problem.yaml", ["solver.preset=direct", "solver.petsc_options={}"])
    assert morpho.resume(folder, problem, comm=MPI.COMM_SELF).status is morpho.Status.CONVERGED


def test_linear_solver_fails_at_once(tmp_path: Path) -> None:
    overrides = [*WEAK[1::2], "solver.max_iterations=3"]
    result = morpho.solve(morpho.load_problem(write_mbb(tmp_path), overrides), tmp_path / "run", comm=MPI.COMM_SELF)
    assert result.status is morpho.Status.SOLVER_FAILED
    assert result.status.exit_code == 3
    assert (result.iterations, result_of(tmp_path / "run")["objective"]) == (0, None)
    assert rows(tmp_path / "run") == 0


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Callable[[Gradient], Gradient]], None]]:
    """A function that makes `source: spoiled` change the exact gradient of the fourth iteration."""
    monkeypatch.setattr(registry, "_factories", dict(registry._factories))

    def register(spoil: Callable[[Gradient], Gradient]) -> None:
        class Spoiled:
            supervised = False

            def __init__(self, physics: Physics) -> None:
                self.exact, self.calls = Exact(physics), 0

            def estimate(self, rho: Array) -> Gradient:
                self.calls += 1
                gradient = self.exact.estimate(rho)
                return spoil(gradient) if self.calls == 4 else gradient

            def learn(self, rho: Array, exact: Gradient) -> None:
                """Nothing."""

        morpho.gradients.register("spoiled", Spoiled)

    yield register


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("part", ["cases", "d_cases"])
def test_values_that_are_not_finite(part: str, value: float, tmp_path: Path, register: Callable) -> None:
    def spoil(gradient: Gradient) -> Gradient:
        spoiled = getattr(gradient, part).copy()
        spoiled.flat[0] = value
        return replace(gradient, **{part: spoiled})

    register(spoil)
    problem = morpho.load_problem(write_mbb(tmp_path, "gradient: {source: spoiled}"))
    result = morpho.solve(problem, tmp_path / "run", comm=MPI.COMM_SELF)
    assert result.status is morpho.Status.NOT_FINITE
    assert result.status.exit_code == 3
    assert "not finite in iteration 4" in result.message
    assert result.iterations == 3
    assert np.isfinite(result.objective)
    assert result_of(tmp_path / "run")["status"] == "not_finite"
    check_last_design(tmp_path / "run", 3)


def test_not_finite_on_one_rank(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    file = write_mbb(tmp_path, "gradient: {source: one_nan}")
    ended = run(2, 1, 4, "solve", file, "--output", folder, cwd=tmp_path, program=("-c", PROGRAM))
    assert ended.returncode == 3, ended.stderr
    assert said(ended) == []
    assert result_of(folder)["status"] == "not_finite"
    check_last_design(folder, 3)


def test_run_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    ended = run(2, "solve", write_mbb(tmp_path), "--output", tmp_path / "file" / "run", cwd=tmp_path)
    assert ended.returncode == 2, ended.stderr
    why = f"Could not write {tmp_path / 'file' / 'run'}: Not a directory."
    assert said(ended) == [f"error: --output: {why} Choose a folder that can be written."]
    assert (tmp_path / "file").read_text() == "not a folder"


@pytest.mark.parametrize("rank", [0, 1])
def test_disk_fills_up(rank: int, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    file = write_mbb(
        tmp_path, "engine: assembled", "gradient: {source: full_disk}", "output: {first: 0, checkpoint_every: 3}"
    )
    ended = run(2, rank, 5, "solve", file, "--output", folder, cwd=tmp_path, program=("-c", PROGRAM))
    assert ended.returncode == 3, ended.stderr
    assert said(ended) == []
    result = result_of(folder)
    assert result["status"] == "storage_failed"
    assert f"Could not write {folder / 'checkpoint'}" in result["message"]
    assert "Free some space and run `morpho resume`" in result["message"]
    assert result["message"] in ended.stdout.splitlines()
    assert result["iterations"] == rows(folder) == 6

    more = ["gradient.source=exact", "optimizer.max_iterations=9"]
    morpho.resume(folder, morpho.load_problem(folder / "problem.yaml", more), comm=MPI.COMM_SELF)
    assert "\nresumed after iteration 3\n" in (folder / "log.txt").read_text()
    history = read_history(folder / "history.csv")
    assert history["iteration"].tolist() == list(range(1, 10))
    whole = [s.objective for s in morpho.iterate(morpho.load_problem(file, more), comm=MPI.COMM_SELF)]
    np.testing.assert_allclose(history["objective"], whole, rtol=1e-6)


def test_disk_too_full_for_the_log(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    file = write_mbb(tmp_path, "gradient: {source: full_disk}", "output: {first: 0, checkpoint_every: 30}")
    ended = run(1, 0, 2, "solve", file, "--output", folder, cwd=tmp_path, program=("-c", PROGRAM))
    assert ended.returncode == 3, ended.stderr
    assert said(ended) == []
    assert (folder / "log.txt").stat().st_size == 1900
    assert f"Could not write {folder / 'history.csv'}" in result_of(folder)["message"]
    assert 3 < rows(folder) < 20


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("solver.petsc_options.pc_factor_shift_type=foo", "solver.petsc_options: PETSc refuses an option"),
        ("loads[0].forces[0].total=[0,0]", "loads[0]: the forces of case"),
    ],
)
def test_settings_that_only_the_set_up_can_judge(setting: str, sentence: str, tmp_path: Path) -> None:
    ended = run(2, "solve", write_mbb(tmp_path), "--output", tmp_path / "run", "--set", setting, cwd=tmp_path)
    assert ended.returncode == 2, ended.stderr
    (line,) = said(ended)
    assert sentence in line
    assert not (tmp_path / "run").exists()
