"""Eligibility traces between exact gradients: what the source is, what it learns, and that it does no harm."""

from __future__ import annotations

from dataclasses import replace

from mpi4py import MPI

import numpy as np
import pytest
from helpers import random_cells
from two_scale_problems import cantilever, two_cases

from morpho.gradients import Tools, create
from morpho.gradients.bp_lambda import BOUND, LARGEST_RATIO, BpLambda
from morpho.gradients.exact import Exact
from morpho.gradients.physics import from_energies
from morpho.parts import Parts
from morpho.run import iterate


def run(problem):
    """All steps of a run on this process."""
    return list(iterate(problem, MPI.COMM_SELF))


def sources_of(parts, *names):
    tools = Tools(parts.physics, parts.problem.gradient)
    return [create(name, parts.physics, tools) for name in names]


def walk(parts, steps=5, seed=0):
    """Designs that move a little from one to the next."""
    rho = random_cells(parts.mesh, 0.3, 0.9, seed)
    for step in range(steps):
        yield rho
        rho = np.clip(rho + 0.03 * (random_cells(parts.mesh, -1, 1, seed + 1 + step)), 0.01, 1)


@pytest.mark.parametrize("dim", [2, 3])
def test_without_learning_it_is_the_secant(dim):
    with Parts(cantilever("bp_lambda", dim), MPI.COMM_SELF) as parts:
        own, secant = sources_of(parts, "bp_lambda", "secant")
        own.rate = 0.0
        for i, rho in enumerate(walk(parts, 7)):
            np.testing.assert_allclose(own.estimate(rho).d_cases, secant.estimate(rho).d_cases, rtol=1e-6)
            if i in (0, 3):
                for source in (own, secant):
                    source.learn(rho, Exact(parts.physics).estimate(rho))


def teacher(own, rho, theta):
    """The exact gradient of a world in which the secant's energies are off by exactly theta . psi."""
    from morpho.gradients import features
    from morpho.gradients.secant import Secant

    coarse = own.two_scale.at(rho)
    psi = own._fields(features.look(own.two_scale, rho), own.anchor)
    energy = Secant._energy(own, rho, coarse.energy) * np.matmul(theta, psi)
    gradient = from_energies(own.physics, rho, coarse.compliance, energy, None, 0.0, 0)
    return replace(gradient, kind="exact", energy=energy.astype(np.float64))


def off(found, exact):
    """Relative difference of two gradients, whatever their scale."""
    a, b = (g.d_cases / np.linalg.norm(g.d_cases) for g in (found, exact))
    return np.linalg.norm(a - b)


@pytest.mark.parametrize("trace", [0.0, 0.9, 1.0])
def test_it_learns_a_factor_that_is_there(trace):
    """Sequences of three designs in such a world: the error at their end falls, slowly, below the secant's."""
    with Parts(cantilever("bp_lambda", 2, bp_lambda={"trace": trace, "rate": 1.0}), MPI.COMM_SELF) as parts:
        (own,) = sources_of(parts, "bp_lambda")
        factor, secant = np.zeros((2, len(own.traces.theta)), np.float32)
        factor[:3], secant[0] = (0.9, 0.3, 0.2), 1.0
        ratios = []
        for i in range(30):
            first, *designs = walk(parts, 4, 10 * i)
            own.learn(first, Exact(parts.physics).estimate(first))
            for rho in designs:
                found = own.estimate(rho)
            exact = teacher(own, rho, factor)
            ratios.append(off(found, exact) / off(teacher(own, rho, secant), exact))
            own.learn(rho, exact)
    assert ratios[0] == pytest.approx(1.0, abs=0.05)
    assert np.median(ratios[-5:]) < 0.8


def test_jacobian_of_a_step():
    with Parts(cantilever("bp_lambda", 2), MPI.COMM_SELF) as parts:
        (own,) = sources_of(parts, "bp_lambda")
        before = np.full(parts.mesh.n, 0.5)
        rho = before.copy()
        rho[:6] = 0.55, 0.45, 0.7, 0.3, 0.0, 1.0
        before[4:8] = 0.1, 0.9, 0.04, 1.0
        rho[6:8] = 0.12, 1.0
        J = own._jacobian(before, rho)
    # moved freely, twice; by the whole limit, twice; void; solid; more than doubled; solid as it was; at rest
    expected = [1.1, 0.9, 0, 0, 0, 0, LARGEST_RATIO, 0, 1, 1]
    np.testing.assert_allclose(J[:10], expected, rtol=1e-6)
    assert BOUND < 0.01


