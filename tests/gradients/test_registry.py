"""Gradient sources by name: the exact one, and a user's own."""

from __future__ import annotations

from dataclasses import replace

from mpi4py import MPI

import numpy as np
import pytest
from helpers import box, make_problem, plane, random_cells

from morpho import gradients
from morpho.errors import InputError
from morpho.gradients import registry
from morpho.gradients.exact import Exact
from morpho.interfaces import Gradient
from morpho.parts import Parts
from morpho.run import iterate


class Halved:
    """A user's source: half of the exact gradient, counting how often it is asked."""

    supervised = False

    def __init__(self, physics):
        self.exact, self.asked = Exact(physics), 0

    def estimate(self, rho):
        self.asked += 1
        exact = self.exact.estimate(rho)
        return replace(exact, cases=exact.cases / 2, d_cases=exact.d_cases / 2, kind="estimated")

    def learn(self, rho, exact):
        pass


@pytest.fixture(autouse=True)
def own_registry(monkeypatch):
    """What a test registers is gone after it."""
    monkeypatch.setattr(registry, "_factories", {})


def cantilever(source="exact", iterations=3):
    """A small problem with two weighted load cases."""
    cases = [
        {"name": name, "weight": weight, "forces": [{"region": plane("x", 2), "total": total}]}
        for name, weight, total in (("down", 2.0, [0, -1]), ("right", 0.5, [1, 0]))
    ]
    rule = {"max_iterations": iterations, "tolerance": 0, "objective_tolerance": 0}
    return make_problem(box([8, 4], [2.0, 1.0]), loads=cases, gradient={"source": source}, optimizer=rule)


def test_exact_is_always_there():
    assert gradients.names()[0] == "exact"
    with Parts(cantilever(), MPI.COMM_SELF) as parts:
        assert isinstance(parts.source, Exact)


def test_fields_of_an_exact_gradient():
    with Parts(cantilever(), MPI.COMM_SELF) as parts:
        rho = random_cells(parts.mesh, 0.2, 1.0)
        found = parts.source.estimate(rho)
        state = parts.physics.solve(rho)
        assert parts.source.learn(rho, found) is None
    assert isinstance(found, Gradient)
    assert found.kind == "exact"
    assert found.cases.shape == (2,) and found.d_cases.shape == (2, 32)
    np.testing.assert_array_equal(found.weights, [2.0, 0.5])
    np.testing.assert_allclose(found.cases, state.compliance, rtol=1e-12)
    np.testing.assert_allclose(found.d_cases, state.d_compliance, rtol=1e-9)
    assert found.compliance == pytest.approx(2.0 * found.cases[0] + 0.5 * found.cases[1], rel=1e-14)
    np.testing.assert_allclose(found.d_compliance, 2.0 * found.d_cases[0] + 0.5 * found.d_cases[1], rtol=1e-14)
    assert found.linear_iterations >= 2  # of both cases
    assert 0 < found.seconds < 60
    assert np.all(found.d_compliance < 0)


def test_users_source_runs_the_loop():
    made = []
    gradients.register("halved", lambda physics: made.append(Halved(physics)) or made[-1])
    assert gradients.names() == [*registry.BUILT_IN, "halved"]
    own = list(iterate(cantilever("halved"), MPI.COMM_SELF))
    exact = list(iterate(cantilever("exact"), MPI.COMM_SELF))
    assert made[0].asked == len(own) == len(exact) == 3
    assert [step.objective for step in own] == pytest.approx([step.objective / 2 for step in exact], rel=1e-6)
    assert [step.gradient.kind for step in own] == ["estimated"] * 3
    assert (own[-1].exact_solves, exact[-1].exact_solves) == (0, 3)


def test_source_gets_the_state_equation():
    gradients.register("halved", Halved)
    with Parts(cantilever("halved"), MPI.COMM_SELF) as parts:
        assert isinstance(parts.source, Halved)
        assert parts.source.exact.physics is parts.physics


def test_a_registered_name_wins_over_exact():
    gradients.register("exact", Halved)
    assert gradients.names() == list(registry.BUILT_IN)
    with Parts(cantilever(), MPI.COMM_SELF) as parts:
        assert isinstance(parts.source, Halved)


def test_unknown_name_close_to_a_known_one():
    gradients.register("halved", Halved)
    with pytest.raises(InputError, match=r"gradient.source: there is no source 'halfed'; did you mean 'halved'\?"):
        gradients.create("halfed", None)
    with pytest.raises(InputError, match=r"did you mean 'exact'\?"):
        Parts(cantilever("exakt"), MPI.COMM_SELF)


def test_unknown_name_like_nothing():
    gradients.register("halved", Halved)
    assert registry.complaints("zzz") == [
        f"gradient.source: there is no source 'zzz'; use one of {', '.join(gradients.names())}, or register your own"
    ]
    assert registry.complaints("halved") == []
