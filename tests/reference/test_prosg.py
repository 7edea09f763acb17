"""Reference experiment of ProSG (Luo et al. 2023): associative recall, on the fast weights of `source: prosg`.

A recurrent network reads eight pairs of a key and a value, 64 tokens that mean nothing, and a key; it should say the
value. With fast weights its states at the pairs become a temporary change of the weights that the answer is read with,
trained end to end.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from morpho.gradients.fast_weights import Hypernetwork, against, changed

PAIRS, KEYS, VALUES, NOISE, LAG, HIDDEN = 8, 16, 8, 8, 64, 32
STEPS, BATCH, RATE = 350, 64, 0.01
CHANCE = 1 / VALUES


def sequences(m, random):
    """One-hot tokens (m, PAIRS + LAG + 1, KEYS + VALUES + NOISE) and the values asked for (m,)."""
    keys = torch.rand((m, KEYS), generator=random).argsort(1)[:, :PAIRS]
    values = torch.randint(VALUES, (m, PAIRS), generator=random)
    noise = torch.randint(NOISE, (m, LAG), generator=random)
    asked = torch.randint(PAIRS, (m,), generator=random)
    x = torch.zeros((m, PAIRS + LAG + 1, KEYS + VALUES + NOISE))
    row = torch.arange(m)
    x[row[:, None], torch.arange(PAIRS), keys] = 1
    x[row[:, None], torch.arange(PAIRS), KEYS + values] = 1
    x[row[:, None], PAIRS + torch.arange(LAG), KEYS + VALUES + noise] = 1
    x[row, -1, keys[row, asked]] = 1
    return x, values[row, asked]


class Recall:
    """A GRU; with fast weights, each state at a pair gives one column of U and V."""

    def __init__(self, fast):
        torch.manual_seed(0)
        self.fast = fast
        self.gru = torch.nn.GRU(KEYS + VALUES + NOISE, HIDDEN, batch_first=True)
        self.readout = torch.nn.Linear(HIDDEN, VALUES, bias=False)
        random = torch.Generator().manual_seed(0)
        self.hypernetwork = Hypernetwork(HIDDEN, [(VALUES, HIDDEN)], 1, HIDDEN, random)
        self.parameters = [*self.gru.parameters(), *self.readout.parameters()]
        if fast:
            self.parameters += self.hypernetwork.adam.parameters

    def weights(self, states):
        """(m, VALUES, HIDDEN) the weights of the readout for each sequence."""
        [(U, V)] = self.hypernetwork.changes(states)
        return changed(self.readout.weight, (U.squeeze(-1).mT, V.squeeze(-1).mT), largest=100.0)

    def logits(self, x, shuffled=False):
        states, _ = self.gru(x)
        if not self.fast:
            return self.readout(states[:, -1])
        W = self.weights(states[:, :PAIRS])
        return (W.roll(1, 0) if shuffled else W) @ states[:, -1, :, None]

    def train(self):
        random = torch.Generator().manual_seed(1)
        adam = torch.optim.Adam(self.parameters, RATE)
        for _ in range(STEPS):
            x, y = sequences(BATCH, random)
            loss = torch.nn.functional.cross_entropy(self.logits(x).flatten(1), y)
            adam.zero_grad()
            loss.backward()
            adam.step()
        return self

    def accuracy(self, **how):
        x, y = sequences(1000, torch.Generator().manual_seed(2))
        with torch.no_grad():
            return float((self.logits(x, **how).flatten(1).argmax(1) == y).float().mean())


@pytest.fixture(scope="module")
def recall():
    return Recall(fast=True).train()


def test_fast_weights_recall_what_the_state_forgets(recall):
    assert recall.accuracy() > 0.8
    assert Recall(fast=False).train().accuracy() < 0.4


def test_states_of_other_sequences_do_not_help(recall):
    assert recall.accuracy(shuffled=True) < 1.5 * CHANCE


def test_change_has_the_rank_and_goes_without_a_trace(recall):
    W = recall.readout.weight
    before = W.detach().numpy().copy()
    x, _ = sequences(16, torch.Generator().manual_seed(3))
    with torch.no_grad():
        change = recall.weights(recall.gru(x)[0][:, :3]) - W
    assert np.linalg.norm(change[0]) > 0.1 * np.linalg.norm(before)
    assert (np.linalg.matrix_rank(change.numpy(), tol=1e-4) <= 3).all()
    assert W.detach().numpy().tobytes() == before.tobytes()


def test_inference_needs_no_derivatives(recall, monkeypatch):
    def never(*_, **__):
        raise AssertionError("no derivatives at inference")

    monkeypatch.setattr(torch.autograd, "grad", never)
    monkeypatch.setattr(torch.Tensor, "backward", never)
    x, _ = sequences(4, torch.Generator().manual_seed(3))
    with torch.inference_mode():
        assert not recall.logits(x).requires_grad


def test_step_of_low_rank_lowers_a_loss():
    """Cut to rank 2 it keeps most of a gradient that is a sum of few outer products, and the length it was given."""
    random = torch.Generator().manual_seed(0)
    X, W = torch.randn((3, 20), generator=random), torch.randn((10, 20), generator=random, requires_grad=True)
    loss = (X @ W.mT).square().mean()
    (gradient,) = torch.autograd.grad(loss, W)
    with torch.no_grad():
        new = changed(W, against(gradient, W, 2, 0.05), 1.0)
        assert torch.linalg.matrix_rank(new - W, rtol=1e-4) == 2
        assert float((new - W).norm() / W.norm()) == pytest.approx(0.05, rel=1e-4)
        assert (X @ new.mT).square().mean() < loss
        full = changed(W, against(gradient, W, 10, 0.05), 1.0) - W
        torch.testing.assert_close(full, -0.05 * W.norm() * gradient / gradient.norm(), rtol=1e-3, atol=1e-5)
        capped = changed(W, against(gradient, W, 2, 0.05), 0.01)
        assert float((capped - W).norm() / W.norm()) == pytest.approx(0.01, rel=1e-4)


def test_untrained_hypernetwork_changes_nothing_and_learns():
    random = torch.Generator().manual_seed(0)
    hypernetwork = Hypernetwork(5, [(4, 3), (1, 4)], 2, 8, random)
    changes = hypernetwork.changes(torch.randn((7, 5), generator=random))
    assert [(U.shape, V.shape) for U, V in changes] == [((7, 4, 2), (7, 3, 2)), ((7, 1, 1), (7, 4, 1))]
    W = torch.randn((4, 3), generator=random)
    new = changed(W, changes[0], 0.5)
    torch.testing.assert_close(new, W.expand(7, 4, 3), rtol=0, atol=0)
    gradients = torch.autograd.grad(new.square().sum(), hypernetwork.adam.parameters)
    assert float(gradients[-1].norm()) > 0 and all(g.isfinite().all() for g in gradients)
