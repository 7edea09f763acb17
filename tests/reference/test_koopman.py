"""Koopman training on what it was made for (Dogra & Redman 2020): gradient descent, far ahead from a window."""

from __future__ import annotations

import runpy

from mpi4py import MPI

import numpy as np
import pytest
from running import ROOT

from morpho.gradients import dmd
from morpho.gradients.dmd import Extrapolation, Operator

CURVATURES = np.array([0.9, 0.6, 0.3, 0.1, 0.02])
STUDY = runpy.run_path(str(ROOT / "scripts" / "study_koopman_window.py"))


def descent(n, steps, seed=0):
    """Gradient descent with unit steps on a quadratic in R^n, from a point that differs in five modes: (n, steps)."""
    rng = np.random.default_rng(seed)
    modes = np.linalg.qr(rng.standard_normal((n, len(CURVATURES))))[0]
    minimum, amplitudes = rng.standard_normal(n), rng.uniform(1, 2, len(CURVATURES))
    shrunk = amplitudes[:, None] * (1 - CURVATURES[:, None]) ** np.arange(steps)
    return minimum[:, None] + modes @ shrunk


def test_gradient_descent_on_a_quadratic_is_predicted_exactly():
    x = descent(60, 112)
    D = x[:, :12] - x[:, 11:12]
    operator = Operator.fit(D, 5)
    found = x[:, 11] + D @ operator.ahead(100)
    assert np.linalg.norm(found - x[:, 111]) < 1e-8 * np.linalg.norm(x[:, 11] - x[:, 111])
    assert operator.missed < 1e-20 * operator.moved
    linear = x[:, 11] + dmd.linear(D, 100)
    assert np.linalg.norm(linear - x[:, 111]) > 0.1 * np.linalg.norm(x[:, 11] - x[:, 111])


def test_operator_is_the_iteration_matrix_on_the_visited_subspace():
    x = descent(60, 12)
    operator = Operator.fit(x - x[:, -1:], 5)
    eigenvalues = np.sort(np.linalg.eigvals(operator.matrix).real)
    np.testing.assert_allclose(eigenvalues, [*(1 - CURVATURES), 1.0], atol=1e-8)


@pytest.mark.parametrize("patch", [0, 60])
def test_the_same_through_the_extrapolation_of_the_source(patch):
    x = descent(60, 112)
    D = dmd.window(list(x.T[:12]))
    change, error = Extrapolation(MPI.COMM_SELF, np.arange(60), 5, patch)(D, 100)
    assert np.linalg.norm(x[:, 11] + change - x[:, 111]) < 1e-8 * np.linalg.norm(x[:, 11] - x[:, 111])
    assert error < 1e-9


@pytest.fixture(scope="module")
def network():
    """A window of 2000 steps of the 2 x 10 tanh network, what comes 500 steps later, and the loss."""
    recorded, loss = STUDY["network_trajectory"](STUDY["START"] + 2500)
    return [layer[-2501:-500] for layer in recorded], [layer[-1] for layer in recorded], loss


def test_loss_of_a_network_500_steps_ahead(network):
    window, truth, loss = network
    now = [layer[-1] for layer in window]
    predicted = STUDY["network_ahead"]([layer[-2000:] for layer in window], 500)
    assert loss(truth) < 0.97 * loss(now)
    for method in ("patch", "global"):
        assert loss(predicted[method]) == pytest.approx(loss(truth), rel=0.05)
        assert STUDY["distance"](predicted[method], truth) < 0.5 * STUDY["distance"](now, truth)
    for method, weights in predicted.items():  # shown by pytest -s: the linear ones are what has to be beaten
        print(method, loss(weights), STUDY["distance"](weights, truth), "true", loss(truth))


def test_nodes_do_not_mix(network):
    """What is predicted for a node depends on the weights into this node alone."""
    window, *_ = network
    D = np.moveaxis(window[1][-50:] - window[1][-1], 0, -1)
    other = D.copy()
    other[3] += np.random.default_rng(0).normal(0, 0.1 * np.abs(D[3]).max(), D[3].shape)
    rank = D.shape[1]
    one, two = (np.einsum("oiw,ow->oi", X, Operator.fit(X, rank).ahead(50)) for X in (D, other))
    untouched = np.arange(10) != 3
    np.testing.assert_allclose(one[untouched], two[untouched], rtol=1e-9)
    assert not np.allclose(one[3], two[3])


def test_patches_do_not_mix():
    rng = np.random.default_rng(0)
    D = dmd.window(list(rng.standard_normal((6, 20)).cumsum(axis=0)))
    ahead = Extrapolation(MPI.COMM_SELF, np.arange(20), 2, 5)
    other = D.copy()
    other[7, :-1] += 1
    one, two = ahead(D, 3)[0], ahead(other, 3)[0]
    same = np.isclose(one, two, rtol=1e-12, atol=0)
    assert same.tolist() == [not 5 <= i < 10 for i in range(20)]
