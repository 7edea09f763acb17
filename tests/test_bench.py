"""morpho bench: its files, its figures, and what it refuses."""

import json
from pathlib import Path

from mpi4py import MPI

import numpy as np
import pytest
from running import run, settings, write_mbb

import morpho
from morpho.bench import bench, complaints, rows
from morpho.comparison import compared
from morpho.results.bench import table

LIMIT = ["optimizer.max_iterations=12", "optimizer.tolerance=0", "optimizer.objective_tolerance=0"]

#: The command line with sources that are exact until something happens in the first or in the fourth iteration.
PROGRAM = """
import signal
import morpho
from morpho.cli import main
from morpho.errors import SolverError
from morpho.gradients.exact import Exact

def until(iteration, happens):
    class Until(Exact):
        def estimate(self, rho):
            calls.append(rho)
            if len(calls) == iteration:
                happens()
            return super().estimate(rho)

    calls = []
    return Until

def fail():
    raise SolverError("too hard")

def stop():
    signal.raise_signal(signal.SIGINT)

for name, iteration, happens in [("at_once", 1, fail), ("later", 4, fail), ("stopped", 4, stop)]:
    morpho.gradients.register(name, until(iteration, happens))
"""


def test_command_line(tmp_path: Path) -> None:
    file = write_mbb(tmp_path)
    ended = run(
        2,
        "bench",
        file,
        "--sources",
        "exact, exact 1e-8, secant",
        "--output",
        tmp_path / "b",
        *settings(*LIMIT),
        cwd=tmp_path,
    )
    assert ended.returncode == 0, ended.stderr
    record = json.loads((tmp_path / "b" / "bench.json").read_text())
    assert (record["problem"], record["ranks"]) == ("mbb", 2)
    exact, _, _, tight, secant = record["sources"]
    names = [entry["source"] for entry in record["sources"]]
    assert names == ["exact 1e-5", "exact 1e-2", "exact 1e-1", "exact 1e-8", "secant"]
    assert record["loose"] in names[:3]
    assert exact["speedup"] == pytest.approx(1)
    for entry in record["sources"]:
        last = entry["judged"][-1]
        assert last["iteration"] == 12 and last["feasible"]
        assert last["objective"] == pytest.approx(entry["objective"], rel=1e-4)
        assert entry["pieces"] >= 1 and entry["thresholded"] > 0
        assert [at["seconds"] for at in entry["judged"]] == sorted(at["seconds"] for at in entry["judged"])
    assert exact["seconds_to_quality"] <= exact["judged"][-1]["seconds"]
    assert exact["iterations"] == secant["iterations"] == 12
    assert secant["objective"] == pytest.approx(exact["objective"], rel=0.05)
    assert secant["exact_solves"] < exact["exact_solves"]
    assert secant["linear_iterations"] < tight["linear_iterations"]
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


def bench_of(tmp_path: Path, sources: str, repeat: int = 1, exact: str = "") -> tuple[int, dict, dict[str, str]]:
    """Exit status, bench.json, and the lines of the table by source; `exact` may stop or fail itself."""
    more = ["--sources", sources, "--repeat", repeat, "--output", tmp_path / "b", *settings(*LIMIT)]
    program = PROGRAM + (f"morpho.gradients.register('exact', until({exact}))\n" if exact else "") + "main()"
    ended = run(1, "bench", write_mbb(tmp_path), *more, cwd=tmp_path, program=("-c", program))
    assert "Traceback" not in ended.stderr
    if not (tmp_path / "b").exists():
        return ended.returncode, {}, {}
    text = (tmp_path / "b" / "bench.json").read_text()
    record = json.loads(text, parse_constant=lambda found: pytest.fail(f"{found} is no JSON"))
    assert (tmp_path / "b" / "bench.md").read_text() in ended.stdout
    lines = (tmp_path / "b" / "bench.md").read_text().splitlines()[5:]
    return ended.returncode, record, {line.split("|")[1].strip(): line for line in lines if line.startswith("|")}


def test_failed_runs_have_no_speedup(tmp_path: Path) -> None:
    status, record, lines = bench_of(tmp_path, "exact,at_once,later,secant")
    assert status == 0
    assert list(lines)[3:] == ["at_once (solver_failed)", "later (solver_failed)", "secant"]
    exact, at_once, later, secant = (record["sources"][i] for i in (0, 3, 4, 5))
    for entry in (at_once, later):
        assert (entry["status"], entry["speedup"], entry["difference"]) == ("solver_failed", None, None)
    assert (at_once["objective"], at_once["spread"]["objective"]) == (None, [None] * 3)
    assert later["iterations"] == 3 and later["objective"] > exact["objective"]
    assert secant["speedup"] == pytest.approx(exact["wall_seconds"] / secant["wall_seconds"])
    assert secant["difference"] == pytest.approx(secant["objective"] / exact["objective"] - 1)
    cells = [[cell.strip() for cell in lines[name].split("|")] for name in list(lines)[2:]]
    assert [row[2] == "" for row in cells] == [False, True, False, False]
    assert [row[3] == "" for row in cells] == [row[7] == "" for row in cells] == [False, True, True, False]


