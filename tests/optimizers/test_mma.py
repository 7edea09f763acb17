"""MMA on Svanberg's problems, its subproblem against SciPy, and both optimizers on several ranks."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from mpi4py import MPI

import numpy as np
import pytest
from scipy.optimize import minimize

from morpho.errors import SolverError
from morpho.interfaces import Array, Evaluation
from morpho.optimizers import MMA, MMAState
from morpho.optimizers.mma import ELASTIC_C, Subproblem, solve_dual

COMM = MPI.COMM_SELF


def beam(x: Array) -> Evaluation:
    """Weight of Svanberg's five-segment cantilever beam with its tip displacement limited."""
    factors = np.array([61.0, 37.0, 19.0, 7.0, 1.0])
    return Evaluation(
        objective=0.0624 * float(x.sum()),
        d_objective=np.full(5, 0.0624),
        constraints=np.array([np.sum(factors / x**3) - 1.0]),
        d_constraints=(-3.0 * factors / x**4)[None],
    )


def balls(x: Array) -> Evaluation:
    """Svanberg's toy: the shortest x in the intersection of two balls."""
    offsets = x - np.array([[5.0, 2.0, 1.0], [3.0, 4.0, 3.0]])
    return Evaluation(float(x @ x), 2.0 * x, np.sum(offsets**2, axis=1) - 9.0, 2.0 * offsets)


def iterate(
    optimizer: MMA, problem: Callable[[Array], Evaluation], x: Array, state: MMAState, steps: int
) -> tuple[Array, MMAState]:
    for _ in range(steps):
        x, state = optimizer.step(x, problem(x), state)
    return x, state


def test_cantilever_beam() -> None:
    optimizer, x = MMA(COMM, move_limit=10.0), np.full(5, 5.0)
    x, _ = iterate(optimizer, beam, x, optimizer.init(x, 1.0, 10.0), 15)
    assert beam(x).objective == pytest.approx(1.340, abs=5e-4)
    assert beam(x).constraints[0] == pytest.approx(0.0, abs=1e-6)
    assert np.allclose(x, [6.016, 5.309, 4.494, 3.502, 2.153], atol=2e-3)


@pytest.mark.parametrize("start", [[4.0, 3.0, 2.0], [0.0, 0.0, 5.0]], ids=["feasible", "infeasible"])
def test_two_balls(start: list[float]) -> None:
    optimizer, x = MMA(COMM, move_limit=5.0), np.array(start)
    x, _ = iterate(optimizer, balls, x, optimizer.init(x, 0.0, 5.0), 25)
    assert np.allclose(x, [2.0175, 1.7800, 1.2376], atol=1e-4)
    assert balls(x).constraints.max() < 1e-7


def random_subproblem(n: int, m: int, seed: int) -> Subproblem:
    rng = np.random.default_rng(seed)
    x = rng.uniform(0.2, 0.8, n)
    derivatives = rng.standard_normal((m + 1, n)) / n
    derivatives[0, ::7] = 0.0
    return Subproblem.build(
        x=x,
        low=x - rng.uniform(0.3, 0.6, n),
        upp=x + rng.uniform(0.3, 0.6, n),
        alpha=x - 0.2,
        beta=x + 0.2,
        values=np.linspace(-0.02, 0.02, m),
        derivatives=derivatives,
        means=np.abs(derivatives).mean(axis=1),
    )


def approximations(s: Subproblem, z: Array) -> tuple[Array, Array]:
    """Values (m + 1,) and derivatives (m + 1, n) of the approximated functions, the objective 0 at s.x."""
    start = s.p @ (1.0 / (s.upp - s.x)) + s.q @ (1.0 / (s.x - s.low))
    values = s.p @ (1.0 / (s.upp - z)) + s.q @ (1.0 / (z - s.low)) - start
    return values + np.append(0.0, s.values), s.p / (s.upp - z) ** 2 - s.q / (z - s.low) ** 2


@pytest.mark.parametrize("seed", range(3))
def test_subproblem_optimality(seed: int) -> None:
    s = random_subproblem(n=200, m=3, seed=seed)
    x, multipliers = solve_dual(COMM, s)
    values, derivatives = approximations(s, x)
    assert np.all(multipliers > 0.0)
    assert multipliers.max() > 1e-3, "no constraint is active: the test is empty"
    assert values[1:].max() < 1e-9
    assert np.abs(multipliers * values[1:]).max() < 1e-9
    lagrangian = derivatives[0] + multipliers @ derivatives[1:]
    assert np.abs(lagrangian[(x > s.alpha) & (x < s.beta)]).max() < 1e-12
    assert np.all(lagrangian[x == s.alpha] >= 0.0)
    assert np.all(lagrangian[x == s.beta] <= 0.0)


