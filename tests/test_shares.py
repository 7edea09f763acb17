"""Densities in 16 bits."""

from dataclasses import replace

from mpi4py import MPI

import numpy as np
from helpers import box, make_problem, plane

from morpho import shares
from morpho.run import iterate


def test_nearly_what_was_packed():
    values = np.random.default_rng(0).random(1000)
    values[:3] = 0.0, 1.0, 1 + 1e-16
    found = shares.unpacked(shares.packed(values))
    assert np.abs(found - values).max() <= 0.5 / shares.ONE
    np.testing.assert_array_equal(found[:3], [0, 1, 1])
    np.testing.assert_array_equal(shares.packed(found), shares.packed(values))


def test_a_step_is_made_whole_again():
    tip = [{"name": "tip", "forces": [{"region": plane("x", 3.0), "total": [0.0, -1.0]}]}]
    problem = make_problem(box([12, 4], [3.0, 1.0]), loads=tip, optimizer={"max_iterations": 1})
    (step,) = iterate(problem, MPI.COMM_SELF)

    def realise(place, x):
        return replace(drawn, rho=x, solved=x)

    from morpho.design.realisations import Realised

    drawn = Realised(step.rho, lambda d: d, step.solved, lambda d: d)
    kept = step.kept()
    assert len(kept.rho) == 0 and kept.x.itemsize == 2 and kept.objective == step.objective
    whole = kept.with_densities(realise)
    np.testing.assert_allclose(whole.x, step.x, atol=1e-5)
    np.testing.assert_array_equal(whole.rho, whole.x)
    np.testing.assert_array_equal(step.with_densities(realise).x, step.x)
