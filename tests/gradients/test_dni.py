"""Decoupled gradients: late exact gradients, the synthesiser, and ranks that only solve."""

from __future__ import annotations

import json
import logging
import re
from dataclasses import replace
from pathlib import Path

from mpi4py import MPI

import numpy as np
import pytest
from helpers import random_cells
from two_scale_problems import cantilever, two_cases

import morpho
from morpho.errors import InputError, SolverError
from morpho.fem.voxel.equation import VoxelEquation
from morpho.gradients.decoupling import Decoupled, Emulated
from morpho.gradients.dni import Dni
from morpho.parts import Parts
from morpho.results.history import read_history
from morpho.run import iterate

RANKS = Path(__file__).parent / "dni_ranks.py"
LINE = re.compile(r"of step (\d+)(?:, (\d+) late)?: error of the synthesiser ([\d.]+), of the secant ([\d.]+)(.*)")


def run(problem):
    """All steps of a run on this process."""
    return list(iterate(problem, MPI.COMM_SELF))


def noted(caplog):
    """Step, delay, and errors of the synthesiser and of the secant, of every exact gradient."""
    found = [LINE.search(record.getMessage()) for record in caplog.records]
    return [(int(m[1]), int(m[2] or 0), float(m[3]), float(m[4]), m[5]) for m in found if m]


class Halves:
    """A synthesiser of numbers: what it learned last, by two."""

    def __init__(self):
        self.known, self.taken = 0.0, []

    def predict(self, at):
        return self.known

    def take_in(self, at, true, delay):
        self.known = true / 2
        self.taken.append((at, true, delay))


@pytest.mark.parametrize(("latency", "asked"), [(0, [0, 1, 2, 3, 4, 5]), (1, [0, 1, 2, 3, 4]), (2, [0, 2]), (6, [])])
def test_true_gradients_come_late_and_one_at_a_time(latency, asked):
    model = Halves()
    decoupled = Decoupled(model, Emulated(lambda at: 10.0 * at + 2, latency), max_delay=5)
    used = []
    for now in range(6):
        decoupled.receive(now)
        used.append(decoupled.step(now, now))
    assert model.taken == [(at, 10.0 * at + 2, latency) for at in asked]
    assert used[:3] == {0: [2, 12, 22], 1: [0, 1, 6], 2: [0, 0, 1], 6: [0, 0, 0]}[latency]


def test_what_is_too_old_is_dropped(caplog):
    model = Halves()
    decoupled = Decoupled(model, Emulated(float, 4), max_delay=3)
    for now in range(9):
        decoupled.receive(now)
        assert decoupled.step(now, now) == 0
    assert model.taken == []
    assert caplog.text.count("too old to be used") == 2


def test_a_failed_solve_is_passed_over(caplog):
    class Failing:
        def begin(self, at, now):
            pass

        def finished(self, now):
            raise SolverError("no convergence")

    decoupled = Decoupled(Halves(), Failing(), max_delay=3)
    assert decoupled.step(0, 0) == 0
    assert decoupled.at is None and "no gradient of step 0: no convergence" in caplog.text


@pytest.mark.parametrize("latency", [0, 2])
def test_a_failed_solve_is_known_when_its_answer_is_due(latency, caplog):
    def solve(at):
        if at == 0:
            raise SolverError("no convergence")
        return 10.0 * at

    model = Halves()
    decoupled = Decoupled(model, Emulated(solve, latency), max_delay=5)
    for now in range(latency + 3):
        decoupled.receive(now)
        decoupled.step(now, now)
        assert ("no gradient of step 0: no convergence" in caplog.text) == (now >= latency)
    assert model.taken[0][0] == max(latency, 1)


def test_a_failed_snapshot_does_not_end_the_run(monkeypatch, caplog):
    solve, calls = VoxelEquation.solve, []

    def failing(self, *given):
        calls.append(given)
        if len(calls) == 4:
            raise SolverError("no convergence")
        return solve(self, *given)

    exact = run(cantilever("exact", 2, 30))
    monkeypatch.setattr(VoxelEquation, "solve", failing)
    steps = run(cantilever("dni", 2, 30))
    assert caplog.text.count("no gradient of step 4: no convergence") == 1
    assert [step.advice.how for step in steps[3:29]] == ["estimate"] * 26
    assert steps[-1].objective == pytest.approx(exact[-1].objective, rel=0.05)


