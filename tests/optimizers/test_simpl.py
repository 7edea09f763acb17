"""SiMPL against closed forms, its line search, and what is refused."""

import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from mpi4py import MPI

import numpy as np
import pytest
from running import write_mbb

import morpho
from morpho.design.projection import HeavisideProjection
from morpho.errors import InputError, SolverError
from morpho.interfaces import Array, Evaluation
from morpho.optimizers import SiMPL, SiMPLState
from morpho.optimizers.simpl import NEAREST

COMM = MPI.COMM_SELF


def volume_problem(x: Array, costs: Array, share: float) -> Evaluation:
    """Minimise sum costs / (0.1 + x) with mean(x) <= share."""
    return Evaluation(
        objective=float(np.sum(costs / (0.1 + x))),
        d_objective=-costs / (0.1 + x) ** 2,
        constraints=np.array([np.mean(x) / share - 1.0]),
        d_constraints=np.full((1, x.size), 1.0 / x.size / share),
    )


def optimum(costs: Array, share: float) -> Array:
    """Its solution: the root of the costs over the multiplier, less 0.1, within the bounds."""
    low, high = 0.0, 1e3
    for _ in range(200):
        middle = 0.5 * (low + high)
        x = np.clip(middle * np.sqrt(costs) - 0.1, 0.0, 1.0)
        low, high = (middle, high) if x.mean() < share else (low, middle)
    return x


def optimality(x: Array, evaluation: Evaluation) -> float:
    """How far x is from its projected gradient step with the best multiplier, which is zero at an optimum only."""
    ratio = -evaluation.d_objective / evaluation.d_constraints[0]
    inside = (x > 1e-6) & (x < 1 - 1e-6)
    ratio /= np.median(ratio[inside])
    return float(np.abs(np.clip(x + ratio - 1.0, 0.0, 1.0) - x).max())


def one_step(x: Array, evaluation: Evaluation, move_limit: float = 1.0) -> tuple[Array, SiMPLState]:
    optimizer = SiMPL(COMM, move_limit=move_limit)
    return optimizer.step(x, evaluation, optimizer.init(x, 0.0, 1.0))


def test_analytic_optimum() -> None:
    costs = np.random.default_rng(0).uniform(0.0, 1.0, 50) ** 4
    x, optimizer = np.full(50, 0.5), SiMPL(COMM)
    state = optimizer.init(x, 0.0, 1.0)
    far = []
    for _ in range(150):
        evaluation = volume_problem(x, costs, 0.5)
        far.append(optimality(x, evaluation))
        x, state = optimizer.step(x, evaluation, state)
    assert np.allclose(x, optimum(costs, 0.5), atol=1e-5)
    assert 0.0 < x.min() < 1e-6 and 1.0 - 1e-6 < x.max() < 1.0
    assert far[20] < 0.1 * far[0] and far[60] < 1e-3 * far[0], far


def test_volume_is_hit_within_the_limits() -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        n = int(rng.integers(2, 500))
        x, weight = rng.uniform(0.01, 0.99, n), rng.uniform(0.1, 1.0, n) / n
        reachable = np.clip(x + rng.uniform(-0.15, 0.15, n), 0.001, 0.999)
        value = float(weight @ (x - reachable))
        evaluation = Evaluation(1.0, -(rng.uniform(0.0, 1.0, n) ** 20), np.array([value]), weight[None])
        x_new, _ = one_step(x, evaluation, move_limit=0.2)
        assert abs(value + weight @ (x_new - x)) < 1e-10
        assert np.all(np.abs(x_new - x) <= 0.2 + 1e-15)
        assert x_new.min() >= NEAREST and x_new.max() <= 1.0 - NEAREST


def test_a_step_is_a_bregman_projection() -> None:
    """The shift of the logit is the same for every entry; any other design of that volume is farther."""
    rng = np.random.default_rng(2)
    x, d = rng.uniform(0.05, 0.95, 200), -rng.uniform(0.0, 1.0, 200)
    evaluation = Evaluation(1.0, d, np.zeros(1), np.full((1, 200), 1 / 200))
    x_new, state = one_step(x, evaluation)

    def logit(y: Array) -> Array:
        return np.log(y / (1.0 - y))

    shift = logit(x_new) - logit(x) + state.length * d * 200
    np.testing.assert_allclose(shift, -state.length * state.multiplier, atol=1e-9)

    def distance(y: Array) -> float:
        """What the step minimises: the linearised objective and the relative entropy from x."""
        entropy = y * np.log(y / x) + (1.0 - y) * np.log((1.0 - y) / (1.0 - x))
        return float(state.length * d @ y + entropy.mean())

    for _ in range(20):
        other = rng.uniform(-1e-3, 1e-3, 200)
        other -= other.mean()
        assert distance(np.clip(x_new + other, NEAREST, 1 - NEAREST)) > distance(x_new)


