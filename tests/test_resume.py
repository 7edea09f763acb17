"""Runs that end before their time: killed, interrupted, out of iterations; and how they go on."""

import json
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

from mpi4py import MPI

import numpy as np
import pytest
import pyvista
from running import finish, kill_session, rows, run, settings, start, wait_until, write_mbb

import morpho
from morpho.results.history import read_history

ENDLESS = settings("optimizer.max_iterations=2000")
CASES = {
    "oc": "optimizer: {kind: oc, tolerance: 0, objective_tolerance: 0}",
    "simpl": "optimizer: {kind: simpl, tolerance: 0, objective_tolerance: 0}",
    "mma": "optimizer: {kind: mma, move_limit: 0.1, tolerance: 0, objective_tolerance: 0}",
}
#: Goes on changing long after the kill.
PROJECTION = "radius: 1.5}\n  projection: {beta: {start: 1, max: 64, every: 5, factor: 1.5}}"


def write_case(folder: Path, name: str) -> Path:
    path = write_mbb(folder, CASES[name], "output: {checkpoint_every: 7, every: 4}")
    if name == "mma":
        path.write_text(path.read_text().replace("radius: 1.5}", PROJECTION))
    return path


def metas(folder: Path) -> list[dict]:
    """What the complete checkpoints say, oldest first."""
    found = []
    for path in (folder / "checkpoint").glob("?/meta.json"):
        with suppress(FileNotFoundError):  # it is just being replaced
            found.append(json.loads(path.read_text())["meta"])
    return sorted(found, key=lambda meta: meta["iteration"])


def result_of(folder: Path) -> dict:
    return json.loads((folder / "result.json").read_text())


def go_on(ranks: int, folder: Path, *overrides: str) -> subprocess.CompletedProcess:
    return run(ranks, "resume", folder, *settings(*overrides), cwd=folder.parent)


def resume_here(folder: Path, *overrides: str) -> morpho.Result:
    problem = morpho.load_problem(folder / "problem.yaml", overrides)
    return morpho.resume(folder, problem, comm=MPI.COMM_SELF)


