"""The closed loop of `onsg` against the secant, which is the same method without a network (Zhang et al. 2021)."""

from __future__ import annotations

from mpi4py import MPI

import numpy as np
import pytest
from helpers import box, make_problem, plane

from morpho.run import iterate


def run(source, **gradient):
    """A cantilever of 9,216 cells whose penalty rises to 3 in 40 of 80 iterations."""
    end = {"all_of": [plane("x", 2), plane("z", 0)]}
    problem = make_problem(
        box([36, 16, 16], [2.0, 1.0, 1.0]),
        material={"penalty": {"start": 1, "max": 3, "every": 10, "step": 0.5}},
        loads=[{"forces": [{"region": end, "total": [0, 0, -1]}]}],
        constraints=[{"volume_fraction": 0.15}],
        design={"filter": {"kind": "cone", "radius": 0.12}},
        gradient={"source": source} | gradient,
        optimizer={"max_iterations": 80, "tolerance": 0, "objective_tolerance": 0},
        solver={"rtol": 1e-5},
    )
    return list(iterate(problem, MPI.COMM_SELF))


@pytest.fixture(scope="module")
def exact():
    return run("exact")[-1].objective


ONLINE = {"onsg": {"form": "anchored"}}
SETTINGS = {"default": {}, "every 20": {"every": 20}, "always at work": {"enough": 0}}
SETTINGS |= {f"trained in the run, {name}": ONLINE | given for name, given in SETTINGS.items()}


@pytest.mark.parametrize("gradient", SETTINGS.values(), ids=SETTINGS)
def test_closed_loop(exact, gradient):
    steps = run("onsg", **gradient)
    secant = run("secant", **{key: value for key, value in gradient.items() if key not in ("enough", "onsg")})
    assert steps[-1].objective < 1.01 * exact
    assert steps[-1].objective < 1.01 * secant[-1].objective
    over_a_gap = [s.advice for s in steps if s.advice.since > 1 and s.advice.error == s.advice.error]
    assert np.median([a.error / a.rival_error for a in over_a_gap]) < 1
