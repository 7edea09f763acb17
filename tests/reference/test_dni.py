"""The reference experiment of decoupled training: as good as backpropagation, without waiting for true gradients."""

import json
from pathlib import Path

from mpi4py import MPI

import pytest

from reference.dni_digits import facts

SCRIPT = Path(__file__).parent / "dni_digits.py"


@pytest.fixture(scope="module")
def backprop():
    return facts(MPI.COMM_SELF, "backprop")


def test_backpropagation_is_the_case_without_latency(backprop):
    assert backprop["mean_delay"] == 0
    assert backprop["accuracy"] > 0.9
    assert facts(MPI.COMM_SELF, "frozen")["accuracy"] < backprop["accuracy"] - 0.04


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_sequential(backprop, seed):
    if seed:
        backprop = facts(MPI.COMM_SELF, "backprop", seed=str(seed))
    found, stale = (facts(MPI.COMM_SELF, how, seed=str(seed)) for how in ("sequential", "stale"))
    assert found["accuracy"] > backprop["accuracy"] - 0.02
    assert stale["accuracy"] < backprop["accuracy"] - 0.04  # what a true gradient that is late is worth without a model
    assert found["first_error"] == pytest.approx(1)  # M is zero at first
    assert found["least_error"] < 0.8
    assert found["mean_delay"] == found["updates_meanwhile"] == 1


def test_two_processes(mpirun, backprop):
    found = json.loads(mpirun(2, SCRIPT, "bounded"))
    print(f"updates per second: backprop {backprop['updates_per_second']:.0f}", found)
    assert found["accuracy"] > backprop["accuracy"] - 0.02
    assert found["updates_meanwhile"] >= 1  # between request and arrival
    assert found["first_error"] == pytest.approx(1)
