"""Runs that end before their time is up, and go on."""

import json

from mpi4py import MPI

import pytest
from running import run, settings, write_mbb

import morpho
from morpho.cli import _seconds
from morpho.errors import InputError
from morpho.problem import load_problem

ENDLESS = ("optimizer.max_iterations=1000000", "optimizer.tolerance=0", "optimizer.objective_tolerance=0")


@pytest.mark.parametrize(
    ("text", "seconds"), [("3h", 10800), ("90m", 5400), ("1h30m", 5400), ("5400s", 5400), ("45", 45)]
)
def test_times(text, seconds):
    assert _seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "h", "3d", "1.5h", "30m1h"])
def test_what_is_no_time(text):
    with pytest.raises(InputError, match="such as 3h"):
        _seconds(text)


def test_a_run_ends_in_time_and_goes_on(tmp_path):
    done = run(2, "solve", write_mbb(tmp_path), *settings(*ENDLESS), "--time-limit", "2s", cwd=tmp_path)
    assert done.returncode == 130, done.stderr
    assert "Stopped at the time limit; a checkpoint was written." in done.stdout
    result = json.loads((tmp_path / "runs" / "mbb" / "result.json").read_text())
    assert result["status"] == "time_limit" and result["iterations"] >= 1
    more = run(1, "resume", "runs/mbb", "--time-limit", "1s", cwd=tmp_path)
    assert more.returncode == 130
    again = json.loads((tmp_path / "runs" / "mbb" / "result.json").read_text())
    assert again["iterations"] > result["iterations"]
    wrong = run(1, "solve", "mbb.yaml", "--time-limit", "soon", "--overwrite", cwd=tmp_path)
    assert wrong.returncode == 2 and "--time-limit: got 'soon'" in wrong.stderr


def test_a_limit_that_is_over_takes_one_iteration(tmp_path):
    result = morpho.solve(load_problem(write_mbb(tmp_path), ENDLESS), comm=MPI.COMM_SELF, time_limit=1e-3)
    assert result.status is morpho.Status.TIME_LIMIT and result.iterations == 1
