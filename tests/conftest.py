"""What every test may use; pytest puts this folder on the path, so that tests can import `helpers`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from mpi4py import MPI

import pytest

TESTS = Path(__file__).parent


@pytest.fixture(scope="session")
def mpirun() -> Callable[..., str]:
    """A function (n, script, *arguments) that runs a Python script on n ranks and returns its standard output."""
    if MPI.COMM_WORLD.size > 1:
        pytest.skip("starts its own ranks")

    def run(n: int, script: Path, *arguments: object, timeout: float = 120) -> str:
        # os.environ lacks what MPI added to the environment of this process, which would mislead mpirun.
        paths = [str(TESTS), str(TESTS.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        done = subprocess.run(
            ["mpirun", "-n", str(n), sys.executable, str(script), *map(str, arguments)],
            # Ranks that wait give way to others: tests share the machine.
            env=dict(os.environ) | {"PYTHONPATH": os.pathsep.join(paths), "OMPI_MCA_mpi_yield_when_idle": "1"},
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