@pytest.mark.parametrize("dim", [2, 3])
def test_first_proposals_are_zero(dim):
    with Parts(cantilever("dni", dim), MPI.COMM_SELF) as parts:
        found = parts.source.estimate(random_cells(parts.mesh, 0.2, 1.0))
    assert found.kind == "estimated" and np.all(found.d_cases == 0)


def test_zero_proposals_are_refused(monkeypatch, caplog):
    monkeypatch.setattr(Dni, "learn", lambda self, rho, exact: self._count(rho))
    steps = run(cantilever("dni", 2, 10, dni={"latency": 3}))
    assert [s.advice.how for s in steps[3:6]] == ["correction"] * 3
    assert "it 4: the estimated gradient has the wrong sign; an exact update instead" in caplog.text
    assert steps[7].advice.how == "estimate"  # the first gradient has arrived


@pytest.mark.parametrize("dim", [2, 3])
def test_without_latency_the_trajectory_is_the_exact_one(dim):
    exact = run(cantilever("exact", dim, 8))
    own = run(cantilever("dni", dim, 8, correction_rtol=None, dni={"latency": 0}))
    assert [step.objective for step in own] == pytest.approx([step.objective for step in exact], rel=1e-6)
    np.testing.assert_allclose(own[-1].x, exact[-1].x, atol=1e-4)
    assert own[-1].exact_solves == 8


def test_designs_go_on_while_a_gradient_is_under_way(caplog):
    caplog.set_level(logging.INFO, "morpho")
    steps = run(cantilever("dni", 2, 15))
    assert [note[:2] for note in noted(caplog)] == [(1, 0), (2, 0), (3, 0), (4, 3), (7, 3), (10, 3), (15, 0)]
    assert [s.advice.how for s in steps[3:14]] == ["estimate"] * 11
    counted = [s.iteration for s in steps if s.gradient.linear_iterations]
    assert counted == [1, 2, 3, 7, 10, 13, 15] or counted == [1, 2, 3, 7, 10, 15]


def test_secant_stands_in_while_it_is_better(caplog):
    caplog.set_level(logging.INFO, "morpho")
    run(cantilever("dni", 3, 40))
    notes = noted(caplog)
    assert all(("falls back to secant" in said) == (own > secant) for *_, own, secant, said in notes)
    assert notes[0][2] == 1 and any("falls back" in said for *_, said in notes)
    for step, delay, own, secant, _ in notes[3:-1]:
        again = (step + delay + (delay == 0), 0) in [note[:2] for note in notes]
        assert (min(own, secant) > 1) == again


def test_synthesiser_learns_what_it_is_shown():
    problem = cantilever("dni", 3, 12, dni={"steps": 300})
    steps = run(cantilever("exact", 3, 12))
    with Parts(problem, MPI.COMM_SELF) as parts:
        source = parts.source
        for step in steps[:10]:
            source.learn(step.rho, step.gradient)
        source.stands_in = False
        for step, most in ((steps[9], 0.4), (steps[11], 0.8)):
            source._count(step.rho)
            off = (
                source.predict(source._point(step.rho, source.now, seen=True)).d_compliance - step.gradient.d_compliance
            )
            assert np.linalg.norm(off) < most * np.linalg.norm(step.gradient.d_compliance)


def test_nothing_arrives_in_time(caplog):
    steps = run(cantilever("dni", 2, 30, dni={"latency": 6, "max_delay": 4}))
    assert "came 6 steps late, too old to be used" in caplog.text
    assert "no exact gradient since step 3; an exact gradient here and now" in caplog.text
    exact = run(cantilever("exact", 2, 30))
    assert steps[-1].objective == pytest.approx(exact[-1].objective, rel=0.05)


@pytest.mark.parametrize("dim", [2, 3])
def test_objective_near_the_exact_one(dim):
    exact, own = run(cantilever("exact", dim, 60)), run(cantilever("dni", dim, 60))
    assert own[-1].gradient.kind == "exact"
    assert own[-1].objective == pytest.approx(exact[-1].objective, rel=0.03)
    assert own[-1].linear_iterations < exact[-1].linear_iterations


def test_two_load_cases_with_self_weight_on_triangles():
    exact, own = run(two_cases("exact", 40)), run(two_cases("dni", 40))
    assert own[-1].objective == pytest.approx(exact[-1].objective, rel=0.03)


