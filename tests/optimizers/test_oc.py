"""Optimality criteria against closed forms and at the edges of what the method takes."""

from dataclasses import replace

from mpi4py import MPI

import numpy as np
import pytest

from morpho.design.projection import HeavisideProjection
from morpho.errors import InputError, SolverError
from morpho.interfaces import Array, Evaluation
from morpho.optimizers import OC
from morpho.optimizers import oc as module

COMM = MPI.COMM_SELF


def volume_problem(x: Array, costs: Array, share: float) -> Evaluation:
    """Minimise sum costs / x with mean(x) <= share."""
    return Evaluation(
        objective=float(np.sum(costs / x)),
        d_objective=-costs / x**2,
        constraints=np.array([np.mean(x) / share - 1.0]),
        d_constraints=np.full((1, x.size), 1.0 / x.size / share),
    )


def one_step(x: Array, evaluation: Evaluation, **parameters: float) -> Array:
    optimizer = OC(COMM, **parameters)
    return optimizer.step(x, evaluation, optimizer.init(x, 0.0, 1.0))[0]


def test_analytic_optimum() -> None:
    costs = np.random.default_rng(0).uniform(0.2, 1.0, 50)
    x = np.full(50, 0.3)
    optimizer = OC(COMM)
    state = optimizer.init(x, 0.001, 1.0)
    for _ in range(60):
        x, state = optimizer.step(x, volume_problem(x, costs, 0.4), state)
    assert np.allclose(x, np.sqrt(costs) * 0.4 / np.mean(np.sqrt(costs)), rtol=1e-9)


@pytest.mark.parametrize("damping", [0.3, 0.5, 1.0])
def test_volume_is_hit(damping: float) -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        n = int(rng.integers(2, 500))
        x, weight = rng.uniform(0.0, 1.0, n), rng.uniform(0.1, 1.0, n) / n
        reachable = np.clip(x + rng.uniform(-0.15, 0.15, n), 0.0, 1.0)
        value = float(weight @ (x - reachable))
        evaluation = Evaluation(1.0, -(rng.uniform(0.0, 1.0, n) ** 20), np.array([value]), weight[None])
        x_new = one_step(x, evaluation, damping=damping)
        assert abs(value + weight @ (x_new - x)) < 1e-10
        assert np.all(np.abs(x_new - x) <= 0.2 + 1e-15)
        assert x_new.min() >= 0.0
        assert x_new.max() <= 1.0


def test_few_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    passes, sums = [], module.sums

    def counted(comm: MPI.Comm, *parts: float | Array) -> list[float]:
        passes.append(1)
        return sums(comm, *parts)

    monkeypatch.setattr(module, "sums", counted)
    rng = np.random.default_rng(2)
    x = np.full(1000, 0.4)
    one_step(x, volume_problem(x, rng.uniform(0.0, 1.0, 1000) ** 100, 0.4))
    assert len(passes) < 40


@pytest.mark.parametrize(("value", "expected"), [(10.0, 0.3), (-10.0, 0.7)])
def test_unreachable_constraint_is_approached(value: float, expected: float) -> None:
    x = np.full(20, 0.5)
    evaluation = Evaluation(1.0, -np.linspace(0.1, 1.0, 20), np.array([value]), np.full((1, 20), 0.05))
    assert np.allclose(one_step(x, evaluation), expected, atol=1e-15)


def test_passive_entries_stay() -> None:
    rng = np.random.default_rng(3)
    x, weight = rng.uniform(0.2, 0.8, 100), np.full(100, 0.01)
    weight[::3] = 0.0
    x_new = one_step(x, Evaluation(1.0, -rng.uniform(0.0, 1.0, 100), np.zeros(1), weight[None]))
    assert np.array_equal(x_new[::3], x[::3])
    assert np.any(x_new[1::3] != x[1::3])

    nothing = Evaluation(1.0, -np.ones(100), np.zeros(1), np.zeros((1, 100)))
    assert np.array_equal(one_step(x, nothing), x)


def test_a_little_volume_that_falls_is_let_stay() -> None:
    """A Helmholtz filter on tetrahedra is not monotone: next to steep cells a derivative of the volume may be < 0."""
    x = np.full(100, 0.5)
    given = volume_problem(x, np.linspace(1, 2, 100), 0.5)
    given.d_constraints[0, 3] *= -0.5
    stepped = one_step(x, given)
    assert stepped[3] == x[3] and np.ptp(stepped) > 0.05
    given.d_constraints[0, :5] *= -1
    with pytest.raises(InputError, match="all >= 0"):
        one_step(x, given)


def test_material_that_only_costs_is_removed() -> None:
    x = np.full(10, 0.5)
    assert np.allclose(one_step(x, Evaluation(1.0, np.ones(10), np.zeros(1), np.full((1, 10), 0.1))), 0.3)
    assert np.allclose(one_step(x, Evaluation(1.0, np.zeros(10), np.zeros(1), np.full((1, 10), 0.1))), 0.3)


