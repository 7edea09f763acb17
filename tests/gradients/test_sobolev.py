"""The energy network of blocks: what it is without training, at its anchor, and whether it learns."""

from __future__ import annotations

import json

from mpi4py import MPI

import numpy as np
import pytest
from helpers import box, by_key, make_problem, plane, random_cells
from two_scale_problems import cantilever, two_cases

from morpho.gradients import Tools, create
from morpho.gradients.energy_network import COLUMNS, EnergyNetwork, normalised
from morpho.gradients.exact import Exact
from morpho.gradients.sobolev import BlockCells
from morpho.parts import Parts
from morpho.run import iterate


def sources_of(parts, *names):
    tools = Tools(parts.physics, parts.problem.gradient)
    return [create(name, parts.physics, tools) for name in names]


def difference(estimate, exact):
    off = estimate.d_compliance - exact.d_compliance
    return np.linalg.norm(off) / np.linalg.norm(exact.d_compliance)


@pytest.mark.parametrize("given", [cantilever("sobolev", 2), cantilever("sobolev", 3), two_cases("sobolev")])
def test_network_that_says_nothing_is_the_secant(given, monkeypatch):
    monkeypatch.setattr(EnergyNetwork, "train", lambda *_: None)
    with Parts(given, MPI.COMM_SELF) as parts:
        sobolev, secant = sources_of(parts, "sobolev", "secant")
        rho = random_cells(parts.mesh, 0.4, 1.0, 0)
        gradient = Exact(parts.physics).estimate(rho)
        for source in (secant, sobolev):
            source.learn(rho, gradient)
        found, expected = (s.estimate(random_cells(parts.mesh, 0.4, 1.0, 7)) for s in (sobolev, secant))
        scale = np.abs(expected.d_cases).max()
        np.testing.assert_allclose(found.d_cases, expected.d_cases, rtol=1e-4, atol=1e-5 * scale)
        np.testing.assert_allclose(found.cases, expected.cases, rtol=1e-12)


@pytest.mark.parametrize("given", [cantilever("sobolev", 2, block=4), cantilever("sobolev", 3), two_cases("sobolev")])
def test_exact_at_the_anchor(given):
    with Parts(given, MPI.COMM_SELF) as parts:
        (source,) = sources_of(parts, "sobolev")
        for seed in range(3):
            rho = random_cells(parts.mesh, 0.6, 1.0, seed)
            gradient = Exact(parts.physics).estimate(rho)
            source.learn(rho, gradient)
        assert np.any(source.network.layers[-1].weight.detach().numpy() != 0)
        found = source.estimate(rho)
    scale = np.abs(gradient.d_cases).max()
    np.testing.assert_allclose(found.d_cases, gradient.d_cases, rtol=1e-3, atol=1e-5 * scale)


def median_ratios(*losses):
    """Errors of `sobolev` by those of the secant on the designs of a run, five designs after an exact one."""
    designs = [(step.rho, step.gradient) for step in iterate(cantilever("exact", iterations=40), MPI.COMM_SELF)]
    found = []
    for loss in losses:
        with Parts(cantilever("sobolev", block=4, sobolev={"loss": loss}), MPI.COMM_SELF) as parts:
            both = sources_of(parts, "sobolev", "secant")
            ratios = []
            for i, (rho, exact) in enumerate(designs):
                if i > 9 and i % 5 == 4:
                    errors = [difference(source.estimate(rho), exact) for source in both]
                    ratios.append(errors[0] / errors[1])
                if i < 4 or i % 5 == 4:
                    for source in both:
                        source.learn(rho, exact)
        found.append(np.median(ratios))
    return found


def test_learning_derivatives_reduces_the_error():
    """Trained on the designs of a run, the network beats the secant on the next ones; with derivatives by more."""
    full, stochastic, value = median_ratios("full", "stochastic", "value")
    assert full < 0.95 and stochastic < 0.95
    assert max(full, stochastic) < value


def test_every_part_of_a_sample_is_in_its_unit():
    rng = np.random.default_rng(0)
    samples = rng.uniform(0.1, 1, (20, COLUMNS, 4))
    samples[:, 4] = 0.25
    s, q, e, slope, share = normalised(samples).transpose(1, 0, 2)
    # in other units of energy, and of the whole
    other = samples * np.array([1, 1e-12, 1e-12, 1, 1])[:, None]
    np.testing.assert_allclose(normalised(other), normalised(samples), rtol=1e-5)
    np.testing.assert_allclose(q / e, samples[:, 1] / samples[:, 2], rtol=1e-5)
    assert 0.3 < (s * e).sum(1).mean() < 0.6 and 0.3 < np.linalg.norm(slope * e, axis=1).mean() < 0.6
    assert np.all(share == 0.25)


