"""Loads, supports, solutions and derivatives are the same on 1, 2 and 3 ranks."""

from __future__ import annotations

import json
from pathlib import Path

from mpi4py import MPI

import numpy as np
import pytest
from fem_facts import facts
from helpers import assert_same, write_gmsh


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return str(write_gmsh(tmp_path_factory.mktemp("msh") / "mesh.msh", "tetrahedron"))


@pytest.fixture(scope="module")
def alone(path):
    return facts(MPI.COMM_SELF, path)


def test_the_facts_are_about_something(alone):
    numbers = {name: value for name, value in alone.items() if not isinstance(value, str)}
    assert len(numbers) > 150
    assert all(np.abs(value).max() > 0 for value in numbers.values())
    assert all(value for value in alone.values() if isinstance(value, str))


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_nothing_depends_on_the_ranks(mpirun, path, alone, ranks):
    found = json.loads(mpirun(ranks, Path(__file__).with_name("fem_facts.py"), path))
    assert_same(found, alone, rtol=1e-7)