@pytest.mark.parametrize("how", ["sign", "nan"])
def test_going_wrong_is_caught(how, monkeypatch, caplog):
    estimate, calls = Dni.estimate, []

    def wrong(self, rho):
        calls.append(1)
        gradient = estimate(self, rho)
        return (
            replace(gradient, d_cases=gradient.d_cases * (-1 if how == "sign" else np.nan)) if calls[7:] else gradient
        )

    monkeypatch.setattr(Dni, "estimate", wrong)
    exact, steps = run(cantilever("exact", 2, 40)), run(cantilever("dni", 2, 40))
    assert "an exact update instead" in caplog.text
    assert steps[-1].objective == pytest.approx(exact[-1].objective, rel=0.03)


def test_resumed_run_goes_the_same_way(tmp_path):
    limit = [f"optimizer.max_iterations={n}" for n in (14, 24)]
    text = morpho.problem.dump_problem(cantilever("dni", 2, 24, last=0, correction_rtol=1e-6))
    (tmp_path / "given.yaml").write_text(text)
    whole = morpho.solve(morpho.load_problem(tmp_path / "given.yaml", limit[1:]), tmp_path / "whole", MPI.COMM_SELF)
    morpho.solve(morpho.load_problem(tmp_path / "given.yaml", limit[:1]), tmp_path / "part", MPI.COMM_SELF)
    problem = morpho.load_problem(tmp_path / "part" / "problem.yaml", limit[1:])
    resumed = morpho.resume(tmp_path / "part", problem, MPI.COMM_SELF)
    both = [read_history(tmp_path / folder / "history.csv") for folder in ("whole", "part")]
    assert both[0]["step"].tolist() == both[1]["step"].tolist()
    assert ((both[0]["linear_iterations"] > 0) == (both[1]["linear_iterations"] > 0)).all()
    assert resumed.objective == pytest.approx(whole.objective, rel=2e-3)


def on_ranks(mpirun, ranks, *arguments):
    """What each rank found."""
    return json.loads(mpirun(ranks, RANKS, *arguments))["ranks"]


@pytest.mark.parametrize(("ranks", "solving", "kind"), [(2, 1, "box"), (3, 1, "triangles")])
def test_ranks_that_only_solve(mpirun, ranks, solving, kind):
    found = on_ranks(mpirun, ranks, "whole", solving, kind)
    exact = run(two_cases("exact", 15) if kind == "triangles" else cantilever("exact", 2, 30))
    for name in ("objective", "iterations", "linear"):
        assert len({rank[name] for rank in found}) == 1
    # How late gradients are depends on what else the machine does.
    assert 0.9 * exact[-1].objective < found[0]["objective"] < 1.5 * exact[-1].objective
    assert sum(rank["cells"][0] for rank in found) == found[0]["cells"][1]
    assert [rank["steps"] for rank in found] == [len(exact)] * (ranks - solving) + [0] * solving
    assert found[0]["estimates"] >= len(exact) - 6
    assert 1 <= found[0]["arrivals"] <= found[0]["estimates"]


def test_ranks_are_dealt_out_anew_when_a_run_goes_on(mpirun):
    found = on_ranks(mpirun, 3, "resumed", 1)
    assert [rank["iterations"] for rank in found] == [[12, 24]] * 3
    assert len({rank["objective"] for rank in found}) == 1


def test_no_way_out_leaves_a_rank_waiting(mpirun):
    found = on_ranks(mpirun, 2, "left", 1)
    assert [rank["taken"] for rank in found] == [6, 0]
    assert [rank["status"] for rank in found] == ["SOLVER_FAILED"] * 2
    design, solver = (rank["said"] for rank in found)
    assert design[0] == "on purpose" and solver[0] == "the design loop ended: ValueError: on purpose"
    assert design[1:] == solver[1:]
    assert "there is no usable checkpoint" in design[1]
    assert "gradient.dni.solver_ranks: 2 of 2 ranks leave none to design" in design[2]
    assert "there is no source 'dnj'" in design[3]


def test_one_process_has_no_rank_to_spare():
    with pytest.raises(InputError, match="1 of 1 rank leave none to design"):
        run(cantilever("dni", 2, dni={"solver_ranks": 1}))


def test_a_support_that_moves_is_refused():
    given = cantilever("dni", 2)
    (support,) = given.supports
    with (
        pytest.raises(InputError, match=r"supports\.value"),
        Parts(given.model_copy(update={"supports": (support.model_copy(update={"value": 0.1}),)}), MPI.COMM_SELF),
    ):
        pass
