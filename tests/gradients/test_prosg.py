"""The temporary weights of `source: prosg`: what they are, when they end, and when there are none."""

from __future__ import annotations

import json
import logging

from mpi4py import MPI

import numpy as np
import pytest
import torch
from two_scale_problems import cantilever, two_cases

import morpho
from morpho.errors import InputError
from morpho.gradients import create, registry
from morpho.gradients.prosg import Prosg
from morpho.parts import Parts
from morpho.results.history import read_history
from morpho.run import iterate

FORMS = ("analytic", "learned")
EXACT = 12  #: designs of a run that are learned from, one after the other


def run(problem):
    """All steps of a run on this process."""
    return list(iterate(problem, MPI.COMM_SELF))


@pytest.fixture(scope="module")
def designs():
    """Designs of an exact run and their gradients."""
    return [(step.rho, step.gradient) for step in run(cantilever("exact", 2, EXACT))]


@pytest.fixture
def parts():
    with Parts(cantilever("prosg", 2), MPI.COMM_SELF) as parts:
        yield parts


def make(parts, **own):
    two_scale = parts.supervisor.two_scale
    return Prosg(parts.physics, two_scale, **own)


def singular_values(after, before):
    values = np.linalg.svd(after - before, compute_uv=False)
    return values / values[0]


def unchanged(source):
    """Whether the weights in force are those of the network, bit for bit."""
    base = source.network.weights()
    return all(getattr(source.weights, name).tobytes() == getattr(base, name).tobytes() for name in ("W", "b", "w"))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("rank", [1, 3])
def test_change_has_the_rank_and_the_length(parts, designs, form, rank):
    source, seen = make(parts, form=form, rank=rank, largest=0.05), 0
    for rho, exact in designs:
        source.learn(rho, exact)
        if not unchanged(source):
            seen += 1
            base, scale = source.network.weights(), source.network.spread
            assert singular_values(source.weights.W, base.W)[rank] < 1e-4
            change, W = (source.weights.W - base.W) * scale, base.W * scale
            assert np.linalg.norm(change) < 0.0501 * np.linalg.norm(W)
            assert np.linalg.norm(source.weights.w - base.w) < 0.0501 * np.linalg.norm(base.w)
    assert seen > 1


@pytest.mark.parametrize("form", FORMS)
def test_network_below_is_that_of_onsg(parts, designs, form):
    """Its weights and their training never see the changes."""
    source, onsg = make(parts, form=form), create("onsg", parts.physics)
    for rho, exact in designs:
        source.learn(rho, exact)
        onsg.learn(rho, exact)
        assert source.network.save() == onsg.network.save()


@pytest.mark.parametrize("form", FORMS)
def test_estimates_use_the_change(parts, designs, form):
    source = make(parts, form=form)
    for rho, exact in designs:
        source.learn(rho, exact)
        if not unchanged(source):
            break
    scale = np.abs(exact.d_cases).max()
    np.testing.assert_allclose(source.estimate(rho).d_cases, exact.d_cases, rtol=1e-3, atol=1e-4 * scale)
    later = designs[-1][0]
    with_change = source.estimate(later).d_cases
    source.weights = source.network.weights()
    source._anchor(source.past[-1])
    assert np.abs(with_change - source.estimate(later).d_cases).max() > 1e-3 * scale


@pytest.mark.parametrize("form", FORMS)
def test_change_that_does_not_help_is_discarded(parts, designs, form, monkeypatch, caplog):
    source = make(parts, form=form)
    for rho, exact in designs[:3]:
        source.learn(rho, exact)

    def worse(base, *_):
        return [W + 2 for W in base]

    monkeypatch.setattr(source, "_by_gradient", worse)
    monkeypatch.setattr(source, "_by_prompt", worse)
    with caplog.at_level(logging.INFO, "morpho"):
        source.learn(*designs[3])
    assert unchanged(source)
    assert "no temporary weights" in caplog.text


def test_learned_form_needs_no_derivatives_at_inference(parts, designs, monkeypatch):
    learned, analytic = (make(parts, form=form) for form in ("learned", "analytic"))
    for rho, exact in designs[:4]:
        learned.learn(rho, exact)
        analytic.learn(rho, exact)

    def never(*_, **__):
        raise AssertionError("no derivatives at inference")

    for source in (learned, analytic):
        monkeypatch.setattr(source.network, "train", lambda *_: None)
    monkeypatch.setattr(learned, "_train_hypernetwork", lambda base: None)
    monkeypatch.setattr(torch.autograd, "grad", never)
    learned.learn(*designs[4])
    learned.estimate(designs[5][0])
    with pytest.raises(AssertionError, match="no derivatives"):
        analytic.learn(*designs[4])


