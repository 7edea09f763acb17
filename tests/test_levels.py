"""Coarser grids first: optimizer.levels."""

from pathlib import Path

from mpi4py import MPI

import numpy as np
import pytest
from helpers import box, make_problem, plane

import morpho
from morpho.errors import InputError, SolverError
from morpho.fem.voxel.equation import VoxelEquation
from morpho.interrupt import Interrupt
from morpho.levels import begin_on_levels, check_levels, coarsened, shortened
from morpho.parts import Parts
from morpho.problem.check import check_consistency
from morpho.problem.solving import Level
from morpho.results.history import read_history

COMM = MPI.COMM_SELF
TWO = [{"coarser": 4, "until": 6}, {"coarser": 2, "until": 12}]


def bar(levels=TWO, iterations=20, cells=(32, 16, 16), radius=0.1, at=2.0, optimizer=(), **parts):
    return make_problem(
        box(list(cells), [2.0, 1.0, 1.0]),
        loads=[{"forces": [{"region": plane("x", at), "total": [0, -1, 0]}]}],
        constraints=[{"volume_fraction": 0.3}],
        design={"filter": {"kind": "cone", "radius": radius}},
        optimizer={"max_iterations": iterations, "levels": levels, "tolerance": 0, **dict(optimizer)},
        **parts,
    )


def test_a_coarser_problem():
    problem = bar(optimizer={"stages": [{"until": 3, "radius": 0.5}, {"radius": 0.1}]})
    coarse = coarsened(problem, Level(coarser=4, until=6))
    assert coarse.mesh.box.cells == (8, 4, 4) and coarse.mesh.box.size == problem.mesh.box.size
    assert coarse.design.filter.radius == 1.5 * 4 * 0.0625
    assert [stage.radius for stage in coarse.optimizer.stages] == [0.5, 0.375]
    assert coarse.optimizer.max_iterations == 6 and not coarse.optimizer.levels
    assert coarsened(bar(cells=(85, 24, 34)), Level(coarser=4, until=6)).mesh.box.cells == (21, 6, 8)


@pytest.mark.parametrize("source", ["exact", "secant"])
def test_as_good_as_on_one_grid_with_a_plan_that_goes_on(source: str, tmp_path: Path):
    penalty = {"penalty": {"start": 1, "max": 3, "every": 8, "step": 1}}
    extra = {"material": penalty, "gradient": {"source": source}, "iterations": 60}
    one = morpho.solve(bar([], **extra), comm=COMM)
    grids = [{"coarser": 4, "until": 20}, {"coarser": 2, "until": 35}]
    levels = morpho.solve(bar(grids, **extra), tmp_path / "run", COMM)
    assert levels.objective < 1.01 * one.objective
    assert levels.volume == pytest.approx(0.3, rel=1e-4) and levels.n_cells == one.n_cells
    rows = read_history(tmp_path / "run" / "history.csv")
    assert list(rows["iteration"]) == list(range(1, 61))
    assert list(rows["coarser"]) == [4] * 20 + [2] * 15 + [1] * 25
    assert list(rows["penalty"]) == [1.0] * 8 + [2.0] * 8 + [3.0] * 44
    assert rows["linear_iterations"][-1] == levels.linear_iterations
    assert levels.iterations == 60
    log = (tmp_path / "run" / "log.txt").read_text()
    assert (
        "128 cells, coarser by 4, up to iteration 20" in log and "1024 cells, coarser by 2, up to iteration 35" in log
    )


def test_a_resumed_run_goes_on_where_it_was(tmp_path: Path):
    whole = morpho.solve(bar(), tmp_path / "whole", COMM)
    morpho.solve(bar(iterations=15), tmp_path / "cut", COMM)
    again = morpho.resume(tmp_path / "cut", bar(), COMM)
    assert again.iterations == 20 and again.objective == pytest.approx(whole.objective, rel=1e-10)


def test_an_interrupt_on_a_coarser_grid_ends_in_a_checkpoint_of_the_full_one(tmp_path: Path):
    cut = morpho.solve(bar(), tmp_path / "run", COMM, time_limit=1e-3)
    assert cut.status is morpho.Status.TIME_LIMIT and cut.iterations == 2 and cut.n_cells == 32 * 16 * 16
    done = morpho.resume(tmp_path / "run", bar(), COMM)
    assert done.iterations == 20 and done.feasible


def test_few_iterations_are_shared():
    def ends(iterations: int) -> list[int]:
        return [level.until for level in shortened(bar(iterations=iterations).optimizer)]

    assert [ends(n) for n in (13, 12, 7, 5, 1)] == [[6, 12], [6], [6], [2], []]


def test_a_grid_that_fails_is_left_out(monkeypatch: pytest.MonkeyPatch):
    usual = VoxelEquation.solve

    def failing(self, *args, **kwargs):
        if self.mesh.n_global < 1000:
            raise SolverError("no convergence")
        return usual(self, *args, **kwargs)

    monkeypatch.setattr(VoxelEquation, "solve", failing)
    with Parts(bar(), COMM) as parts:
        start = begin_on_levels(parts, None, Interrupt(COMM))
    assert start.restart.iteration == 12 and [row.iteration for row in start.rows] == list(range(1, 13))
    assert any("left out the grid coarser by 4: no convergence" in note for note in start.notes)


def test_a_grid_that_ends_early_leaves_out_the_rest_of_its_plan():
    with Parts(bar(optimizer={"tolerance": 1.0}), COMM) as parts:
        restart = begin_on_levels(parts, None, Interrupt(COMM)).restart
    assert restart.iteration < 12 and restart.iteration + restart.ahead == 12


def test_the_network_goes_along():
    onsg = {"source": "onsg", "onsg": {"form": "anchored"}}
    with Parts(bar(gradient=onsg), COMM) as parts:
        fresh = parts.source.network_state()
        begin_on_levels(parts, None, Interrupt(COMM))
        assert str(parts.source.network_state()) != str(fresh)


def test_what_is_refused(tmp_path: Path):
    for levels, said in (
        ([{"coarser": 2, "until": 3}, {"coarser": 4, "until": 6}], "finer than the one before"),
        ([{"coarser": 4, "until": 6}, {"coarser": 2, "until": 6}], "got 6, not after 6"),
        ([{"coarser": 32, "until": 6}], "fewer cells"),
    ):
        assert any(said in text for text in check_consistency(bar(levels))), said
    narrow = bar(cells=(30, 16, 16), at=2.0 / 30 * 29)
    with pytest.raises(InputError, match=r"optimizer\.levels, coarser by 4: loads"):
        check_levels(narrow, COMM)
    with pytest.raises(InputError, match=r"x0: optimizer\.levels"):
        morpho.solve(bar(), comm=COMM, x0=np.full(32 * 16 * 16, 0.3))
