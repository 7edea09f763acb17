"""Reference experiments of BP(lambda) (Pemberton & Costa 2024), on the learner of `source: bp_lambda`.

The line drawing of the paper, as its code sets it up: a linear recurrent network of fixed weights sees an input at the
first step and is to be at a point of the unit circle at the last one. A linear synthesiser, zero at first, learns the
gradients at the steps before, with Adam at a rate of 1e-4, from 1000 passes of that sequence. The paper's code divides
the loss by its batch of ten, which changes what is cut at norm 1; the expected figures were not made with that.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch

from morpho.gradients.traces import Traces

N, STEPS, SEQUENCES, RATE = 30, 10, 1000, 1e-4
BETA1, BETA2 = 0.9, 0.98
INPUT, TARGET = np.array([int(bit) for bit in "1101000001"]), np.array([0.0, 1.0])
THREE, MANY = 3, 16  #: networks
EXPECTED = {0.0: 0.45, 0.5: 0.50, 0.9: 0.65, 1.0: 0.69}  #: mean cosine over the steps, of three networks
BATCH = 10  #: that the loss is divided by in the paper's code
WITH_BATCH = {0.0: 0.26, 0.5: 0.50, 0.9: 0.86, 1.0: 0.89}  #: found with that


class Drawing:
    """The network that the paper's code makes of a seed, its states, and the loss at the end."""

    def __init__(self, seed, n=N, steps=STEPS):
        random = torch.Generator().manual_seed(seed)

        def uniform(*shape):
            return torch.zeros(shape).uniform_(-(n**-0.5), n**-0.5, generator=random).double().numpy()

        into, self.W, bias = uniform(n, len(INPUT)), uniform(n, n), uniform(n) + uniform(n)
        out, out_bias = uniform(2, n), uniform(2)
        states = [into @ INPUT + bias]
        for _ in range(steps - 1):
            states.append(self.W @ states[-1] + bias)
        self.states = np.array(states)
        self.d_loss = (out @ states[-1] + out_bias - TARGET) @ out
        self.d_states = [self.d_loss]  #: by backpropagation through time
        for _ in range(steps - 1):
            self.d_states.insert(0, self.d_states[0] @ self.W)

    def features(self):
        """(1, (n + 1) n, n) dv/dtheta of v = A h + b at every step; theta is A, then b."""
        eye = np.eye(len(self.d_loss))
        return [np.kron(np.append(h, 1.0)[:, None], eye)[None].astype(np.float32) for h in self.states]


def clipped(direction):
    """A and b each of norm 1 at most, as in the paper's code."""
    A, b = direction[:-N], direction[-N:]
    return np.concatenate([part / max(1.0, float(np.linalg.norm(part))) for part in (A, b)])


class Adam:
    """Ascent, as in the paper's code."""

    def __init__(self, theta):
        self.theta, self.first, self.second, self.steps = theta, np.zeros_like(theta), np.zeros_like(theta), 0

    def step(self, direction):
        self.steps += 1
        self.first += (1 - BETA1) * (direction - self.first)
        self.second += (1 - BETA2) * (direction**2 - self.second)
        first, second = self.first / (1 - BETA1**self.steps), self.second / (1 - BETA2**self.steps)
        self.theta += RATE * first / (np.sqrt(second) + 1e-9)


def cosines(trace, seed, batch=1):
    """Cosine of v and the true gradient at every step but the last, after training on the loss over `batch`."""
    drawing = Drawing(seed)
    phi, W = drawing.features(), drawing.W.astype(np.float32)
    learner = Traces(np.zeros(phi[0].shape[1], np.float32), trace, 1.0)
    adam = Adam(learner.theta)
    for _ in range(SEQUENCES):
        directions = []  # theta changes between sequences
        for t in range(STEPS - 1):
            directions.append(learner.step(W, phi[t]))
            learner.emit(phi[t])
        directions.append(learner.end(W, (drawing.d_loss / batch).astype(np.float32)[None]))
        adam.step(sum(clipped(direction) for direction in directions))
    pairs = [(learner.emit(phi[t])[0], drawing.d_states[t]) for t in range(STEPS - 1)]
    return [v @ d / (np.linalg.norm(v) * np.linalg.norm(d)) for v, d in pairs]


