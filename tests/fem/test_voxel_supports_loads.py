"""The voxel engine holds the same nodes, spreads the same forces and says the same as the dolfinx path."""

from __future__ import annotations

import json
from pathlib import Path

from mpi4py import MPI

import numpy as np
import pytest
from helpers import assert_same
from voxel_boxes import BOXES
from voxel_facts import dolfinx_facts, of_boxes, voxel_facts

LISTED = ("no node of the mesh lies in", "contradicts an earlier support", "the structure is free to")
LISTED += ("no boundary facet or edge or vertex lies in", "no boundary edge lies in", "the mesh has no tag 'left'")
LISTED += ("'on_held_nodes' are zero", "'zero' are zero", "'opposed' are zero", "'weightless' are zero")
LISTED += ("the supports move the body as a whole",)


@pytest.fixture(scope="module")
def expected():
    return of_boxes(dolfinx_facts, MPI.COMM_SELF, *BOXES)


def test_the_facts_are_about_something(expected):
    loads = [value for name, value in expected.items() if ": load " in name]
    assert len(loads) > 500 and sum(bool(np.any(load)) for load in loads) > 300
    assert sum(bool(np.any(value)) for name, value in expected.items() if name.endswith(": values")) == len(BOXES) * 3
    said = "\n".join(value for name, value in expected.items() if name.endswith(": complaints"))
    assert [text for text in LISTED if text not in said] == []
    assert not [text for text in ("'heavy'", "'moving'", "'empty'") if text in said]
    for name in BOXES:
        assert expected[f"{name}, rollers: complaints"] == expected[f"{name}, not idle: complaints"] == ""


@pytest.mark.parametrize("name", BOXES)
def test_the_same_as_on_a_dolfinx_mesh(name, expected):
    assert_same(of_boxes(voxel_facts, MPI.COMM_SELF, name), of(expected, name), rtol=1e-12)


@pytest.mark.parametrize(("ranks", "names"), [(2, ["flat", "brick"]), (3, ["row", "plate"]), (4, ["square", "cube"])])
def test_the_same_on_several_ranks(mpirun, ranks, names, expected):
    found = json.loads(mpirun(ranks, Path(__file__).with_name("voxel_facts.py"), *names))
    assert_same(found, of(expected, *names), rtol=1e-12)


def of(expected, *names):
    """The facts of some boxes."""
    return {fact: value for fact, value in expected.items() if fact.split(",")[0] in names}
