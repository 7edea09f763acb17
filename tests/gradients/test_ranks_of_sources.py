"""Every gradient source comes to the same design on 1, 2 and 3 ranks."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from mpi4py import MPI

import pytest
from helpers import assert_same
from rank_facts import RUNS, fact

SCRIPT = Path(__file__).parent / "rank_facts.py"

#: Equal to the accuracy of training in float32 only.
NETWORKS = ("onsg", "prosg", "sobolev", "bp_lambda", "dni")


@cache
def found(mpirun, ranks):
    """What every run finds on so many ranks."""
    return json.loads(mpirun(ranks, SCRIPT, timeout=600))


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("ranks", [3, pytest.param(2, marks=pytest.mark.slow)])
def test_the_same_on_any_number_of_ranks(mpirun, name, ranks):
    alone, learns = fact(MPI.COMM_SELF, name), name.startswith(NETWORKS)
    many = found(mpirun, ranks)[name]
    assert many["objective"] == pytest.approx(alone["objective"], rel=1e-3 if learns else 1e-4)
    assert_same({"rho": many["rho"]}, {"rho": alone["rho"]}, rtol=0.05 if learns else 1e-3)