@cache
def network(trace, seed):
    """Cosines (steps,) of one network."""
    return cosines(trace, seed)


def found(trace, networks):
    """Cosines (networks, steps)."""
    return np.array([network(trace, seed) for seed in range(networks)])


@pytest.mark.parametrize("networks", [THREE, pytest.param(MANY, marks=pytest.mark.slow)])
def test_longer_traces_see_further(networks):
    means = [float(found(trace, networks).mean()) for trace in EXPECTED]
    assert means == sorted(means)
    assert (found(1.0, networks) - found(0.0, networks))[:, 0].mean() >= 0.3


@pytest.mark.parametrize("trace", EXPECTED)
def test_mean_cosine(trace):
    assert found(trace, THREE).mean() == pytest.approx(EXPECTED[trace], abs=0.1)


SHORT = pytest.mark.xfail(strict=True, reason="0.29 is found; without a trace networks differ by 0.14")


@pytest.mark.slow
@pytest.mark.parametrize("trace", [pytest.param(0.0, marks=SHORT), 0.5, 0.9, 1.0])
def test_mean_cosine_of_many_networks(trace):
    assert found(trace, MANY).mean() == pytest.approx(EXPECTED[trace], abs=0.1)


def test_with_the_loss_of_the_code():
    """Longer traces see further there, too, and further than the expected figures say."""
    means = {trace: np.mean([cosines(trace, seed, BATCH) for seed in range(THREE)]) for trace in EXPECTED}
    assert list(means.values()) == sorted(means.values())
    assert means == pytest.approx(WITH_BATCH, abs=0.1)
    assert sum(abs(means[trace] - EXPECTED[trace]) > 0.1 for trace in EXPECTED) == 3


class Sequence:
    """A random one, with a Jacobian, losses and features of its own at every state; the last state has no v."""

    def __init__(self, seed=0, n=5, m=4, batch=3, states=7, diagonal=False):
        rng = np.random.default_rng(seed)
        self.J = list(rng.standard_normal((states, n) if diagonal else (states, n, n)) / 2)
        self.d_loss = list(rng.standard_normal((states, batch, n)))
        self.phi = list(rng.standard_normal((states - 1, batch, m, n)))
        self.theta = rng.standard_normal(m)

    def directions(self, trace, discount=1.0, rate=0.0):
        """Of all steps; with a rate of 0 the weights are frozen."""
        learner, found = Traces(self.theta.copy(), trace, discount), []
        for J, d_loss, phi in zip(self.J, self.d_loss, self.phi, strict=False):
            found.append(learner.step(J, phi, d_loss))
            learner.theta += rate * found[-1]
            learner.emit(phi)
        return [*found, learner.end(self.J[-1], self.d_loss[-1])]

    def v(self, t):
        return np.einsum("m,bmn->bn", self.theta, self.phi[t])

    def full(self, t):
        return np.diag(self.J[t]) if self.J[t].ndim == 1 else self.J[t]

    def targets(self, trace, discount):
        """The lambda-returns at all states but the last, backwards."""
        found = [self.d_loss[-1] @ self.full(-1)]
        for t in range(len(self.phi) - 1, 0, -1):
            ahead = self.d_loss[t] + discount * ((1 - trace) * self.v(t) + trace * found[0])
            found.insert(0, ahead @ self.full(t))
        return found


@pytest.mark.parametrize("diagonal", [False, True])
@pytest.mark.parametrize(("trace", "discount"), [(1.0, 1.0), (1.0, 0.8), (0.7, 0.9), (0.0, 1.0)])
def test_updates_are_the_offline_regression_to_the_return(trace, discount, diagonal):
    sequence = Sequence(diagonal=diagonal)
    off = [target - sequence.v(t) for t, target in enumerate(sequence.targets(trace, discount))]
    expected = sum(np.einsum("bn,bmn->m", d, phi) for d, phi in zip(off, sequence.phi, strict=True))
    found = sum(sequence.directions(trace, discount))
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10 * np.abs(expected).max())


