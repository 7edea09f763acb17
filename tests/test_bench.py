"""morpho bench: its files, its figures, and what it refuses."""

import json
from pathlib import Path

from mpi4py import MPI

import numpy as np
import pytest
from running import run, settings, write_mbb

import morpho
from morpho.bench import bench

LIMIT = ["optimizer.max_iterations=12", "optimizer.tolerance=0", "optimizer.objective_tolerance=0"]


def test_command_line(tmp_path: Path) -> None:
    file = write_mbb(tmp_path)
    ended = run(
        2, "bench", file, "--sources", "exact, secant", "--output", tmp_path / "b", *settings(*LIMIT), cwd=tmp_path
    )
    assert ended.returncode == 0, ended.stderr
    record = json.loads((tmp_path / "b" / "bench.json").read_text())
    assert (record["problem"], record["ranks"]) == ("mbb", 2)
    exact, secant = record["sources"]
    assert (exact["source"], secant["source"]) == ("exact", "secant")
    assert exact["speedup"] == pytest.approx(1)
    assert exact["iterations"] == secant["iterations"] == 12
    assert secant["objective"] == pytest.approx(exact["objective"], rel=0.05)
    assert secant["linear_iterations"] < exact["linear_iterations"]
    for key in (
        "status",
        "volume",
        "wall_seconds",
        "setup_seconds",
        "peak_rss_bytes",
        "n_design",
        "morpho_version",
        "spread",
    ):
        assert key in secant
    assert "| secant |" in (tmp_path / "b" / "bench.md").read_text()
    assert (tmp_path / "b" / "bench.png").stat().st_size > 1000
    assert "it 5," not in ended.stdout


def test_unknown_source(tmp_path: Path) -> None:
    ended = run(1, "bench", write_mbb(tmp_path), "--sources", "exact,secnat", cwd=tmp_path)
    assert ended.returncode == 2
    assert "--sources: there is no source 'secnat'; did you mean 'secant'?" in ended.stderr


def test_starts_are_perturbed(tmp_path: Path) -> None:
    problem = morpho.load_problem(write_mbb(tmp_path), LIMIT)
    record = bench(problem, ["exact"], 3, tmp_path / "b", MPI.COMM_SELF)
    objectives = [run["objective"] for run in record["sources"][0]["runs"]]
    assert len(set(objectives)) == 3
    assert record["sources"][0]["spread"]["objective"] == [min(objectives), sorted(objectives)[1], max(objectives)]
    assert len(record["sources"][0]["steps"]) == 12


def test_perturbation_keeps_the_volume_on_average(tmp_path: Path) -> None:
    from morpho.parts import Parts

    problem = morpho.load_problem(write_mbb(tmp_path), ["design.perturbation=0.5", "mesh.box.cells=[120,40]"])
    with Parts(problem, MPI.COMM_SELF) as parts:
        x = parts.start().x
    assert x.mean() == pytest.approx(0.5, abs=0.01)
    assert 0.25 <= x.min() < 0.26 and 0.74 < x.max() <= 0.75
    assert np.unique(x).size == x.size