def test_second_network_learns_what_comes_next(parts, designs):
    """Over the windows it was trained on, its changes lower the loss at the exact designs that followed."""
    source = make(parts, form="learned", steps=300)
    for rho, exact in designs[:8]:
        source.learn(rho, exact)
    base = [own.weight.detach() for own in (source.network.first, source.network.last)]
    with torch.no_grad():
        losses = [
            [float(source._loss(W, source._samples(rows))) for W in (base, source._prompted(base, prompt))]
            for prompt, rows in source.windows
        ]
    without, with_change = np.mean(losses, axis=0)
    assert len(losses) == 6 and with_change < 0.9 * without


@pytest.mark.parametrize("dim", [2, 3])
def test_learned_form_ends_near_the_exact_one(dim):
    exact, own = run(cantilever("exact", dim, 60)), run(cantilever("prosg", dim, 60, prosg={"form": "learned"}))
    assert own[-1].objective == pytest.approx(exact[-1].objective, rel=0.02)
    assert own[-1].linear_iterations < exact[-1].linear_iterations


def test_resumed_learned_form_goes_the_same_way(tmp_path):
    given = cantilever("prosg", 2, 24, last=0, prosg={"form": "learned"})
    limits = [f"optimizer.max_iterations={n}" for n in (14, 24)]
    (tmp_path / "given.yaml").write_text(morpho.problem.dump_problem(given))
    short, long = (morpho.load_problem(tmp_path / "given.yaml", [limit]) for limit in limits)
    whole = morpho.solve(long, tmp_path / "whole", MPI.COMM_SELF)
    morpho.solve(short, tmp_path / "part", MPI.COMM_SELF)
    resumed = morpho.resume(tmp_path / "part", long, MPI.COMM_SELF)
    both = [read_history(tmp_path / folder / "history.csv")["step"].tolist() for folder in ("whole", "part")]
    assert both[0] == both[1]
    assert resumed.objective == pytest.approx(whole.objective, rel=2e-3)


@pytest.mark.parametrize("form", FORMS)
def test_save_and_restore(parts, designs, form):
    source, other = (make(parts, form=form) for _ in range(2))
    for rho, exact in designs[:6]:
        source.learn(rho, exact)
    arrays, values = source.save()
    arrays = {name: part[:] for name, part in arrays.items()}
    other.restore(arrays, json.loads(json.dumps(values)))
    for rho, _ in designs[6:8]:
        np.testing.assert_array_equal(other.estimate(rho).d_cases, source.estimate(rho).d_cases)
    for each in (source, other):
        each.past = type(each.past)(list(each.past)[-1:], each.past.maxlen)  # earlier designs are not kept
        each.learn(*designs[8])
        if form == "learned":
            assert len(each.windows) == 5
    if form == "learned":
        assert other.hypernetwork.adam.save() == source.hypernetwork.adam.save()
    np.testing.assert_array_equal(other.weights.W, source.weights.W)
    np.testing.assert_array_equal(other.weights.w, source.weights.w)


@pytest.mark.parametrize("how", ["sign", "nan", "shuffled"])
def test_temporary_weights_that_go_wrong_are_caught(how, monkeypatch):
    """Whatever the held-out half said: the supervisor compares with the exact gradient."""
    adapted, calls = Prosg._adapted, []

    def wrong(self, rows, density):
        weights = adapted(self, rows, density)
        calls.append(1)
        if len(calls) < 4:
            return weights
        noise = np.random.default_rng(len(calls)).normal(0, 2, weights.W.shape).astype(np.float32)
        change = {"sign": -5 * weights.W, "nan": weights.W * np.nan, "shuffled": noise}
        return type(weights)(change[how], weights.b, 5 * weights.w)

    monkeypatch.setattr(Prosg, "_adapted", wrong)
    exact, steps = run(cantilever("exact", 2, 40)), run(cantilever("prosg", 2, 40))
    assert steps[-1].objective == pytest.approx(exact[-1].objective, rel=0.03)
    assert any(s.advice.how == "fallback" for s in steps) or how == "nan"


def test_several_load_cases_in_the_learned_form():
    given = two_cases("prosg", 40)
    learned = given.gradient.model_copy(update={"prosg": given.gradient.prosg.model_copy(update={"form": "learned"})})
    exact, own = run(two_cases("exact", 40)), run(given.model_copy(update={"gradient": learned}))
    assert own[-1].objective == pytest.approx(exact[-1].objective, rel=0.02)


@pytest.mark.parametrize("setting", [{"form": "plain"}, {"architecture": "residual"}, {"architecture": "conv"}])
def test_networks_that_it_cannot_change(setting):
    with pytest.raises(InputError, match="prosg takes the anchored form and the architecture mlp only"):
        Parts(cantilever("prosg", 2, onsg=setting), MPI.COMM_SELF)


def test_it_is_in_the_registry():
    assert registry.source_class("prosg") is Prosg
    with Parts(cantilever("prosg", 2), MPI.COMM_SELF) as parts:
        assert isinstance(parts.source, Prosg)
