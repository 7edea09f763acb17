"""Continuation row by row: optimizer.stages."""

from pathlib import Path

from mpi4py import MPI

import numpy as np
import pytest
from running import write_mbb

import morpho
from morpho.errors import InputError
from morpho.fem.material import Simp
from morpho.parts import Parts
from morpho.problem.base import value_at
from morpho.results.history import read_history

COMM = MPI.COMM_SELF

PROJECTED = "design.projection={eta: 0.5, beta: 1}"
ROWS = (
    "[{until: 2, penalty: 1.5, radius: 2.0}, {until: 4, penalty: 3, beta: 4, move_limit: 0.1}, {beta: 8, radius: 1.6}]"
)


def load(folder: Path, *overrides: str) -> morpho.Problem:
    return morpho.load_problem(write_mbb(folder), overrides)


def test_what_a_row_leaves_out_stays(tmp_path: Path) -> None:
    problem = load(tmp_path, PROJECTED, f"optimizer.stages={ROWS}")
    at = {name: [value_at(schedule, i) for i in range(1, 7)] for name, schedule in problem.continued.items()}
    assert at["penalty"] == [1.5, 1.5, 3, 3, 3, 3]
    assert at["beta"] == [1, 1, 4, 4, 8, 8]
    assert at["radius"] == [2, 2, 2, 2, 1.6, 1.6]
    assert [problem.move_limit(i) for i in range(1, 7)] == [0.2, 0.2, 0.1, 0.1, 0.1, 0.1]
    assert [problem.settled(i) for i in range(1, 7)] == [False] * 4 + [True] * 2
    assert sorted(problem.radii.values()) == [1.6, 2.0]


def test_rows_equal_a_continuation(tmp_path: Path) -> None:
    usual, rows = tmp_path / "usual", tmp_path / "rows"
    usual.mkdir(), rows.mkdir()
    said = "{start: 1, max: 2, step: 0.5, every: 2}"
    staged = "[{until: 2, penalty: 1}, {until: 4, penalty: 1.5}, {penalty: 2}]"
    runs = [
        list(morpho.iterate(load(usual, f"material.penalty={said}", "optimizer.max_iterations=6"), MPI.COMM_SELF)),
        list(morpho.iterate(load(rows, f"optimizer.stages={staged}", "optimizer.max_iterations=6"), MPI.COMM_SELF)),
    ]
    assert [step.objective for step in runs[0]] == [step.objective for step in runs[1]]


def test_the_filter_changes_with_its_radius(tmp_path: Path) -> None:
    staged = load(tmp_path, "optimizer.stages=[{until: 1}, {radius: 1.6}]")
    with (
        Parts(staged, MPI.COMM_SELF) as parts,
        Parts(load(tmp_path, "design.filter.radius=1.6"), MPI.COMM_SELF) as other,
    ):
        x = np.random.default_rng(0).random(parts.mesh.n)
        before, after = (parts.design.at(i).apply(x)[0] for i in (1, 2))
        assert np.abs(before - after).max() > 1e-3
        assert np.array_equal(after, other.design.at(1).apply(x)[0])


