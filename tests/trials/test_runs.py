"""Runs under bad conditions: limits not met, own code that fails, other settings, one folder, signals, streams."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from mpi4py import MPI

import numpy as np
import pytest
from running import ROOT, finish, rows, run, settings, start, wait_until, write_mbb

import morpho
from morpho.bench import bench
from morpho.errors import InputError
from morpho.record import LogFile
from morpho.results.run_folder import lock
from morpho.series import solve_in_turn

ENDLESS = settings("optimizer.max_iterations=20000", "optimizer.tolerance=0", "optimizer.objective_tolerance=0")


def result_of(folder: Path) -> dict:
    return json.loads((folder / "result.json").read_text())


def contents(folder: Path) -> dict[Path, tuple[bytes, int]]:
    """Every file with its bytes and its time of change."""
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


# --- limits that are not met -----------------------------------------------------------------------


def test_a_limit_that_cannot_be_met_is_said_at_the_end(tmp_path: Path) -> None:
    far = "constraints=[{volume_fraction: 0.5}, {kind: compliance, case: tip, max: 1}]"
    problem = morpho.load_problem(write_mbb(tmp_path), [far, "optimizer={kind: mma, max_iterations: 4}"])
    result = morpho.solve(problem, tmp_path / "run", comm=MPI.COMM_SELF)
    assert not result.feasible
    assert result.message.endswith("The design does not meet its constraints.")
    written = result_of(tmp_path / "run")
    assert written["feasible"] is False
    assert list(written["responses"]) == ["volume", "compliance[tip]"]
    missed = written["responses"]["compliance[tip]"]
    assert (missed["limit"], missed["feasible"]) == (1, False)
    assert missed["value"] == pytest.approx(result.compliance["tip"])
    *_, line, last = (tmp_path / "run" / "log.txt").read_text().splitlines()
    assert line == f"constraint not met: compliance[tip] is {missed['value']:.6g}, the limit is 1"
    assert last.endswith("(not converged, not feasible)")


def test_limits_that_are_met(tmp_path: Path) -> None:
    half = "{kind: volume, volume_fraction: 0.9, region: {box: {min: [0, 0], max: [6, 4]}}}"
    overrides = [f"constraints=[{half}, {half}]", "optimizer={kind: mma, max_iterations: 2}"]
    result = morpho.solve(morpho.load_problem(write_mbb(tmp_path), overrides), comm=MPI.COMM_SELF)
    assert result.feasible
    assert len(result.responses) == 2
    assert all(name.startswith("volume[") for name in result.responses)


# --- own code --------------------------------------------------------------------------------------


def test_own_code_that_fails_on_all_ranks(mpirun: Callable[..., str], tmp_path: Path) -> None:
    said = json.loads(mpirun(2, Path(__file__).with_name("own_code_facts.py"), tmp_path))
    for name, words in {
        "raises": "ValueError: on purpose, in ",
        "leaves": "SystemExit: 0, in ",
        "nothing": "returned None; it should return one number",
        "text": "returned a value of type str",
        "field": "returned a value of type ndarray",
        "differs": "returned 0 on rank 0 and 1 on rank 1",
        "writes": "read-only",
        "not_finite": "not finite",
        "huge": "not finite",
        "characters": "returned a value of type str_",
        "a_type": "returned a value of type type",
        "speechless": "Speechless, in ",
        "callback": "in a callback",
    }.items():
        assert words in said[name], name
        status = "not_finite" if name in ("not_finite", "huge") else "code_failed"
        assert result_of(tmp_path / name)["status"] == status
    assert result_of(tmp_path / "callback")["iterations"] == 2


ONE_RANK = """
from mpi4py import MPI
import morpho
from morpho.cli import main
from morpho.gradients.exact import Exact

class Fails(Exact):
    calls = 0
    def estimate(self, rho):
        self.calls += 1
        if self.calls == 4 and MPI.COMM_WORLD.rank == 1:
            raise MemoryError("on one rank")
        return super().estimate(rho)