def test_full_trace_regresses_to_backpropagation_through_time():
    """On the drawing, against the gradient that went back through all of the steps."""
    drawing = Drawing(0, n=6, steps=8)
    phi = [np.kron(np.append(h, 1.0)[:, None], np.eye(6))[None] for h in drawing.states]
    learner = Traces(np.random.default_rng(1).standard_normal(42), 1.0, 1.0)
    found, expected = np.zeros(42), np.zeros(42)
    for t in range(7):
        found += learner.step(drawing.W, phi[t])
        expected += phi[t][0] @ (drawing.d_states[t] - learner.emit(phi[t])[0])
    found += learner.end(drawing.W, drawing.d_loss[None])
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10 * np.abs(expected).max())


def test_no_trace_is_td_0():
    """delta phi at every step, with weights that change on the way; what was before the last state does not count."""
    sequence, rate = Sequence(), 0.01
    found = sequence.directions(0.0, 0.9, rate)
    theta = sequence.theta.copy()
    for t in range(1, len(sequence.J)):
        before = np.einsum("m,bmn->bn", theta, sequence.phi[t - 1])
        ahead = np.einsum("m,bmn->bn", theta, sequence.phi[t]) if t < len(sequence.phi) else 0.0
        delta = (sequence.d_loss[t] + 0.9 * ahead) @ sequence.J[t] - before
        direction = np.einsum("bn,bmn->m", delta, sequence.phi[t - 1])
        np.testing.assert_allclose(found[t], direction, rtol=1e-10)
        theta += rate * direction


def test_trace_is_how_past_values_move_the_state():
    """By central differences on a nonlinear network: v is added to each state, times what its age makes of it."""
    rng = np.random.default_rng(0)
    n, states, decay, step = 4, 6, 0.7, 1e-5
    W = rng.standard_normal((n, n)) / 2
    h = [rng.standard_normal(n)]
    for _ in range(states - 1):
        h.append(np.tanh(W @ h[-1]))

    def features(state):
        return np.kron(np.append(state, 1.0)[:, None], np.eye(n))[None]

    learner = Traces(np.zeros(n * (n + 1)), decay, 1.0)
    for t, state in enumerate(h):
        learner.step((1 - state**2)[:, None] * W, features(state))
        learner.emit(features(state))

        def moved(theta, t=t):
            g = h[0] + decay**t * theta @ features(h[0])[0]
            for s in range(1, t + 1):
                g = np.tanh(W @ g) + decay ** (t - s) * theta @ features(h[s])[0]
            return g

        expected = [(moved(d) - moved(-d)) / (2 * step) for d in step * np.eye(n * (n + 1))]
        np.testing.assert_allclose(learner.e[0], expected, atol=1e-8)


def test_components_that_are_not_seen_do_not_count():
    sequence, found = Sequence(diagonal=True), []
    seen = np.array([1.0, 0.0, 1.0, 0.0, 0.0])
    for d_loss in (sequence.d_loss[1], sequence.d_loss[1] + 1e3 * (1 - seen)):
        learner = Traces(sequence.theta, 0.5, 1.0)
        learner.step(sequence.J[0], sequence.phi[0])
        learner.emit(sequence.phi[0])
        found.append(learner.step(sequence.J[1], sequence.phi[1], d_loss, seen))
    np.testing.assert_array_equal(*found)


def test_sequences_do_not_know_each_other():
    sequence = Sequence()
    learner, first = Traces(sequence.theta, 0.9, 1.0), []
    for _ in range(2):
        for J, phi in zip(sequence.J, sequence.phi, strict=False):
            learner.step(J, phi)
            learner.emit(phi)
        first.append(learner.end(sequence.J[-1], sequence.d_loss[-1]))
    np.testing.assert_array_equal(*first)
