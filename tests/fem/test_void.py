"""When void is left out of the solves, and when it is not."""

from __future__ import annotations

import logging

from mpi4py import MPI

import numpy as np
import pytest
from helpers import box, make_problem, plane

from morpho.parts import Parts

TIP = {"points": [[4.0, 0.0, 0.0]]}
STRUT = {
    "mesh": box([16, 8, 8], [4.0, 2.0, 2.0]),
    "supports": [{"region": plane("x", 0)}],
    "loads": [{"forces": [{"region": TIP, "total": [0.0, -1.0, 0.0]}]}],
    "solver": {"rtol": 1e-8},
    "engine": "voxel",
}


def strut(n=16, tall=3):
    """(8, 8, 16) a bar of so many cells along x."""
    rho = np.zeros((8, 8, 16))
    rho[:tall, :tall, :n] = 1.0
    return rho


def solved(rho, **given):
    """What a solve left out, and its compliance."""
    with Parts(make_problem(**STRUT | given), MPI.COMM_SELF) as parts:
        state = parts.physics.solve(rho.ravel())
        return parts.physics.cg.operator.E == 0, state.compliance[0]


def test_void_is_left_out():
    void, _ = solved(strut())
    np.testing.assert_array_equal(void, strut() == 0)


@pytest.mark.parametrize(
    "given",
    [
        {"material": {"interpolation": "ramp"}},  # whose derivative in void is not zero
        {"material": {"penalty": 1}},
        {"material": {"E_min_ratio": 1e-6}},
        {"loads": [{"forces": [{"region": TIP, "total": [0, -1, 0]}, {"self_weight": [0, 0, -1]}]}]},
        {"supports": [*STRUT["supports"], {"region": TIP, "fix": "z", "value": 0.1}]},
        {"loads": [{"forces": [{"region": plane("x", 4), "total": [0, -1, 0]}]}]},  # beside the strut, too
        {"springs": [{"region": plane("y", 2), "stiffness": [0.1, 0.1, 0.1]}]},  # on void
    ],
)
def test_void_is_solved_for_where_it_matters(given):
    assert not solved(strut(), **given)[0].any()


def test_a_load_that_hangs_in_the_air_brings_void_back(caplog):
    """As before there was a way without void: the compliance is huge, and the design sees it."""
    gap = strut()
    gap[:, :, 6:9] = 0
    with caplog.at_level(logging.INFO, "morpho"), Parts(make_problem(**STRUT), MPI.COMM_SELF) as parts:
        assert parts.physics.beside == ""
        compliance = parts.physics.solve(gap.ravel()).compliance[0]
        assert parts.physics.cg.operator.E.all() and compliance > 1e6
        assert "void" in parts.physics.beside  # for history.csv
    assert "void is solved for, too, from here on" in caplog.text


def test_pictures_show_no_state_in_void():
    with Parts(make_problem(**STRUT), MPI.COMM_SELF) as parts:
        parts.physics.solve(np.random.default_rng(0).random(1024))
        parts.physics.solve(strut().ravel())
        beside = parts.physics.vertex_displacement(0).reshape(9, 9, 17, 3)[5:]
        assert np.all(beside == 0)
        assert np.all(parts.physics.von_mises(0)[strut().ravel() == 0] == 0)