def steep_problem(x: Array, beta: float, share: float) -> Evaluation:
    """Stiffness of cells in a row, projected, at an equal share of the volume."""
    projection = HeavisideProjection(beta)

    def constraint(at: Array) -> float:
        return float(np.mean(projection.apply(at)[0]) / share - 1.0)

    rho, pullback = projection.apply(x)
    costs = np.linspace(0.1, 1.0, x.size)
    return Evaluation(
        objective=float(costs @ (1.0 / (1e-3 + rho))),
        d_objective=pullback(-costs / (1e-3 + rho) ** 2),
        constraints=np.array([constraint(x)]),
        d_constraints=pullback(np.full(x.size, 1.0 / x.size / share))[None],
        constraint_at=constraint,
    )


@pytest.mark.parametrize("beta", [1.0, 8.0, 64.0, 512.0])
def test_projected_volume_is_met(beta: float) -> None:
    """Where the linearised one would be off by a third."""
    optimizer, x = OC(COMM, move_limit=min(0.2, 1.6 / beta)), np.full(200, HeavisideProjection(beta).inverse(0.3))
    state = optimizer.init(x, 0.0, 1.0)
    for _ in range(5):
        x, state = optimizer.step(x, steep_problem(x, beta, 0.3), state)
        assert steep_problem(x, beta, 0.3).constraints[0] == pytest.approx(0.0, abs=1e-5)
        assert x.min() >= 0 and x.max() <= 1


def test_projected_volume_is_met_whatever_the_spread_of_the_derivatives() -> None:
    """An entry that hardly counts is at its upper limit at a multiplier at which all others long are."""
    x = np.full(200, HeavisideProjection(2.0).inverse(0.3))
    evaluation = steep_problem(x, 2.0, 0.3)
    for smallest in (1e-3, 1e-30, 1e-150, 0.0):
        d_objective = evaluation.d_objective.copy()
        d_objective[::3] *= smallest
        x_new = one_step(x, replace(evaluation, d_objective=d_objective))
        assert evaluation.constraint_at is not None
        assert evaluation.constraint_at(x_new) == pytest.approx(0.0, abs=1e-5), smallest


def test_what_is_zero_may_grow_again_under_a_projection() -> None:
    x = np.full(200, 0.5)
    x[-50:] = 0.0
    evaluation = steep_problem(x, 2.0, 0.3)
    grown = one_step(x, evaluation)
    assert grown[-50:].min() > 0
    assert one_step(x, replace(evaluation, constraint_at=None))[-50:].max() == 0, "the classic update"


def test_a_projected_volume_out_of_reach_is_approached() -> None:
    for x, limit in ((np.full(20, 0.9), 0.7), (np.full(20, 0.1), 0.3)):
        assert np.allclose(one_step(x, steep_problem(x, 4.0, 0.5)), limit)


def test_units_do_not_matter() -> None:
    costs = np.random.default_rng(4).uniform(0.0, 1.0, 100)
    x = np.linspace(0.1, 0.9, 100)
    plain = volume_problem(x, costs, 0.45)
    scaled = Evaluation(1e6 * plain.objective, 1e6 * plain.d_objective, plain.constraints, plain.d_constraints)
    assert np.allclose(one_step(x, plain), one_step(x, scaled), rtol=0.0, atol=1e-12)


def test_wrong_constraints_are_refused() -> None:
    x = np.full(4, 0.5)
    with pytest.raises(InputError, match="exactly one constraint, got 2; use MMA"):
        one_step(x, Evaluation(1.0, -np.ones(4), np.zeros(2), np.ones((2, 4))))
    with pytest.raises(InputError, match=">= 0; use MMA"):
        one_step(x, Evaluation(1.0, -np.ones(4), np.zeros(1), np.array([[1.0, 1.0, -1.0, 1.0]])))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_not_finite_is_an_error(bad: float) -> None:
    x = np.full(4, 0.5)
    with pytest.raises(SolverError, match="not finite"):
        one_step(x, Evaluation(1.0, np.array([-1.0, bad, -1.0, -1.0]), np.zeros(1), np.ones((1, 4))))


@pytest.mark.parametrize("wanted", [0.05, 0.4, 0.9])
def test_the_constraint_is_evaluated_last_at_what_is_returned(wanted: float) -> None:
    rng = np.random.default_rng(3)
    x, seen = rng.uniform(0.2, 0.6, 200), []

    def constraint_at(y: Array) -> float:
        seen.append((y, y.copy()))
        return float(np.mean(y**2) / wanted - 1.0)

    plain = volume_problem(np.maximum(x, 0.01), rng.uniform(0.2, 1.0, 200), wanted)
    x_new = one_step(x, replace(plain, constraints=np.array([constraint_at(x)]), constraint_at=constraint_at))
    assert seen[-1][0] is x_new
    assert np.array_equal(seen[-1][1], x_new)