morpho.gradients.register("fails", Fails)
main()
"""


def test_own_code_that_fails_on_one_rank_ends_all(tmp_path: Path) -> None:
    file = write_mbb(tmp_path, "engine: assembled", "gradient: {source: fails}", "output: {checkpoint_every: 1}")
    ended = run(2, "solve", file, "--output", tmp_path / "run", cwd=tmp_path, program=("-c", ONE_RANK), timeout=40)
    assert ended.returncode == 1
    assert "MemoryError: on one rank" in ended.stderr
    assert "rank 1 failed, and the others did not" in ended.stderr
    more = ["gradient.source=exact", "optimizer.max_iterations=5"]
    problem = morpho.load_problem(tmp_path / "run" / "problem.yaml", more)
    assert morpho.resume(tmp_path / "run", problem, comm=MPI.COMM_SELF).iterations == 5


def test_signature_of_an_own_function(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("def f(rho):\n    return 1.0\n")
    own = ["objective={kind: black_box, value: own.py:f}", "gradient.source=guided_es"]
    with pytest.raises(InputError, match=r"should take \(rho, physics\), it takes \(rho\)"):
        morpho.solve(morpho.load_problem(write_mbb(tmp_path), own, allow_code=True), comm=MPI.COMM_SELF)


WANDERS = """
import os
os.chdir("away")

def f(rho, physics):
    os.chdir("/")
    return float(rho.sum())
"""


def test_own_code_that_changes_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "away").mkdir()
    (tmp_path / "own.py").write_text(WANDERS)
    own = ["objective={kind: black_box, value: own.py:f}", "gradient={source: guided_es, guided_es: {pairs: 1}}"]

    def problem(name: str, limit: int) -> morpho.Problem:
        more = [*own, f"name={name}", f"optimizer.max_iterations={limit}"]
        return morpho.load_problem(write_mbb(tmp_path), more, allow_code=True)

    one, other = problem("one", 2), problem("other", 2)
    morpho.solve(one, "runs/one", comm=MPI.COMM_SELF)
    log = (tmp_path / "runs" / "one" / "log.txt").read_text()
    assert log.splitlines()[-1].startswith("results are in runs/one")
    more = problem("one", 3)
    monkeypatch.chdir(tmp_path)
    morpho.resume("runs/one", more, comm=MPI.COMM_SELF)
    assert result_of(tmp_path / "runs" / "one")["iterations"] == 3
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(WANDERS.replace("away", "/"))
    solve_in_turn([one, other], Path("both"), MPI.COMM_SELF)
    monkeypatch.chdir(tmp_path)
    bench(other, ["guided_es"], 1, Path("bench"), MPI.COMM_SELF)
    assert {path.parent.name for path in tmp_path.glob("*/*/result.json")} == {"one", "other"}
    assert (tmp_path / "bench" / "bench.json").exists()
    assert list((tmp_path / "away").iterdir()) == []


def test_a_working_folder_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = morpho.load_problem(write_mbb(tmp_path))
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(InputError, match=r"runs cannot be read \(No such file or directory\)"):
        morpho.solve(problem, "runs", comm=MPI.COMM_SELF)


# --- resume with other settings --------------------------------------------------------------------


@pytest.fixture(scope="module")
def onsg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of six iterations with a network."""
    folder = tmp_path_factory.mktemp("onsg")
    values = ["gradient={source: onsg, onsg: {first_steps: 2, steps: 2}}", "optimizer.max_iterations=6"]
    morpho.solve(morpho.load_problem(write_mbb(folder), values), folder / "run", comm=MPI.COMM_SELF)
    return folder / "run"


def resumed(folder: Path, *overrides: str) -> morpho.Result:
    problem = morpho.load_problem(folder / "problem.yaml", ["optimizer.max_iterations=9", *overrides])
    return morpho.resume(folder, problem, comm=MPI.COMM_SELF)