def test_a_limit_that_is_no_burden_is_left_alone() -> None:
    x = np.full(20, 0.5)
    x_new, state = one_step(x, Evaluation(1.0, np.linspace(0.1, 1.0, 20), np.zeros(1), np.full((1, 20), 0.05)))
    assert state.multiplier == 0.0
    assert np.all(x_new < x)


@pytest.mark.parametrize(("value", "expected"), [(10.0, 0.3), (-10.0, 0.7)])
def test_an_unreachable_volume_is_approached(value: float, expected: float) -> None:
    x = np.full(20, 0.5)
    steep = -np.linspace(100.0, 1000.0, 20)
    x_new, _ = one_step(x, Evaluation(1.0, steep, np.array([value]), np.full((1, 20), 0.05)), move_limit=0.2)
    assert np.allclose(x_new, expected, atol=1e-6) or (value < 0 and np.all(x_new > x))


def test_passive_entries_stay() -> None:
    rng = np.random.default_rng(3)
    x, weight = rng.uniform(0.2, 0.8, 100), np.full(100, 0.01)
    weight[::3] = 0.0
    x[::6] = 1.0
    x_new, _ = one_step(x, Evaluation(1.0, -rng.uniform(0.0, 1.0, 100), np.zeros(1), weight[None]))
    assert np.array_equal(x_new[::3], x[::3])
    assert np.any(x_new[1::3] != x[1::3])
    assert np.array_equal(one_step(x, Evaluation(1.0, -np.ones(100), np.zeros(1), np.zeros((1, 100))))[0], x)


def two_designs(rise: float, **second: float) -> tuple[Array, Array, Array, SiMPLState, SiMPLState]:
    """Two steps, the second from an objective that rose so much; x of each, and both states."""
    costs, x = np.linspace(0.1, 1.0, 40), np.full(40, 0.4)
    x_1, before = one_step(x, volume_problem(x, costs, 0.4), move_limit=0.2)
    found = volume_problem(x_1, costs, 0.4)
    found = replace(found, objective=volume_problem(x, costs, 0.4).objective + rise, **second)
    x_2, after = SiMPL(COMM).step(x_1, found, before)
    return x, x_1, x_2, before, after


def test_a_step_that_does_not_help_is_taken_back() -> None:
    x, x_1, x_2, before, after = two_designs(rise=1e-3)
    assert after.length == 0.5 * before.length and after.tries == 1
    assert np.array_equal(after.x_old, x)
    moved, again = x_1 - x, x_2 - x
    assert np.abs(again).max() < 0.7 * np.abs(moved).max()
    assert again @ moved > 0.9 * np.linalg.norm(again) * np.linalg.norm(moved)


@pytest.mark.parametrize("second", [{"error": math.inf}, {"error": 0.1}, {"renewed": True}])
def test_only_known_objectives_of_one_problem_are_compared(second: dict[str, float]) -> None:
    _, x_1, _, _, after = two_designs(1e-3, **second)
    assert after.tries == 0
    assert np.array_equal(after.x_old, x_1)


@pytest.mark.parametrize(("errors", "renews"), [((0, 0), True), ((0, math.inf), True), ((math.inf, 0), False)])
def test_the_length_is_that_of_two_exact_designs_or_of_an_estimate_and_what_it_goes_on_from(
    errors: tuple[float, float], renews: bool
) -> None:
    costs, x = np.linspace(0.1, 1.0, 40), np.full(40, 0.4)
    optimizer = SiMPL(COMM)
    first = replace(volume_problem(x, costs, 0.4), error=errors[0])
    x_1, before = optimizer.step(x, first, optimizer.init(x, 0.0, 1.0))
    second = replace(volume_problem(x_1, costs, 0.4), error=errors[1])
    _, after = optimizer.step(x_1, second, before)
    logits = np.log(x_1 / (1 - x_1)) - np.log(x / (1 - x))
    curvature = abs((second.d_objective - first.d_objective) @ (x_1 - x))
    expected = (second.d_constraints[0] * logits) @ (x_1 - x) / curvature if renews else before.length
    assert after.length == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("beta", [1.0, 8.0, 64.0, 512.0])