def test_cells_of_blocks_that_are_not_all_alike():
    keys = np.array([7, 3, 5, 1, 9])
    cells = BlockCells(MPI.COMM_SELF, np.array([0, 1, 0, 1, 0], np.int32), 2, keys)
    assert cells.most == 3 and cells.keys.tolist() == [5, 1]
    np.testing.assert_allclose(cells.share, [[1 / 3] * 3, [0.5, 0.5, 0]])
    assert cells.of(keys.astype(float), np.array([1, 0])).tolist() == [[1, 3, 0], [5, 7, 9]]


def odd_box():
    """Blocks of four on 10 x 7 cells: those at two sides are cut."""
    return make_problem(
        box([10, 7], [1.0, 0.7]),
        loads=[{"forces": [{"region": plane("x", 1), "total": [0, -1]}]}],
        gradient={"source": "sobolev", "block": 4, "every": 6, "warm_up": 1, "enough": 0},
        optimizer={"max_iterations": 12, "tolerance": 0, "objective_tolerance": 0},
    )


def test_blocks_that_are_cut():
    steps = list(iterate(odd_box(), MPI.COMM_SELF))
    assert steps[-1].gradient.kind == "exact" and any(s.advice.how != "exact" for s in steps)


def test_a_gradient_of_the_block_does_not_depend_on_cells_beyond_it():
    with Parts(cantilever("sobolev", 2, block=4), MPI.COMM_SELF) as parts:
        (source,) = sources_of(parts, "sobolev")
        rho = random_cells(parts.mesh, 0.3, 1.0, 0)
        source.learn(rho, Exact(parts.physics).estimate(rho))
        coarse = source.two_scale.at(rho).energy
        owner, other = source.two_scale.blocks.owner, rho.copy()
        cell = int(np.argmax(coarse[0]))
        other[cell] -= 0.1
        change = np.abs(source._energy(other, coarse) - source._energy(rho, coarse))[0]
    inside = owner == owner[cell]
    assert change[~inside].max() == 0
    assert np.count_nonzero(change[inside]) > 8


def test_saved_source_says_the_same():
    with Parts(cantilever("sobolev", 2), MPI.COMM_SELF) as parts:
        one, other = sources_of(parts, "sobolev", "sobolev")
        designs = [random_cells(parts.mesh, 0.2, 1.0, seed) for seed in range(4)]
        gradients = [Exact(parts.physics).estimate(rho) for rho in designs]
        for rho, gradient in zip(designs[:2], gradients, strict=False):
            one.learn(rho, gradient)
        arrays, values = one.save()
        other.restore(arrays, json.loads(json.dumps(values)))
        for source in (one, other):
            source.learn(designs[2], gradients[2])
        found, expected = (by_key(parts.mesh, s.estimate(designs[3]).d_cases[0]) for s in (other, one))
    np.testing.assert_array_equal(found, expected)


def test_network_gone_wrong_is_noticed(monkeypatch):
    """Noise instead of weights in mid-run: the secant stands in, the objective holds."""
    import torch

    train, random, trained = EnergyNetwork.train, torch.Generator().manual_seed(0), []

    def noisy(self, samples, steps):
        train(self, samples, steps)
        trained.append(1)
        if len(trained) > 5:
            for p in self.adam.parameters:
                p.data.copy_(3 * torch.randn(p.shape, generator=random))

    monkeypatch.setattr(EnergyNetwork, "train", noisy)
    exact, steps = (list(iterate(cantilever(name, 2, 40), MPI.COMM_SELF)) for name in ("exact", "sobolev"))
    assert steps[-1].objective == pytest.approx(exact[-1].objective, rel=0.03)
    assert any(s.advice.how == "fallback" for s in steps[8:])


def test_weights_that_are_not_numbers_are_caught(monkeypatch):
    train, trained = EnergyNetwork.train, []

    def broken(self, samples, steps):
        train(self, samples, steps)
        trained.append(1)
        if len(trained) == 5:
            self.adam.parameters[0].data.fill_(float("nan"))

    monkeypatch.setattr(EnergyNetwork, "train", broken)
    given = cantilever("sobolev", 2, 20, enough=0)
    exact, steps = (list(iterate(problem, MPI.COMM_SELF)) for problem in (cantilever("exact", 2, 20), given))
    assert len(trained) >= 5 and not any(s.advice.how == "estimate" for s in steps[-10:])
    assert all(np.isfinite(s.gradient.d_compliance).all() for s in steps)
    assert steps[-1].objective == pytest.approx(exact[-1].objective, rel=0.03)
