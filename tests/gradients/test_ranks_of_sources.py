"""Every gradient source comes to the same design on 1, 2 and 3 ranks."""

from __future__ import annotations

import json
from pathlib import Path

from mpi4py import MPI

import pytest
from helpers import assert_same
from rank_facts import RUNS, fact

SCRIPT = Path(__file__).parent / "rank_facts.py"

#: Equal to the accuracy of training in float32 only.
NETWORKS = ("onsg", "prosg", "sobolev", "bp_lambda", "dni")


@pytest.fixture(scope="module")
def found(mpirun):
    """What every run finds, by the number of ranks."""
    return {ranks: json.loads(mpirun(ranks, SCRIPT, timeout=600)) for ranks in (2, 3)}


@pytest.mark.parametrize("name", RUNS)
def test_the_same_on_any_number_of_ranks(found, name):
    alone, learns = fact(MPI.COMM_SELF, name), name.startswith(NETWORKS)
    for ranks in (2, 3):
        assert found[ranks][name]["objective"] == pytest.approx(alone["objective"], rel=1e-3 if learns else 1e-4)
        assert_same({"rho": found[ranks][name]["rho"]}, {"rho": alone["rho"]}, rtol=0.05 if learns else 1e-3)