def test_trace_ends_with_an_exact_gradient():
    with Parts(cantilever("bp_lambda", 2), MPI.COMM_SELF) as parts:
        (own,) = sources_of(parts, "bp_lambda")
        designs = list(walk(parts))
        own.learn(designs[0], Exact(parts.physics).estimate(designs[0]))
        for rho in designs[1:]:
            own.estimate(rho)
        assert own.traces.e is not None and own.size > 0
        theta = own.traces.theta.copy()
        again, first = own.estimate(designs[-1]), own.traces.e
        assert own.traces.e is first  # the same design is no step
        np.testing.assert_array_equal(own.traces.theta, theta)
        own.learn(designs[-1], Exact(parts.physics).estimate(designs[-1]))
        assert own.traces.e is None and own._rho is None
        assert again.kind == "estimated" and not np.array_equal(own.traces.theta, theta)


def test_mean_factor_at_the_anchor_is_one():
    with Parts(cantilever("bp_lambda", 3), MPI.COMM_SELF) as parts:
        (own,) = sources_of(parts, "bp_lambda")
        own.traces.theta[1:4] = 0.1, -0.2, 0.1
        rho = random_cells(parts.mesh, 0.6, 1.0)
        exact = Exact(parts.physics).estimate(rho)
        own.learn(rho, exact)
        g, found = exact.d_cases, own.estimate(rho).d_cases
        assert np.vdot(g, found) == pytest.approx(np.vdot(g, g), rel=1e-5)


def test_what_is_not_finite_is_not_learned():
    with Parts(cantilever("bp_lambda", 2), MPI.COMM_SELF) as parts:
        (own,) = sources_of(parts, "bp_lambda")
        designs = list(walk(parts, 3))
        exact = Exact(parts.physics).estimate(designs[0])
        own.learn(designs[0], exact)
        own.estimate(designs[1])
        own.learn(designs[1], replace(exact, energy=exact.energy * np.nan))
        assert np.isfinite(own.traces.theta).all()
        own.learn(designs[1], exact)
        assert np.isfinite(own.estimate(designs[2]).d_cases).all()


@pytest.mark.parametrize("settings", [{"trace": 0.0}, {"trace": 1.0}, {"rate": 1.0}, {"discount": 0.8}])
@pytest.mark.parametrize("dim", [2, 3])
def test_objective_near_the_exact_one_without_the_secant_where_it_is_good(dim, settings):
    exact, own = run(cantilever("exact", dim, 60)), run(cantilever("bp_lambda", dim, 60, enough=0, bp_lambda=settings))
    assert own[-1].objective == pytest.approx(exact[-1].objective, rel=0.03)
    assert own[-1].exact_solves < 30


def test_weights_that_went_wrong_are_noticed(monkeypatch):
    """Noise instead of weights in mid-run: the secant stands in, the objective holds."""
    learn, learned, rng = BpLambda.learn, [], np.random.default_rng(0)

    def noisy(self, rho, exact):
        learn(self, rho, exact)
        learned.append(1)
        if len(learned) >= 6:
            self.traces.theta[:] = rng.normal(0, 1, self.traces.theta.shape)

    monkeypatch.setattr(BpLambda, "learn", noisy)
    exact, steps = run(cantilever("exact", 2, 60)), run(cantilever("bp_lambda", 2, 60, enough=0))
    assert any(s.advice.how == "fallback" for s in steps)
    assert steps[-1].objective == pytest.approx(exact[-1].objective, rel=0.02)


@pytest.mark.parametrize("make", [lambda: cantilever("bp_lambda", 2), lambda: two_cases("bp_lambda")])
def test_restored_in_the_middle_of_a_sequence(make):
    with Parts(make(), MPI.COMM_SELF) as parts:
        own, other = sources_of(parts, "bp_lambda", "bp_lambda")
        *designs, last = walk(parts)
        own.learn(designs[0], Exact(parts.physics).estimate(designs[0]))
        for rho in designs[1:]:
            own.estimate(rho)
        arrays, values = own.save()
        arrays = {name: a[:] for name, a in arrays.items()}
        assert all(a.dtype in (np.float32, np.float64) and len(a) == parts.mesh.n for a in arrays.values())
        other.restore(arrays, values)
        found = [source.estimate(last).d_cases for source in (own, other)]
        np.testing.assert_allclose(*found, rtol=1e-6)
        exact = Exact(parts.physics).estimate(last)
        for source in (own, other):
            source.learn(last, exact)
        np.testing.assert_allclose(own.traces.theta, other.traces.theta, rtol=1e-5)
