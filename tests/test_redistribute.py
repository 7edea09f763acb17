"""Values of cells from one distribution to another."""

import json
from pathlib import Path

from mpi4py import MPI

import numpy as np
import pytest
from redistribute_facts import facts

from morpho.redistribute import Redistribution

SCRIPT = Path(__file__).parent / "redistribute_facts.py"


@pytest.mark.parametrize("own", ["all", "first"])
def test_everything_arrives(mpirun, own):
    assert facts(MPI.COMM_SELF, own) == {"wrong": 0, "refused": 1, "ranks": 1}
    for ranks in (2, 3):
        assert json.loads(mpirun(ranks, SCRIPT, own)) == {"wrong": 0, "refused": ranks, "ranks": ranks}


def test_values_are_those_at_the_time_of_sending():
    way = Redistribution(MPI.COMM_SELF, np.arange(4), np.array([3, 1, 1]))
    values = np.arange(4.0)
    arrival = way.receive(1, 0)
    requests = way.send(values, 0)
    values[:] = -1
    assert arrival.values()[:, 0].tolist() == [3, 1, 1]
    MPI.Request.Waitall(requests)


def test_nothing_at_all():
    way = Redistribution(MPI.COMM_SELF, np.zeros(0, np.int64), np.zeros(0, np.int64))
    assert way.apply(np.zeros((0, 2))).shape == (0, 2)
    assert way.send(np.zeros(0), 0) == []
    assert way.receive(1, 0).is_there()
