"""Start morpho in processes of its own: alone or under mpirun, to the end or until something is on disk."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from mpi4py import MPI

import pytest

ROOT = Path(__file__).resolve().parents[1]

MBB = """
mesh: {box: {size: [12, 4], cells: [12, 4]}}
supports:
  - {region: {plane: {axis: x, at: 0}}, fix: x}
  - {region: {points: [[12, 0]]}, fix: y}
loads:
  - {name: tip, forces: [{region: {points: [[0, 4]]}, total: [0, -1]}]}
constraints:
  - {volume_fraction: 0.5}
design:
  filter: {kind: cone, radius: 1.5}
"""


def write_mbb(folder: Path, *more: str, name: str = "mbb.yaml") -> Path:
    """A half MBB beam of 48 cells as a problem file, with more lines of YAML."""
    path = folder / name
    path.write_text(MBB + "".join(line + "\n" for line in more))
    return path


def settings(*overrides: str) -> list[str]:
    """Overrides for the command line."""
    return [part for override in overrides for part in ("--set", override)]


def start(ranks: int, *arguments: object, cwd: Path, program: tuple[str, ...] = ("-m", "morpho")) -> subprocess.Popen:
    """Start Python with a program (default morpho) on so many ranks, in a session of its own."""
    if MPI.COMM_WORLD.size > 1:
        pytest.skip("starts its own ranks")
    # A copy of the environment: MPI adds variables to that of this process, which would mislead mpirun.
    environment = dict(os.environ) | {
        "PATH": os.pathsep.join([str(ROOT / "scripts" / "bin"), os.environ["PATH"]]),  # with its mpirun
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "OMP_NUM_THREADS": "1",
        "OMPI_MCA_mpi_yield_when_idle": "1",  # ranks that wait leave the core to those that work
        "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    }
    launcher = ["mpirun", "-n", str(ranks)] if ranks > 1 else []
    return subprocess.Popen(
        [*launcher, sys.executable, *program, *map(str, arguments)],
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen, timeout: float = 60) -> subprocess.CompletedProcess:
    """Wait for the end; a process that does not come to it is killed, with all its ranks, and the test fails."""
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        kill_session(process)
        out, err = process.communicate()
        pytest.fail(f"still running after {timeout} s\n{out}\n{err}")
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def run(
    ranks: int, *arguments: object, cwd: Path, program: tuple[str, ...] = ("-m", "morpho"), timeout: float = 60
) -> subprocess.CompletedProcess:
    """Run to the end."""
    return finish(start(ranks, *arguments, cwd=cwd, program=program), timeout)


def kill_session(process: subprocess.Popen) -> None:
    """SIGKILL mpirun and all its ranks (each is the leader of a process group) at once, as a power cut would."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        if int(fields[3]) == process.pid:
            os.kill(int(path.parent.name), signal.SIGKILL)


def wait_until(condition: Callable[[], bool], process: subprocess.Popen, timeout: float = 60) -> None:
    """Wait for something that a running process brings about."""
    end = time.monotonic() + timeout
    while not condition():
        if process.poll() is not None or time.monotonic() > end:
            kill_session(process)
            out, err = process.communicate()
            pytest.fail(f"it did not come about\n{out}\n{err}")
        time.sleep(0.01)


def rows(folder: Path) -> int:
    """Complete rows of the history so far."""
    path = folder / "history.csv"
    return path.read_text().count("\n") - 1 if path.exists() else 0