def test_nothing_is_compared_with_a_baseline_that_failed(tmp_path: Path) -> None:
    status, record, lines = bench_of(tmp_path, "exact,secant", exact="12, fail")
    assert status == 0
    assert next(iter(lines)) == "exact 1e-5 (solver_failed)" and record["loose"] is None
    assert {entry["speedup"] for entry in record["sources"]} == {None}
    assert {entry["difference"] for entry in record["sources"]} == {None}


def test_interrupt_ends_the_bench(tmp_path: Path) -> None:
    status, record, lines = bench_of(tmp_path, "exact 1e-5,stopped,secant", repeat=2)
    assert (status, record["interrupted"]) == (130, True)
    assert list(lines)[-1] == "stopped (interrupted)" and len(lines) == 2
    exact, stopped = record["sources"]
    assert exact["speedup"] == pytest.approx(1)
    assert (stopped["iterations"], stopped["speedup"]) == (4, None)


def test_interrupt_before_the_first_run_leaves_nothing(tmp_path: Path) -> None:
    assert bench_of(tmp_path, "exact,secant", exact="4, stop") == (130, {}, {})


def ran(status: str, seconds: float, objective: float | None, *judged: tuple[float, float]) -> dict:
    figures = {
        "linear_iterations": 1,
        "exact_solves": 1,
        "steps": [],
        "feasible": True,
        "thresholded": 1.0,
        "pieces": 1,
    }
    figures |= {"status": status, "wall_seconds": seconds, "objective": objective}
    return figures | {"judged": [{"seconds": s, "objective": o, "feasible": True} for s, o in judged]}


def test_starts_that_failed_do_not_count() -> None:
    exact = [ran("converged", 8.0, 2.0), ran("converged", 12.0, 4.0), ran("not_finite", 1.0, None)]
    own = [ran("iteration_limit", 2.0, 3.0), ran("solver_failed", 1.0, 9.0), ran("converged", 7.0, 7.0)]
    found = compared({"exact 1e-5": exact, "own": own})
    entries = found["sources"]
    assert [(entry["speedup"], entry["difference"]) for entry in entries] == [(1, 0), (4, 0.5)]
    assert entries[1]["spread"]["objective"] == [3, 5, 7] and entries[1]["spread"]["wall_seconds"] == [2, 4.5, 7]
    text = table({"problem": "beam", "ranks": 1, "repeat": 3, "interrupted": False, **found})
    assert "| exact 1e-5 * (not_finite 1 of 3) | 3 (2 to 4) | +0.00% | 1 | 1 | 10.00 (8.00 to 12.00) | 1.00 |" in text
    assert "| own (solver_failed 1 of 3) | 5 (3 to 7) | +50.00% | 1 | 1 | 4.50 (2.00 to 7.00) | 4.00 |" in text


def test_the_loose_exact_run_is_the_cheapest_that_is_as_good() -> None:
    runs = {
        "exact 1e-5": [ran("converged", 10.0, 100.0, (2.0, 200.0), (9.0, 100.0))],
        "exact 1e-2": [ran("converged", 5.0, 100.4, (2.0, 100.8), (5.0, 100.4))],
        "exact 1e-1": [ran("converged", 2.0, 101.0, (1.0, 102.0), (2.0, 101.0))],
        "own": [ran("converged", 4.0, 99.0, (1.0, 101.0), (1.5, 100.9), (4.0, 99.0))],
    }
    found = compared(runs)
    assert found["loose"] == "exact 1e-2"
    assert [entry["seconds_to_quality"] for entry in found["sources"]] == [9.0, 2.0, None, 1.5]
    assert [entry["speedup_loose"] for entry in found["sources"]] == [0.5, 1.0, 2.5, 1.25]


def test_the_loose_exact_run_keeps_the_constraints() -> None:
    runs = {
        "exact 1e-5": [ran("converged", 10.0, 100.0)],
        "exact 1e-1": [ran("converged", 2.0, 90.0) | {"feasible": False}],
    }
    assert compared(runs)["loose"] == "exact 1e-5"
    nothing = {"exact 1e-5": [ran("converged", 10.0, 0.0)]}
    assert compared(nothing)["loose"] is None


def test_rows() -> None:
    assert rows(["exact", "secant", "exact 1e-2"]) == ["exact 1e-5", "exact 1e-2", "exact 1e-1", "secant"]
    assert complaints(["exact 1e-3", "exact 0.05", "onsg"]) == []
    for wrong in ("exact 2", "exact x", "secant 1e-2", "exact 1e-2 1e-3"):
        assert f"{wrong!r} is no row" in complaints([wrong])[0]
    assert "did you mean 'secant'?" in complaints(["secnat"])[0]


def test_unknown_source(tmp_path: Path) -> None:
    ended = run(1, "bench", write_mbb(tmp_path), "--sources", "exact,secnat", cwd=tmp_path)
    assert ended.returncode == 2
    assert "--sources: there is no source 'secnat'; did you mean 'secant'?" in ended.stderr


def test_starts_are_perturbed(tmp_path: Path) -> None:
    problem = morpho.load_problem(write_mbb(tmp_path), LIMIT)
    record = bench(problem, ["exact 1e-5"], 3, tmp_path / "b", MPI.COMM_SELF)
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
