"""Sweeps, and runs side by side."""

import json
from pathlib import Path

from mpi4py import MPI

import pytest
from running import run, settings, write_mbb

from morpho.errors import InputError
from morpho.interfaces import Status
from morpho.results.compare import columns, compare_page, ordered, runs_in, table
from morpho.sweep import sweep, variants

SHORT = ["optimizer.max_iterations=3"]


def said(file: Path, *texts: str) -> str:
    with pytest.raises(InputError) as error:
        variants(file, texts)
    return str(error.value)


def test_every_combination_is_a_run(tmp_path):
    file = write_mbb(tmp_path)
    runs = variants(file, ["design.filter.radius=1.5,2", "loads[0].forces[0].total=[0,-1],[0,-2]"])
    assert [each.folder for each in runs] == [
        "radius_1.5-total_0_-1",
        "radius_1.5-total_0_-2",
        "radius_2-total_0_-1",
        "radius_2-total_0_-2",
    ]
    assert runs[1].problem.loads[0].forces[0].total == (0, -2) and runs[2].problem.design.filter.radius == 2


def test_what_is_no_sweep(tmp_path):
    file = write_mbb(tmp_path)
    assert "design.filtr: unknown key; did you mean 'filter'?" in said(file, "design.filtr.radius=2,3")
    assert "got 'x'; a number is expected" in said(file, "design.filter.radius=2,x")
    assert "there is no 3 in the file" in said(file, "constraints[3].volume_fraction=0.2")
    assert "there is no source 'exakt'" in said(file, "gradient.source=exact,exakt")
    assert "expected path.to.key=v1,v2" in said(file, "design.filter.radius")
    assert "is given twice" in said(file, "design.filter.radius=2", "design.filter.radius=3")
    assert "give each value once" in said(file, "design.filter.radius=2,2")
    assert "give at most 1000" in said(file, "design.seed=" + ",".join(map(str, range(1001))))


def test_each_may_start_from_the_one_before(tmp_path):
    runs = variants(write_mbb(tmp_path), ["constraints[0].volume_fraction=0.4,0.5"], SHORT)
    results = sweep(runs, tmp_path / "cold", MPI.COMM_SELF)
    assert [result.status for result in results] == [Status.ITERATION_LIMIT] * 2
    warm = sweep(runs, tmp_path / "warm", MPI.COMM_SELF, from_previous=True)
    assert warm[0].objective == pytest.approx(results[0].objective)
    assert warm[1].objective < 0.98 * results[1].objective
    assert "start: from the design of" in (tmp_path / "warm" / runs[1].folder / "log.txt").read_text()
    with pytest.raises(InputError, match="holds the results of a run already"):
        sweep(runs, tmp_path / "warm", MPI.COMM_SELF)
    with pytest.raises(InputError, match="holds a run; a sweep has a folder of its own"):
        sweep(runs, tmp_path / "warm" / runs[0].folder, MPI.COMM_SELF)
    assert len(sweep(runs, tmp_path / "late", MPI.COMM_SELF, time_limit=1e-3)) == 1


def test_command_line_on_ranks_and_the_page(tmp_path):
    """The page shows every run with its picture and needs nothing else."""
    file = write_mbb(tmp_path)
    arguments = ["--sweep", "constraints[0].volume_fraction=0.6,0.5", *settings(*SHORT)]
    done = run(2, "solve", file, *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "volume_fraction_0.5" in done.stdout.splitlines()[-1]
    compared = run(1, "compare", "runs/mbb_sweep", "--sort", "volume_fraction", cwd=tmp_path, timeout=200)
    assert compared.returncode == 0, compared.stderr
    lines = compared.stdout.splitlines()
    assert lines[1].startswith("volume_fraction_0.5") and lines[-1] == "runs/mbb_sweep/compare.html"
    page = (tmp_path / "runs" / "mbb_sweep" / "compare.html").read_text()
    assert page.count("data:image/png;base64") == 2 and "http" not in page.replace("http://www.w3.org", "")
    wrong = run(1, "solve", file, "--from-previous", cwd=tmp_path)
    assert wrong.returncode == 2 and "--from-previous goes with --sweep" in wrong.stderr


def test_figures_side_by_side(tmp_path):
    """Of limits that differ, and figures that some runs do not have."""

    def write(name: str, **more) -> Path:
        (tmp_path / name).mkdir()
        response = {"value": 0.5, "limit": 0.4, "feasible": False, "at_least": False}
        result = {"objective": 2.0, "iterations": 3, "wall_seconds": 1.5, "status": "converged", "feasible": False}
        (tmp_path / name / "result.json").write_text(json.dumps(result | {"responses": {"volume": response}} | more))
        return tmp_path / name

    high = {"value": 0.3, "limit": 0.3, "feasible": True, "at_least": False}
    built = {"objective": 2.1, "volume": 0.3, "pieces": 1}
    folders = [write("a"), write("b", objective=1.0, responses={"volume": high}, as_built=built, feasible=True)]
    runs = runs_in(folders)
    assert [run.name for run in ordered(runs, "objective")] == ["b", "a"]
    assert [run.name for run in ordered(runs, "pieces")] == ["b", "a"]
    text = "\n".join(table(runs))
    assert "0.5 <= 0.4*" in text and "* not met" in text and "objective as built" in text
    assert {column.title for column in columns(runs)} >= {"volume", "seconds", "ended"}
    with pytest.raises(InputError, match="no figure of that name; give one of run, objective"):
        ordered(runs, "beauty")
    assert "has no picture" in compare_page(runs, tmp_path / "page.html")[0]
    for folder, why in ((tmp_path, "neither a run folder nor that of a sweep"), (tmp_path / "c", "neither")):
        with pytest.raises(InputError, match=why):
            runs_in([folder])
    (tmp_path / "a" / "result.json").write_text("[]")
    with pytest.raises(InputError, match="is no result of a run"):
        runs_in(folders)