def test_projected_volume_is_met(beta: float) -> None:
    projection, share = HeavisideProjection(beta), 0.3

    def problem(x: Array) -> Evaluation:
        def constraint(at: Array) -> float:
            return float(np.mean(projection.apply(at)[0]) / share - 1.0)

        rho, pullback = projection.apply(x)
        costs = np.linspace(0.1, 1.0, x.size)
        slope = pullback(np.full(x.size, 1.0 / x.size / share))[None]
        d_objective = pullback(-costs / (1e-3 + rho) ** 2)
        return Evaluation(float(costs @ (1 / (1e-3 + rho))), d_objective, np.array([constraint(x)]), slope, constraint)

    optimizer, x = SiMPL(COMM, move_limit=min(0.2, 1.6 / beta)), np.full(200, projection.inverse(share))
    state = optimizer.init(x, 0.0, 1.0)
    for _ in range(8):
        x, state = optimizer.step(x, problem(x), state)
        assert problem(x).constraints[0] == pytest.approx(0.0, abs=1e-5)
        assert x.min() > 0 and x.max() < 1


def test_units_do_not_matter() -> None:
    costs, found = np.random.default_rng(4).uniform(0.01, 1.0, 100), []
    for unit in (1.0, 1e6):
        x, optimizer = np.linspace(0.1, 0.9, 100), SiMPL(COMM)
        state = optimizer.init(x, 0.0, 1.0)
        for _ in range(5):
            plain = volume_problem(x, costs, 0.5)
            scaled = replace(plain, objective=unit * plain.objective, d_objective=unit * plain.d_objective)
            x, state = optimizer.step(x, scaled, state)
        found.append(x)
    np.testing.assert_allclose(*found, rtol=0.0, atol=1e-9)


def test_wrong_constraints_are_refused() -> None:
    x = np.full(4, 0.5)
    with pytest.raises(InputError, match="SiMPL takes exactly one constraint, got 2; use MMA"):
        one_step(x, Evaluation(1.0, -np.ones(4), np.zeros(2), np.ones((2, 4))))
    with pytest.raises(InputError, match=">= 0; use MMA"):
        one_step(x, Evaluation(1.0, -np.ones(4), np.zeros(1), np.array([[1.0, 1.0, -1.0, 1.0]])))
    with pytest.raises(SolverError, match="not finite"):
        one_step(x, Evaluation(1.0, np.array([-1.0, np.nan, -1.0, -1.0]), np.zeros(1), np.ones((1, 4))))


def test_same_optimum_as_oc_where_it_is_the_only_one(tmp_path: Path) -> None:
    """With penalty 1 the compliance is convex."""
    file = write_mbb(tmp_path)
    common = ("material.penalty=1", "optimizer.max_iterations=300", "optimizer.tolerance=0")
    oc, simpl = (
        morpho.solve(morpho.load_problem(file, [*common, f"optimizer.{rule}"]), comm=COMM)
        for rule in ("objective_tolerance=0", "kind=simpl")
    )
    assert simpl.objective == pytest.approx(oc.objective, rel=1e-3)


def test_a_run_falls_but_for_steps_that_are_taken_back(tmp_path: Path) -> None:
    problem = morpho.load_problem(write_mbb(tmp_path), ["optimizer.kind=simpl", "optimizer.max_iterations=40"])
    kept: list[float] = []
    for step in morpho.iterate(problem, COMM):
        if step.restart.state.tries == 0:
            kept.append(step.objective)
    assert len(kept) > 10
    assert all(after <= before * (1 + 1e-7) for before, after in pairwise(kept))


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("constraints=[{volume_fraction: 0.5}, {kind: compliance, max: 900}]", "simpl takes one volume constraint"),
        ("constraints=[{kind: local_volume, radius: 2, max: 0.6}]", "simpl takes one volume constraint"),
        ("design.filter.kind=sensitivity", "a sensitivity filter gives others"),
        ("objective.kind=black_box", "a black box has none; use oc"),
        ("objective={kind: displacement, region: {points: [[0, 0]]}, direction: x}", "cuts a mechanism in two"),
        ("objective.over=worst", "simpl does not settle between load cases"),
    ],
)
def test_refused(tmp_path: Path, override: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        morpho.solve(morpho.load_problem(write_mbb(tmp_path), ["optimizer.kind=simpl", override]), comm=COMM)
    assert any(said in line for line in caught.value.complaints)