@pytest.mark.parametrize("name", CASES)
def test_killed_in_the_middle(name: str, tmp_path: Path) -> None:
    file, killed = write_case(tmp_path, name), tmp_path / "killed"
    process = start(2, "solve", file, "--output", killed, *ENDLESS, cwd=tmp_path)
    wait_until(lambda: rows(killed) >= 16 and len(metas(killed)) == 2, process)
    kill_session(process)
    process.communicate()
    done, saved = rows(killed), metas(killed)[-1]["iteration"]
    assert 7 <= saved <= done
    assert not (killed / "result.json").exists()

    end = done + 10
    problem = morpho.load_problem(file, [f"optimizer.max_iterations={end}"])
    whole = [step.objective for step in morpho.iterate(problem, comm=MPI.COMM_SELF)]
    for ranks in (3, 1):
        folder = tmp_path / f"on_{ranks}"
        shutil.copytree(killed, folder)
        if ranks == 1:
            resume_here(folder, f"optimizer.max_iterations={end}")
        else:
            ended = go_on(ranks, folder, f"optimizer.max_iterations={end}")
            assert ended.returncode == 0, ended.stderr
        log = (folder / "log.txt").read_text()
        assert log.startswith((killed / "log.txt").read_text())
        assert f"\nresumed after iteration {saved}\n" in log
        history = read_history(folder / "history.csv")
        assert history["iteration"].tolist() == list(range(1, end + 1))
        np.testing.assert_allclose(history["objective"], whole, rtol=1e-6)
        assert history["exact_solves"].tolist() == list(range(1, end + 1))
        result = result_of(folder)
        assert result["objective"] == pytest.approx(whole[-1], rel=1e-6)
        assert (result["iterations"], result["ranks"]) == (end, ranks)
        times = pyvista.get_reader(folder / "design.pvd").time_values
        assert times == sorted({*range(1, 11), *range(12, end, 4), end})


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has come to its iteration limit, 12."""
    folder = tmp_path_factory.mktemp("finished")
    problem = morpho.load_problem(write_case(folder, "mma"), ["optimizer.max_iterations=12"])
    morpho.solve(problem, folder / "run", comm=MPI.COMM_SELF)
    return folder / "run"


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


def test_more_iterations(folder: Path) -> None:
    resume_here(folder, "optimizer.max_iterations=20")
    whole = morpho.load_problem(folder / "problem.yaml")
    assert whole.optimizer.max_iterations == 20
    truth = morpho.solve(whole, comm=MPI.COMM_SELF)
    history = read_history(folder / "history.csv")
    assert history["iteration"].tolist() == list(range(1, 21))
    assert result_of(folder)["objective"] == pytest.approx(truth.objective, rel=1e-6)
    assert result_of(folder)["exact_solves"] == 20
    assert result_of(folder)["wall_seconds"] > metas(folder)[0]["wall_seconds"]


def test_stopping_rule_remembers_the_iterations_before(tmp_path: Path) -> None:
    overrides = ["optimizer.tolerance=0", "optimizer.objective_tolerance=0.01", "optimizer.window=8"]
    file = write_mbb(tmp_path)
    whole = morpho.solve(morpho.load_problem(file, overrides), comm=MPI.COMM_SELF)
    assert whole.status is morpho.Status.CONVERGED
    limit = f"optimizer.max_iterations={whole.iterations - 3}"
    morpho.solve(morpho.load_problem(file, [*overrides, limit]), tmp_path / "run", comm=MPI.COMM_SELF)
    again = resume_here(tmp_path / "run", "optimizer.max_iterations=200")
    assert (again.status, again.iterations) == (whole.status, whole.iterations)


def test_no_more_iterations_than_asked_for(folder: Path) -> None:
    before = (folder / "result.json").read_bytes()
    with pytest.raises(morpho.errors.InputError, match=r"12 iterations are done already.*max_iterations=24"):
        resume_here(folder)
    assert (folder / "result.json").read_bytes() == before


@pytest.mark.parametrize("kind", ["oc", "mma"])
def test_another_optimizer_starts_afresh(folder: Path, kind: str) -> None:
    first = resume_here(folder, f"optimizer.kind={kind}", "optimizer.max_iterations=16")
    other = resume_here(folder, f"optimizer.kind={'mma' if kind == 'oc' else 'oc'}", "optimizer.max_iterations=20")
    assert (first.iterations, other.iterations) == (16, 20)
    assert other.objective < first.objective * 1.01


def test_a_damaged_checkpoint_is_passed_over(folder: Path) -> None:
    newest = max((folder / "checkpoint").glob("?/meta.json"), key=lambda path: json.loads(path.read_text())["sequence"])
    data = bytearray((newest.parent / "x.npy").read_bytes())
    data[-1] ^= 1
    (newest.parent / "x.npy").write_bytes(data)
    result = resume_here(folder, "optimizer.max_iterations=14")
    assert result.iterations == 14
    assert "resumed after iteration 7" in (folder / "log.txt").read_text()
    assert read_history(folder / "history.csv")["iteration"].tolist() == list(range(1, 15))


def test_nothing_to_resume(folder: Path) -> None:
    shutil.rmtree(folder / "checkpoint")
    before = sorted(folder.rglob("*"))
    ended = go_on(1, folder, "optimizer.max_iterations=20")
    assert ended.returncode == 2
    said = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert said == [f"error: {folder / 'checkpoint'}: there is no usable checkpoint."]
    assert "Traceback" not in ended.stderr
    assert sorted(folder.rglob("*")) == before


def test_no_run_folder(tmp_path: Path) -> None:
    ended = run(1, "resume", tmp_path / "nowhere", cwd=tmp_path)
    assert ended.returncode == 2
    assert "nowhere: is no run folder" in ended.stderr


def test_another_mesh(folder: Path) -> None:
    with pytest.raises(morpho.errors.InputError, match="is for a mesh of 48 cells, this one has 12"):
        resume_here(folder, "mesh.box.cells=[6, 2]", "optimizer.max_iterations=20")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_alone(number: signal.Signals, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = start(1, "solve", write_case(tmp_path, "oc"), "--output", folder, *ENDLESS, cwd=tmp_path)
    wait_until(lambda: rows(folder) >= 3, process)
    process.send_signal(number)
    ended = finish(process)
    assert ended.returncode == 130, ended.stderr
    assert "Traceback" not in ended.stderr
    result = result_of(folder)
    assert result["status"] == "interrupted"
    assert "morpho resume" in result["message"]
    assert metas(folder)[-1]["iteration"] == result["iterations"] == rows(folder)
    more = result["iterations"] + 2
    assert resume_here(folder, f"optimizer.max_iterations={more}").iterations == more


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_interrupted_by_mpirun(number: signal.Signals, tmp_path: Path) -> None:
    """Open MPI would answer SIGINT by SIGKILL to the ranks, 0.25 s later; its wrapper makes SIGUSR1 of it."""
    folder = tmp_path / "run"
    process = start(2, "solve", write_case(tmp_path, "oc"), "--output", folder, *ENDLESS, cwd=tmp_path)
    wait_until(lambda: rows(folder) >= 3, process)
    process.send_signal(number)
    ended = finish(process, timeout=20)
    assert ended.returncode == 130, ended.stderr
    assert ended.stdout.count("stopping after this iteration") == 1
    assert result_of(folder)["status"] == "interrupted"
    assert metas(folder)[-1]["iteration"] == rows(folder)