def test_subproblem_against_scipy() -> None:
    s = random_subproblem(n=200, m=3, seed=0)
    x, _ = solve_dual(COMM, s)
    reference = minimize(
        lambda z: approximations(s, z)[0][0],
        s.x,
        jac=lambda z: approximations(s, z)[1][0],
        bounds=np.column_stack([s.alpha, s.beta]),
        constraints={
            "type": "ineq",
            "fun": lambda z: -approximations(s, z)[0][1:],
            "jac": lambda z: -approximations(s, z)[1][1:],
        },
        method="SLSQP",
        options={"maxiter": 500, "ftol": 1e-11},
    )
    assert reference.success
    assert approximations(s, x)[0][0] == pytest.approx(reference.fun, rel=1e-7)


@pytest.mark.parametrize("m", [1, 4, 10])
def test_unreachable_constraints_are_approached(m: int) -> None:
    """Contradictory, repeated and violated constraints end with elastic multipliers, not with an error."""
    rng = np.random.default_rng(m)
    n = 30
    x, d_constraints = rng.uniform(0.3, 0.7, n), np.tile(rng.uniform(0.5, 1.0, n) / n, (m, 1))
    optimizer = MMA(COMM)
    x_new, _ = optimizer.step(
        x, Evaluation(1.0, -np.ones(n) / n, np.full(m, 2.0), d_constraints), optimizer.init(x, 0.0, 1.0)
    )
    assert np.allclose(x_new, x - 0.18, atol=0.002)  # the first asymptotes are as far as the move limit

    s = random_subproblem(n=50, m=2, seed=1)
    opposed = np.vstack([s.p[:2], s.q[1:2]]), np.vstack([s.q[:2], s.p[1:2]])
    contradiction = Subproblem(s.x, s.low, s.upp, s.alpha, s.beta, *opposed, values=np.ones(2))
    assert solve_dual(COMM, contradiction)[1].max() > ELASTIC_C


def test_hard_subproblems_are_solved() -> None:
    """Derivatives over many magnitudes, zero gradients, repeated or opposed and unreachable constraints."""
    rng = np.random.default_rng(6)
    optimizer = MMA(COMM)
    for case in range(60):
        n, m = int(10 ** rng.uniform(0.0, 3.0)), int(rng.integers(2, 11))
        x = rng.uniform(0.0, 1.0, n)
        d_objective = rng.standard_normal(n) * 10.0 ** (3.0 * rng.standard_normal(n))
        d_objective[rng.random(n) < [0.0, 0.5, 1.0][case % 3]] = 0.0
        d_constraints = rng.standard_normal((m, n)) / n * 10.0 ** rng.uniform(-1.0, 1.5)
        d_constraints[-1] = [1.0, -1.0][case % 2] * d_constraints[0]
        values = rng.uniform(-1.0, 1.0, m) * 10.0 ** rng.uniform(-3.0, 1.0)
        evaluation = Evaluation(1.0, d_objective, values, d_constraints)
        x_new, _ = optimizer.step(x, evaluation, optimizer.init(x, 0.0, 1.0))
        assert np.abs(x_new - x).max() <= 0.2 + 1e-12


def test_a_guess_changes_only_the_way() -> None:
    """Near or far, with zeros or none at all."""
    rng = np.random.default_rng(7)
    for seed in range(20):
        m = int(rng.integers(1, 7))
        s = random_subproblem(n=100, m=m, seed=seed)
        x, lam = solve_dual(COMM, s)
        for guess in (lam, lam * rng.lognormal(0.0, 2.0, m), np.zeros(m), np.full(m, 1e6), lam[1:]):
            assert np.allclose(solve_dual(COMM, s, guess.tolist())[0], x, rtol=0.0, atol=1e-7)


def test_units_do_not_matter() -> None:
    def scaled(x: Array) -> Evaluation:
        plain = balls(x)
        return Evaluation(1e6 * plain.objective, 1e6 * plain.d_objective, plain.constraints, plain.d_constraints)

    optimizer, start = MMA(COMM, move_limit=5.0), np.array([4.0, 3.0, 2.0])
    for steps in (1, 3, 8):
        x, _ = iterate(optimizer, balls, start, optimizer.init(start, 0.0, 5.0), steps)
        x_scaled, _ = iterate(optimizer, scaled, start, optimizer.init(start, 0.0, 5.0), steps)
        assert np.allclose(x, x_scaled, rtol=0.0, atol=1e-9)


def test_restart() -> None:
    optimizer, x = MMA(COMM, move_limit=1.0), np.full(5, 5.0)
    state = optimizer.init(x, 1.0, 10.0)
    unbroken, _ = iterate(optimizer, beam, x, state, 10)
    x, state = iterate(optimizer, beam, x, state, 4)
    saved = {name: np.array(value).tolist() for name, value in vars(state).items()}
    arrays = {name: np.array(value) if isinstance(value, list) else value for name, value in saved.items()}
    resumed, _ = iterate(optimizer, beam, x.copy(), MMAState(**arrays), 6)
    assert np.array_equal(resumed, unbroken)


def test_state_is_not_changed_in_place() -> None:
    optimizer, x = MMA(COMM), np.full(5, 5.0)
    evaluation, state = beam(x), optimizer.init(x, 1.0, 10.0)
    first, _ = optimizer.step(x, evaluation, state)
    second, _ = optimizer.step(x, evaluation, state)
    assert np.array_equal(first, second)
    assert np.array_equal(x, np.full(5, 5.0))


