"""When a run stops, and when it must not."""

import math
from pathlib import Path

from mpi4py import MPI

import numpy as np
import pytest
from running import write_mbb

import morpho
from morpho import Status
from morpho.problem.solving import OptimizerSpec
from morpho.results.history import read_history
from morpho.step import Step
from morpho.stopping import FEASIBLE, has_converged, swings, without_drift

CHANGE_ONLY = "optimizer.objective_tolerance=0"
WINDOW_ONLY = "optimizer.tolerance=0"


def steps(folder: Path, *overrides: str, more: str = "") -> list[Step]:
    """Every step of a run of the small beam."""
    return list(morpho.iterate(morpho.load_problem(write_mbb(folder, more), overrides), comm=MPI.COMM_SELF))


def spread(values: list[float]) -> float:
    """Relative range, as the window rule measures it."""
    return (max(values) - min(values)) / abs(values[-1])


def test_change_rule(tmp_path: Path) -> None:
    run = steps(tmp_path, CHANGE_ONLY, "optimizer.tolerance=0.02")
    assert run[-1].status is Status.CONVERGED
    assert run[-1].change <= 0.02
    assert all(step.change > 0.02 and step.status is None for step in run[1:-1])


def test_window_rule(tmp_path: Path) -> None:
    run = steps(tmp_path, WINDOW_ONLY, "optimizer.objective_tolerance=0.01", "optimizer.window=6")
    objectives = [step.objective for step in run]
    assert run[-1].status is Status.CONVERGED
    assert len(run) > 6
    assert spread(objectives[-6:]) <= 0.01
    assert all(spread(objectives[end - 6 : end]) > 0.01 for end in range(6, len(run)))


def test_iteration_limit(tmp_path: Path) -> None:
    run = steps(tmp_path, CHANGE_ONLY, WINDOW_ONLY, "optimizer.max_iterations=4")
    assert [step.status for step in run] == [None, None, None, Status.ITERATION_LIMIT]


@pytest.mark.parametrize(
    "more",
    [
        "material: {penalty: {start: 1, max: 3, every: 4, step: 1}}",
        "design: {filter: {kind: none}, projection: {beta: {start: 1, max: 4, every: 4, factor: 2}}}",
    ],
)
def test_not_during_a_continuation(tmp_path: Path, more: str) -> None:
    loose = ("optimizer.tolerance=1", "optimizer.objective_tolerance=1", "optimizer.window=2")
    if more.startswith("design"):
        path = write_mbb(tmp_path)
        text = path.read_text()
        path.write_text(text[: text.index("design:")] + more)
        run = list(morpho.iterate(morpho.load_problem(path, loose), comm=MPI.COMM_SELF))
    else:
        run = steps(tmp_path, *loose, more=more)
    # Stages 1-4, 5-8, 9-12; the last value has been in force for a full stage after iteration 12.
    assert [step.iteration for step in run if step.status] == [13]
    assert run[-1].status is Status.CONVERGED


def test_a_new_stage_starts_a_new_window(tmp_path: Path) -> None:
    more = "material: {penalty: {start: 1, max: 3, every: 3, step: 2}}"
    run = steps(tmp_path, "optimizer.max_iterations=5", more=more)
    assert [len(step.restart.objectives) for step in run] == [1, 2, 3, 1, 2]
    assert run[3].objective > 1.5 * run[2].objective


def test_not_when_infeasible(tmp_path: Path) -> None:
    loose = ("optimizer.tolerance=1", "optimizer.objective_tolerance=1", "optimizer.window=2", "optimizer.kind=mma")
    run = steps(tmp_path, *loose, "design.initial=0.95", "optimizer.move_limit=0.1")
    infeasible = [step for step in run if step.max_constraint > FEASIBLE]
    assert len(infeasible) > 2
    assert all(step.status is None for step in infeasible)
    assert run[-1].status is Status.CONVERGED
    assert run[-1].max_constraint <= FEASIBLE


def test_rule_itself() -> None:
    rule = OptimizerSpec(tolerance=0.01, objective_tolerance=1e-3, window=3)
    flat, falling = [1.0, 1.0005, 1.0], [1.2, 1.1, 1.0]
    assert has_converged(rule, 0.01, falling, 0.0, 0.2)
    assert not has_converged(rule, 0.011, falling, 0.0, 0.2)
    assert not has_converged(rule, 0.003, falling, 0.0, 0.003), "held back by the move limit"
    assert has_converged(rule, 0.2, flat, 0.0, 0.2)
    assert not has_converged(rule, 0.2, flat[:2], 0.0, 0.2)
    assert not has_converged(rule, 0.0, flat, 2 * FEASIBLE, 0.2)
    assert has_converged(rule, 0.2, [-value for value in flat], 0.0, 0.2)
    assert not has_converged(rule, 0.0, [1.0], 0.0, 0.2), "one iteration says nothing"


def test_drift_of_estimates_is_taken_out():
    truth = [100.0, 99.0, 98.0, 97.0, 96.0]
    seen = [value * 1.02 ** (i / 4) for i, value in enumerate(truth)]  # exact first, then four estimates
    found = without_drift(seen[:4], 4, truth[4] / seen[4])
    assert found == pytest.approx(truth[:4])
    assert without_drift(truth, 1, 0.9) == pytest.approx(truth)
    assert without_drift(truth, 4, -0.5) == without_drift(truth, 4, math.nan) == ()


def test_swings_within_bounds() -> None:
    rule = OptimizerSpec(objective_tolerance=1e-3, window=4)
    swing, steady = [1.02, 1.0] * 4, [0.2] * 8
    assert swings(rule, steady, swing, 0.0)
    assert not swings(rule, steady[1:], swing[1:], 0.0), "two windows are needed"
    assert not swings(rule, steady, [1.0, 1.02] * 4, 0.0), "the worse half of the swing is not kept"
    assert not swings(rule, steady, [1.03, 1.01] * 2 + [1.02, 1.0] * 2, 0.0), "progress"
    assert not swings(rule, steady, [1.02, 1.0] * 2 + [1.03, 1.0] * 2, 0.0), "it grows"
    assert not swings(rule, [0.2] * 4 + [0.2, 0.1, 0.05, 0.02], swing, 0.0), "it dies down"
    assert not swings(rule, steady, swing, 2 * FEASIBLE)
    assert not swings(rule.model_copy(update={"objective_tolerance": 0.0}), steady, swing, 0.0), "told to go on"


def test_a_run_that_swings_says_so_in_its_last_line(tmp_path: Path) -> None:
    """Steps too long for the projection throw the design back and forth."""
    rough = ("design.projection={beta: 8}", "mesh.box.cells=[24, 8]", "optimizer.move_limit=0.2", "optimizer.kind=oc")
    problem = morpho.load_problem(write_mbb(tmp_path), [*rough, "optimizer.tolerance=0"])
    result = morpho.solve(problem, tmp_path / "run", MPI.COMM_SELF)
    assert (result.status, result.status.exit_code) == (Status.SWINGING, 0)
    history = read_history(tmp_path / "run" / "history.csv")
    last = history["objective"][-problem.optimizer.window :]
    assert result.iterations == len(history["objective"]) < 200
    assert np.ptp(last) > 20 * problem.optimizer.objective_tolerance * last[-1]
    assert last[-1] < (last.min() + last.max()) / 2
    assert "goes back and forth" in (tmp_path / "run" / "log.txt").read_text()