@pytest.mark.parametrize("rows", ["[{until: 5, penalty: 2}, {penalty: 3}]", "[{until: 5}, {move_limit: 0.1}]"])
def test_no_run_ends_before_its_last_stage(tmp_path: Path, rows: str) -> None:
    easy = ("optimizer.tolerance=1", f"optimizer.stages={rows}")
    assert len(list(morpho.iterate(load(tmp_path, *easy), MPI.COMM_SELF))) > 5


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("[{penalty: 2}, {penalty: 3}]", "optimizer.stages[0].until: missing; only the last stage needs none"),
        ("[{until: 5}, {until: 5}]", "optimizer.stages[1].until: got 5, not after 5"),
        ("[{beta: 2}]", "optimizer.stages: beta is of a projection"),
        ("[{until: 0}]", "optimizer.stages[0].until"),
        ("[{until: 5}, {radius: 1e12}]", "optimizer.stages[1].radius: got 1e+12, and the mesh is"),
    ],
)
def test_refused(tmp_path: Path, rows: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        morpho.solve(load(tmp_path, f"optimizer.stages={rows}"), comm=MPI.COMM_SELF)
    assert any(said in line for line in caught.value.complaints)


def test_given_twice(tmp_path: Path) -> None:
    twice = ("material.penalty={start: 1, max: 3, step: 1, every: 5}", "optimizer.stages=[{penalty: 2}]")
    with pytest.raises(InputError, match="give one of them"):
        morpho.solve(load(tmp_path, *twice), comm=MPI.COMM_SELF)


EARLY = "optimizer.stages=[{until: 30, penalty: 1}, {until: 60, penalty: 2}, {penalty: 3}]"


@pytest.mark.parametrize("source", ["exact", "secant"])
def test_stages_end_early_once_the_objective_is_flat(tmp_path: Path, source: str) -> None:
    common = [EARLY, f"gradient.source={source}", "optimizer.objective_tolerance=0", "optimizer.tolerance=0"]
    problem = load(tmp_path, *common, "optimizer.max_iterations=80", "optimizer.stage_tolerance=0.01")
    result = morpho.solve(problem, tmp_path / "run", MPI.COMM_SELF)
    history = read_history(tmp_path / "run" / "history.csv")
    counts = [int(np.sum(history["penalty"] == penalty)) for penalty in (1, 2, 3)]
    assert all(5 <= count < 30 for count in counts[:2]), counts
    assert counts[2] == 20, "the last stage has the iterations that it was to have"
    assert result.iterations == sum(counts)
    for end in np.cumsum(counts)[:2]:
        last = history["objective"][end - 5 : end]
        assert np.ptp(last) <= 0.02 * last[-1]
        if source == "secant":
            assert set(history["step"][end - 1 : end + 1]) <= {"exact", "correction"}
    log = (tmp_path / "run" / "log.txt").read_text()
    assert f"it {counts[0]}: the objective is flat; stage 1 of 3 ends here" in log


def test_only_designs_of_a_stage_say_that_it_is_flat(tmp_path: Path) -> None:
    """Nothing but the move limit changes, so that the objective is as flat as before."""
    limits = "optimizer.stages=[{until: 40, move_limit: 0.2}, {until: 60, move_limit: 0.1}, {move_limit: 0.05}]"
    common = [limits, "optimizer.objective_tolerance=0", "optimizer.tolerance=0", "optimizer.stage_tolerance=0.02"]
    morpho.solve(load(tmp_path, *common, "optimizer.max_iterations=65"), tmp_path / "run", MPI.COMM_SELF)
    history = read_history(tmp_path / "run" / "history.csv")
    counts = [int(np.sum(history["move_limit"] == limit)) for limit in (0.2, 0.1, 0.05)]
    assert 5 <= counts[0] < 40 and counts[1:] == [5, 5]


def test_a_resumed_run_is_where_it_was_in_its_stages(tmp_path: Path) -> None:
    common = [EARLY, "optimizer.objective_tolerance=0", "optimizer.tolerance=0", "optimizer.stage_tolerance=0.01"]
    whole = [step.objective for step in morpho.iterate(load(tmp_path, *common, "optimizer.max_iterations=66"), COMM)]
    morpho.solve(load(tmp_path, *common, "optimizer.max_iterations=62"), tmp_path / "run", COMM)
    again = morpho.resume(tmp_path / "run", load(tmp_path, *common, "optimizer.max_iterations=66"), comm=COMM)
    assert again.iterations == len(whole) < 60
    assert again.objective == pytest.approx(whole[-1], rel=1e-6)


def test_a_tolerance_of_stages_needs_stages(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there are no stages that could end early"):
        morpho.solve(load(tmp_path, "optimizer.stage_tolerance=0.01"), comm=COMM)


@pytest.mark.parametrize("penalty", [1.0, 1.5, 2.0, 2.5, 3.5, 4.5, 5.0, 2.7])
def test_powers(penalty: float) -> None:
    rho = np.random.default_rng(0).random(100)
    kept = rho.copy()
    material = Simp(2.0, 1e-9, penalty)
    assert np.allclose(material.stiffness(rho), 2e-9 + 2 * (1 - 1e-9) * kept**penalty, rtol=1e-14)
    assert np.allclose(material.derivative(rho), 2 * (1 - 1e-9) * penalty * kept ** (penalty - 1), rtol=1e-14)
    assert np.array_equal(rho, kept)