CASES = "loads=[{name: a, forces: [{region: {points: [[0, 4]]}, total: [0, -1]}]}"
REFUSED = {
    "one more case": (
        [CASES + ", {name: b, forces: [{body: [0, -1]}]}]"],
        "of the load cases tip, the problem has a, b",
    ),
    "other cells, as many": (
        ["mesh.box.cells=[4, 12]", "mesh.box.size=[12, 4]"],
        r"cells \[12, 4\] instead of \[4, 12\]",
    ),
    "other size": (["mesh.box.size=[12, 8]"], r"size \[12.0, 4.0\] instead of \[12.0, 8.0\]"),
    "other cell": (
        ["mesh.box={size: [12, 4], cells: [6, 4], cell: triangle}", "gradient.source=exact"],
        "another mesh",
    ),
    "nothing left to do": (["optimizer.max_iterations=6"], "6 iterations are done already"),
    "no such source": (["gradient.source=onsk"], "there is no source"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_resume_leaves_the_folder_as_it_was(name: str, onsg: Path) -> None:
    overrides, words = REFUSED[name]
    before = contents(onsg)
    with pytest.raises(InputError, match=words):
        resumed(onsg, *overrides)
    assert contents(onsg) == before


def test_a_refused_resume_does_not_touch_a_damaged_checkpoint(onsg: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(onsg, tmp_path / "run"))
    (folder / "checkpoint" / "a" / "x.npy").write_bytes(b"no array")
    (folder / "history.csv").write_text("nothing,of,the,kind\n1,2,3,4\n")
    before = contents(folder)
    with pytest.raises(InputError):
        resumed(folder)
    assert contents(folder) == before


@pytest.mark.parametrize(
    "changed",
    [
        ["gradient.onsg.form=plain"],
        ["gradient.onsg.hidden=8"],
        ["gradient.source=koopman"],
        ["gradient.block=4"],
        ["engine=assembled", "gradient.source=exact"],
        ["optimizer.kind=mma"],
        ["material.E=2", "design.filter.radius=2"],
    ],
)
def test_a_resume_with_other_settings_goes_on(changed: list[str], onsg: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(onsg, tmp_path / "run"))
    result = resumed(folder, *changed)
    assert result.iterations == 9
    assert np.isfinite(result.objective)


def test_the_other_engine_goes_on_with_the_same_design(onsg: Path, tmp_path: Path) -> None:
    one, other = (Path(shutil.copytree(onsg, tmp_path / name)) for name in ("one", "other"))
    expected = resumed(one, "gradient.source=exact")
    found = resumed(other, "gradient.source=exact", "engine=assembled")
    assert found.objective == pytest.approx(expected.objective, rel=1e-6)


@pytest.mark.parametrize(
    ("then", "now"), [("prosg.form=learned", "prosg.form=analytic"), ("koopman.of=gradients", "koopman.of=designs")]
)
def test_another_form_of_a_source_starts_to_learn_afresh(then: str, now: str, tmp_path: Path) -> None:
    source = then.partition(".")[0]
    values = [f"gradient.source={source}", f"gradient.{then}", "optimizer.max_iterations=6"]
    morpho.solve(morpho.load_problem(write_mbb(tmp_path), values), tmp_path / "run", comm=MPI.COMM_SELF)
    assert resumed(tmp_path / "run", f"gradient.{now}").iterations == 9
    assert "starts to learn afresh" in (tmp_path / "run" / "log.txt").read_text()


def test_a_checkpoint_of_an_earlier_version(onsg: Path, tmp_path: Path) -> None:
    """Without a checksum of its record, and without mesh and cases."""
    folder = Path(shutil.copytree(onsg, tmp_path / "run"))
    for path in folder.glob("checkpoint/?/meta.json"):
        record = json.loads(path.read_text()) | {"format": 1}
        del record["crc32"], record["meta"]["mesh"], record["meta"]["cases"], record["meta"]["gradient"]["shape"]
        path.write_text(json.dumps(record))
    assert resumed(folder).iterations == 9


@pytest.mark.parametrize("name", ["log.txt", "vtk", "checkpoint", "checkpoint/a", "history.csv", "problem.yaml"])
def test_a_resume_that_would_lead_out_of_its_folder_is_refused(name: str, onsg: Path, tmp_path: Path) -> None:
    folder, theirs = Path(shutil.copytree(onsg, tmp_path / "run")), tmp_path / "theirs"
    (folder / name).rename(theirs)
    (folder / name).symlink_to(theirs)
    before = contents(tmp_path)
    with pytest.raises(InputError, match=rf"{name} is a link to {theirs}"):
        resumed(folder)
    assert contents(tmp_path) == before


def test_the_log_is_not_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "log.txt").symlink_to(tmp_path / "theirs")
    with pytest.raises(OSError, match="symbolic links"):
        LogFile(tmp_path / "log.txt", mode="a")
    assert not (tmp_path / "theirs").exists()


def test_a_damaged_problem_file_is_said(onsg: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(onsg, tmp_path / "run"))
    (folder / "problem.yaml").write_bytes(b"\xff\xfe broken")
    with pytest.raises(InputError, match=r"problem\.yaml: is UTF-16 text"):
        resumed(folder)


# --- one folder, one run ---------------------------------------------------------------------------


def test_a_folder_in_use_is_refused(onsg: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(onsg, tmp_path / "run"))
    held = lock(folder)
    try:
        for call in (
            lambda: resumed(folder),
            lambda: morpho.solve(
                morpho.load_problem(folder / "problem.yaml"), folder, comm=MPI.COMM_SELF, overwrite=True
            ),
        ):
            with pytest.raises(InputError, match="a run is writing here"):
                call()
    finally:
        held.release()
    assert resumed(folder).iterations == 9


def test_the_same_command_twice(tmp_path: Path) -> None:
    file = write_mbb(tmp_path, "optimizer: {max_iterations: 2}")
    assert run(1, "solve", file, cwd=tmp_path).returncode == 0
    before = contents(tmp_path / "runs")
    again = run(1, "solve", file, cwd=tmp_path)
    assert again.returncode == 2
    assert "--overwrite" in again.stderr and "morpho resume runs/mbb" in again.stderr
    assert contents(tmp_path / "runs") == before


def test_an_option_of_one_letter_is_nobodys(tmp_path: Path) -> None:
    """Handed on to PETSc, it would be ignored, and the results lie elsewhere."""
    file = write_mbb(tmp_path, "optimizer: {max_iterations: 2}")
    asked = run(1, "solve", file, "-o", "elsewhere", cwd=tmp_path)
    assert asked.returncode == 2 and "unknown option -o" in asked.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("overwrite", [False, True])
def test_other_files_stay_as_they_are(overwrite: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = morpho.load_problem(write_mbb(tmp_path, name="problem.yaml"))
    before = contents(tmp_path)
    monkeypatch.chdir(tmp_path)
    for output in (".", "", tmp_path):
        with pytest.raises(InputError, match=r"is no run folder and holds other files \(problem.yaml\)"):
            morpho.solve(problem, output, comm=MPI.COMM_SELF, overwrite=overwrite)
    assert contents(tmp_path) == before


# --- signals and streams ---------------------------------------------------------------------------


def test_hangup_is_ignored_under_nohup_and_heeded_without(tmp_path: Path) -> None:
    for ignored in (True, False):
        folder = tmp_path / str(ignored)
        before = signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)
        try:
            process = start(1, "solve", write_mbb(tmp_path), "--output", folder, *ENDLESS, cwd=tmp_path)
        finally:
            signal.signal(signal.SIGHUP, before)
        wait_until(lambda folder=folder: rows(folder) >= 3, process)
        process.send_signal(signal.SIGHUP)
        if ignored:
            seen = rows(folder)
            wait_until(lambda folder=folder, seen=seen: rows(folder) > seen + 20, process)
            process.send_signal(signal.SIGTERM)
        ended = finish(process)
        assert ended.returncode == 130, ended.stderr
        assert "stopping after this iteration" in ended.stdout
        assert result_of(folder)["status"] == "interrupted"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_the_launcher_hands_signals_on_into_the_sandbox(number: signal.Signals) -> None:
    program = (
        "import signal, sys, time\n"
        f"signal.signal({int(number)}, lambda *_: sys.exit(42))\n"
        "print('ready', flush=True)\n"
        "time.sleep(30)\n"
    )
    process = subprocess.Popen(
        # a shell in the place of bubblewrap: its only child is the command
        [ROOT / "scripts" / "relay", "sandbox", "sh", "-c", '"$@"; exit $?', "sh", sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    process.send_signal(number)
    assert process.wait(timeout=20) == 42
    process.stdout.close()


def test_a_closed_pipe_does_not_end_a_run(tmp_path: Path) -> None:
    for ranks, streams in ((2, "| head -n 1"), (1, ">&- 2>&- <&-")):
        folder = tmp_path / f"run_{ranks}{len(streams)}"
        file = write_mbb(tmp_path, "optimizer: {max_iterations: 60, tolerance: 0, objective_tolerance: 0}")
        launcher = "mpirun -n 2 " if ranks == 2 else ""
        command = f"({launcher}{sys.executable} -m morpho solve {file} --output {folder}; echo $? > status) {streams}"
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
            "PATH": f"{ROOT / 'scripts' / 'bin'}:{os.environ['PATH']}",
        }
        ended = subprocess.run(
            ["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
        )
        assert "Traceback" not in ended.stderr and "PETSC" not in ended.stderr
        assert (tmp_path / "status").read_text() == "0\n"
        assert (folder / "log.txt").read_text().splitlines()[-1].startswith("results are in")
        assert rows(folder) == 60


def test_interrupted_before_the_first_iteration(tmp_path: Path) -> None:
    waits = (
        "import time, morpho.cli\n"
        "def wait(*_):\n"
        "    print('there', flush=True)\n"
        "    while True:\n"
        "        time.sleep(0.05)\n"
        "morpho.cli._load = wait\n"
        "morpho.cli.main()\n"
    )
    process = start(1, "solve", write_mbb(tmp_path), cwd=tmp_path, program=("-c", waits))
    assert process.stdout is not None and process.stdout.readline() == "there\n"
    process.send_signal(signal.SIGTERM)
    ended = finish(process)
    assert ended.returncode == 130
    assert "interrupted before the first iteration" in ended.stderr and "Traceback" not in ended.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mbb.yaml"]


def test_a_second_interrupt_ends_at_once(tmp_path: Path) -> None:
    slow = (
        "import time, morpho\n"
        "from morpho.cli import main\n"
        "from morpho.gradients.exact import Exact\n"
        "class Slow(Exact):\n"
        "    def estimate(self, rho):\n"
        "        end = time.monotonic() + 60 * (getattr(self, 'calls', 0) > 2)\n"
        "        self.calls = getattr(self, 'calls', 0) + 1\n"
        "        while time.monotonic() < end:\n"
        "            time.sleep(0.05)\n"
        "        return super().estimate(rho)\n"
        "morpho.gradients.register('slow', Slow)\n"
        "main()\n"
    )
    file, folder = write_mbb(tmp_path, "gradient: {source: slow}"), tmp_path / "run"
    process = start(1, "solve", file, "--output", folder, cwd=tmp_path, program=("-c", slow))
    wait_until(lambda: rows(folder) == 3, process)
    process.send_signal(signal.SIGINT)
    wait_until(lambda: "stopping after this iteration" in (folder / "log.txt").read_text(), process)
    time.sleep(1.2)
    process.send_signal(signal.SIGINT)
    assert finish(process, timeout=10).returncode == -signal.SIGINT