def test_move_limit_and_passive_entries() -> None:
    rng = np.random.default_rng(5)
    n = 100
    x, d_objective, d_constraints = (
        rng.uniform(0.0, 1.0, n),
        -rng.uniform(0.0, 1.0, n),
        np.full((1, n), 1.0 / n),
    )
    d_objective[::4] = 0.0
    d_objective[::3] = d_constraints[:, ::3] = 0.0
    optimizer = MMA(COMM, move_limit=0.05)
    x_new, _ = optimizer.step(x, Evaluation(1.0, d_objective, np.zeros(1), d_constraints), optimizer.init(x, 0.0, 1.0))
    assert np.abs(x_new - x).max() == pytest.approx(0.045)  # the first asymptotes are as far as the move limit
    assert x_new.min() >= 0.0
    assert x_new.max() <= 1.0
    assert np.allclose(x_new[::3], x[::3], rtol=0.0, atol=1e-14)


def test_asymptotes_follow_the_move_limit_not_the_bounds() -> None:
    rng = np.random.default_rng(6)
    x, slope = rng.uniform(0.45, 0.55, 50), -rng.uniform(0.1, 1.0, 50) / 50
    optimizer, found = MMA(COMM, move_limit=0.1), []
    for bounds in ((0.0, 1.0), (-9.0, 10.0)):
        at, state = x, replace(optimizer.init(x, *bounds), iteration=1)
        for _ in range(4):
            evaluation = Evaluation(1.0, slope, np.array([at.mean() - 0.5]), np.full((1, 50), 1 / 50))
            at, state = optimizer.step(at, evaluation, replace(state, scale=1.0))
        found.append(at)
    assert np.abs(found[0] - x).max() > 0.05
    np.testing.assert_allclose(*found, rtol=0.0, atol=1e-12)


def test_not_finite_is_an_error() -> None:
    optimizer, x = MMA(COMM), np.full(5, 5.0)
    evaluation = beam(x)
    evaluation.d_objective[2] = np.nan
    with pytest.raises(SolverError, match="not finite"):
        optimizer.step(x, evaluation, optimizer.init(x, 1.0, 10.0))


BOTH_IN_BLOCKS = """
import sys
import numpy as np
from mpi4py import MPI
from morpho.interfaces import Evaluation
from morpho.optimizers import MMA, OC

comm, n = MPI.COMM_WORLD, 101
cut = [0, *(n * k // 7 for k in range(1, comm.size)), n]
own = slice(cut[comm.rank], cut[comm.rank + 1])
costs = np.random.default_rng(0).uniform(0.01, 1.0, n)[own]
tilt = np.linspace(-1.0, 1.0, n)[own] / n

def problem(x, m):
    sums = np.array([np.sum(costs / x), np.sum(x) / n, tilt @ x])
    comm.Allreduce(MPI.IN_PLACE, sums)
    values = np.array([sums[1] / 0.4 - 1.0, sums[2] - 0.01])
    return Evaluation(sums[0], -costs / x**2, values[:m], np.vstack([np.full(x.size, 2.5 / n), tilt])[:m])

columns = []
for optimizer, m in ((OC(comm), 1), (MMA(comm), 1), (MMA(comm), 2)):
    x = np.full(costs.size, 0.5)
    state = optimizer.init(x, 0.001, 1.0)
    for _ in range(8):
        x, state = optimizer.step(x, problem(x, m), state)
        columns.append(x)
everything = comm.gather(np.array(columns))
if comm.rank == 0:
    np.save(sys.argv[1], np.hstack(everything))
"""


def test_a_limit_missed_by_far_is_no_failure() -> None:
    """A structure that broke: the limit is missed a million times over, with derivatives to match."""
    x = np.linspace(0.05, 0.3, 50)
    missed = Evaluation(0.1, np.full(50, 0.02), np.array([4e6, 2e6]), -np.outer([1e13, 5e12], np.linspace(1, 2, 50)))
    optimizer = MMA(COMM)
    x_new, _ = optimizer.step(x, missed, optimizer.init(x, 0.0, 1.0))
    assert np.all(np.abs(x_new - x) <= 0.2) and np.linspace(1, 2, 50) @ (x_new - x) > 0


@pytest.mark.skipif(shutil.which("mpirun") is None or MPI.COMM_WORLD.size > 1, reason="starts mpirun itself")
def test_rank_count_does_not_matter(tmp_path: Path) -> None:
    """OC and MMA give the same iterates with the entries in blocks on 1, 2 and 3 ranks."""
    script = tmp_path / "both.py"
    script.write_text(BOTH_IN_BLOCKS)
    iterates = []
    for ranks in (1, 2, 3):
        output = tmp_path / f"{ranks}.npy"
        # os.environ is a snapshot without what MPI has since put into this process's environment.
        done = subprocess.run(
            ["mpirun", "-n", str(ranks), sys.executable, str(script), str(output)],
            env=dict(os.environ),
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        iterates.append(np.load(output))
    for several in iterates[1:]:
        assert np.abs(several - iterates[0]).max() < 1e-10
