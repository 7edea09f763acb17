"""Koopman jumps and extrapolated gradients: the operator, the landing, runs, ranks, resuming."""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import replace
from pathlib import Path

from mpi4py import MPI

import numpy as np
import pytest
from helpers import box, main, make_problem, plane
from two_scale_problems import cantilever, finished, two_cases, with_void

import morpho
from morpho.errors import SolverError
from morpho.gradients import dmd
from morpho.gradients.dmd import Extrapolation, Operator
from morpho.gradients.koopman import Koopman
from morpho.gradients.koopman_gradients import KoopmanGradients
from morpho.parts import Parts
from morpho.problem import Problem
from morpho.results.history import read_history
from morpho.run import iterate

SCRIPT = Path(__file__)
MODES = ("designs", "patches", "gradients")


def slow(mode="designs", iterations=40, **koopman):
    """The small cantilever in 2-D with small steps, so that there is a tail to jump over."""
    settings = {
        "designs": {"window": 6, "jump": 4, "start": 8, "fit": 0.5},
        "patches": {"window": 6, "jump": 4, "start": 8, "fit": 0.5, "patch": 1},
        "gradients": {"of": "gradients", "window": 4, "fit": 0.5},
    }
    problem = cantilever("koopman", 2, iterations, koopman=settings[mode] | koopman)
    rule = problem.optimizer.model_copy(update={"move_limit": 0.03})
    return problem.model_copy(update={"optimizer": rule})


def exactly(problem):
    """The same with exact gradients only."""
    return problem.model_copy(update={"gradient": problem.gradient.model_copy(update={"source": "exact"})})


def run(problem):
    """All steps of a run on this process."""
    return list(iterate(problem, MPI.COMM_SELF))


def facts(comm):
    """The last design and how it came about, of each mode."""
    return {mode: facts_of(slow(mode, 20), comm) for mode in MODES}


def facts_of(problem, comm):
    steps, rho = finished(problem, comm)
    return {
        "objective": steps[-1].objective,
        "exact_solves": steps[-1].exact_solves,
        "steps": [s.advice.how for s in steps],
        "rho": rho,
    }


# --- the operator


def random_window(q, w, seed=0):
    return dmd.window(list(np.random.default_rng(seed).standard_normal((w, q)).cumsum(axis=0)))


def test_straight_motion_goes_on_straight():
    """With the constant as an observable, the plain extrapolation is what an operator of rank one finds."""
    rng = np.random.default_rng(0)
    start, step = rng.standard_normal((2, 12))
    D = dmd.window([start + t * step for t in range(5)])
    np.testing.assert_allclose(D @ Operator.fit(D, 3).ahead(7), 7 * step, rtol=1e-9)
    np.testing.assert_allclose(dmd.linear(D, 7), 7 * step, rtol=1e-9)


def test_nothing_moves():
    change, error = Extrapolation(MPI.COMM_SELF, np.arange(8), 2)(np.zeros((8, 5)), 3)
    assert error == np.inf and not change.any()
    change, error = Extrapolation(MPI.COMM_SELF, np.arange(8), 2, 3)(np.zeros((8, 5)), 3)
    assert error == np.inf and not change.any()


def test_what_is_not_finite_is_not_extrapolated():
    D = random_window(8, 5)
    D[3, 1] = np.nan
    change, error = Extrapolation(MPI.COMM_SELF, np.arange(8), 2)(D, 3)
    assert error == np.inf and not change.any()


def test_growth_is_bounded():
    x = np.array([1.0, -2.0, 0.5])[:, None] * 1.5 ** np.arange(6)
    D = x - x[:, -1:]
    change = D @ Operator.fit(D, 2).ahead(50)
    assert np.linalg.norm(change) < 51 * np.linalg.norm(D[:, -2])
    rotation = np.array([[0.0, -2.0], [2.0, 0.0]])
    np.testing.assert_allclose(dmd.bounded(rotation), rotation / 2, atol=1e-12)
    stack = np.array([rotation, np.diag([0.5, 0.1])])
    np.testing.assert_allclose(dmd.bounded(stack), [rotation / 2, np.diag([0.5, 0.1])], atol=1e-12)


def test_small_triangle_holds_all_inner_products():
    D = random_window(40, 6)
    R = dmd.compressed(MPI.COMM_SELF, D)
    assert R.shape == (6, 6)
    np.testing.assert_allclose(R.T @ R, D.T @ D, atol=1e-10)


def test_patches_do_not_depend_on_the_order_of_cells():
    D, order = random_window(20, 6), np.random.default_rng(1).permutation(20)
    given = Extrapolation(MPI.COMM_SELF, np.arange(20), 2, 4)(D, 3)[0]
    shuffled = Extrapolation(MPI.COMM_SELF, order, 2, 4)(D[order], 3)[0]
    np.testing.assert_allclose(shuffled, given[order], rtol=1e-9)


# --- jumps in the design


def test_source_of_each_mode():
    for mode, kind in (("designs", Koopman), ("gradients", KoopmanGradients)):
        with Parts(slow(mode), MPI.COMM_SELF) as parts:
            assert isinstance(parts.source, kind)


def test_before_the_first_jump_it_is_the_exact_trajectory():
    problem = slow(iterations=13)
    exact, own = run(exactly(problem)), run(problem)
    assert [s.objective for s in own[:12]] == pytest.approx([s.objective for s in exact[:12]], rel=1e-9)
    assert all(s.gradient.kind == "exact" for s in own)


def test_jumps_save_solves(caplog):
    caplog.set_level("INFO", "morpho")
    exact, own = run(exactly(slow())), run(slow())
    jumps = [s for s in own if s.advice.how == "jump"]
    assert jumps and all(s.objective < own[s.iteration - 2].objective for s in jumps)
    assert own[-1].exact_solves == 40 + sum(s.advice.extra_solves for s in own)
    assert own[-1].objective == pytest.approx(exact[-1].objective, rel=0.03)
    assert "by linear extrapolation" in caplog.text and f"steps jumped over so far: {4 * len(jumps)}, " in caplog.text
    for jump in jumps:
        assert jump.volume == pytest.approx(0.4, abs=1e-3)
        assert np.all((jump.x >= 0) & (jump.x <= 1))


@pytest.mark.parametrize("mode", ["designs", "patches"])
def test_a_bad_landing_is_taken_back(mode, monkeypatch):
    """Where the prediction is the way back, the run is the exact one, and pays one solve for each landing."""
    monkeypatch.setattr(Extrapolation, "__call__", lambda self, D, steps, weight=None: (D[:, 0], 0.0))
    exact, own = run(exactly(slow())), run(slow(mode))
    in_vain = sum(s.advice.extra_solves for s in own)
    assert in_vain >= 3 and not any(s.advice.how == "jump" for s in own)
    assert own[-1].exact_solves == 40 + in_vain
    assert [s.objective for s in own] == pytest.approx([s.objective for s in exact], rel=1e-6)


def test_a_landing_without_a_solution_is_taken_back(monkeypatch, caplog):
    """The run goes on as if there had been no jump."""

    def fails(self, iteration, x, landing, design):
        with monkeypatch.context() as patch:
            patch.setattr(type(self.physics), "solve", no_solution)
            return judge(self, iteration, x, landing, design)

    def no_solution(self, rho, *_):
        self.displacements()[0][:] = np.nan
        raise SolverError("on purpose")

    judge = Koopman._judge
    monkeypatch.setattr(Koopman, "_judge", fails)
    caplog.set_level(logging.INFO, logger="morpho")
    steps, plain = run(slow(iterations=16)), run(exactly(slow(iterations=16)))
    assert "no solution at the landing of the jump, which is discarded (on purpose)" in caplog.text
    np.testing.assert_allclose([s.objective for s in steps], [s.objective for s in plain], rtol=1e-6)


def test_a_bad_fit_is_no_landing(caplog):
    caplog.set_level("INFO", "morpho")
    problem = with_void(slow(iterations=20, fit=1e-12, rank=1))
    exact, own = run(exactly(problem)), run(problem)
    assert own[-1].exact_solves == 20 and "no jump, the operator misses" in caplog.text
    np.testing.assert_array_equal(own[-1].x, exact[-1].x)


def test_passive_cells_stay():
    solid = {"box": {"min": [1.8, 0], "max": [2, 0.2]}}
    void = {"box": {"min": [0.8, 0.4], "max": [1.1, 0.6]}}
    values = slow(iterations=30).model_dump()
    values["design"]["passive"] = {"solid": [solid], "void": [void]}
    problem = Problem.model_validate(values)
    steps = run(problem)
    assert any(s.advice.how == "jump" or s.advice.extra_solves for s in steps)
    with Parts(problem, MPI.COMM_SELF) as parts:
        passive = parts.design.passive
        for step in steps:
            assert np.all(step.x[passive.solid] == 1) and np.all(step.x[passive.void] == 0)
            assert np.all(step.rho[passive.solid] == 1) and np.all(step.rho[passive.void] == 0)


def test_no_jump_across_a_continuation():
    given = slow(iterations=40, start=1)
    material = given.material.model_validate({"penalty": {"start": 1.5, "max": 3, "every": 5, "step": 0.5}})
    steps = run(given.model_copy(update={"material": material}))
    assert next(s.iteration for s in steps if s.advice.how == "jump" or s.advice.extra_solves) > 20


def test_volume_objective_is_left_alone():
    problem = make_problem(
        box([16, 8], [2.0, 1.0]),
        loads=[{"forces": [{"region": plane("x", 2), "total": [0, -1]}]}],
        objective={"kind": "volume"},
        constraints=[{"kind": "compliance", "max": 200}],
        gradient={"source": "koopman", "koopman": {"start": 1, "window": 3, "fit": 10}},
        optimizer={"kind": "mma", "max_iterations": 10},
    )
    assert not any(s.advice.how == "jump" or s.advice.extra_solves for s in run(problem))


# --- extrapolated gradients


def test_extrapolated_gradients_know_where_the_last_ones_lead():
    """On the designs of a run, between exact gradients, they beat the energies of the last exact design."""
    problem = slow("gradients", 40)
    with Parts(problem, MPI.COMM_SELF) as parts:
        source, ratios = parts.source, []
        for step in run(exactly(problem)):
            if step.iteration > 20 and step.iteration % 4:
                exact, found = step.gradient.d_compliance, source.estimate(step.rho).d_compliance
                stale = -parts.physics.material.derivative(step.rho) * np.exp(source.past[-1][0])
                ratios.append(np.linalg.norm(found - exact) / np.linalg.norm(stale - exact))
            else:
                source.learn(step.rho, step.gradient)
    assert np.median(ratios) < 1


def test_a_gap_is_filled_in():
    with Parts(slow("gradients"), MPI.COMM_SELF) as parts:
        source, steps = parts.source, run(exactly(slow(iterations=4)))
        source.learn(steps[0].rho, steps[0].gradient)
        source.estimate(steps[1].rho)
        source.estimate(steps[2].rho)
        source.learn(steps[2].rho, steps[2].gradient)
        assert len(source.past) == 3
        np.testing.assert_allclose(source.past[1], (source.past[0] + source.past[2]) / 2)


@pytest.mark.parametrize("dim", [2, 3])
def test_extrapolated_gradients_end_near_the_exact_objective(dim):
    exact = run(cantilever("exact", dim, 60))
    own = run(cantilever("koopman", dim, 60, koopman={"of": "gradients", "window": 4}))
    assert own[-1].gradient.kind == "exact"
    assert own[-1].objective == pytest.approx(exact[-1].objective, rel=0.03)
    assert own[-1].exact_solves < 60


@pytest.mark.parametrize("dim", [2, 3])
def test_jumps_end_near_the_exact_objective(dim):
    exact, own = run(cantilever("exact", dim, 60)), run(cantilever("koopman", dim, 60))
    assert own[-1].objective == pytest.approx(exact[-1].objective, rel=0.03)


@pytest.mark.parametrize("of", ["designs", "gradients"])
def test_two_load_cases_with_self_weight_on_triangles(of):
    given = two_cases("koopman", 40)
    koopman = given.gradient.koopman.model_copy(update={"of": of, "window": 4, "start": 10, "fit": 0.5})
    own = run(given.model_copy(update={"gradient": given.gradient.model_copy(update={"koopman": koopman})}))
    assert own[-1].objective == pytest.approx(run(two_cases("exact", 40))[-1].objective, rel=0.03)


@pytest.mark.parametrize("how", ["sign", "nan", "shuffled"])
def test_extrapolated_gradients_that_go_wrong_are_caught(how, monkeypatch):
    estimate, calls = KoopmanGradients.estimate, []

    def wrong(self, rho):
        calls.append(1)
        gradient = estimate(self, rho)
        d = gradient.d_cases
        change = {"sign": -d, "nan": d * np.nan, "shuffled": np.random.default_rng(0).permutation(d, axis=1)}
        return gradient if len(calls) < 8 else replace(gradient, d_cases=change[how])

    monkeypatch.setattr(KoopmanGradients, "estimate", wrong)
    exact, steps = run(exactly(slow("gradients"))), run(slow("gradients"))
    assert steps[-1].objective == pytest.approx(exact[-1].objective, rel=0.03)
    assert sum(s.advice.how != "estimate" for s in steps[10:]) > 5


# --- both


@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks(mpirun, ranks):
    found = json.loads(mpirun(ranks, SCRIPT))
    for mode, alone in facts(MPI.COMM_SELF).items():
        for fact in ("steps", "exact_solves"):
            assert found[mode][fact] == alone[fact]
        assert found[mode]["objective"] == pytest.approx(alone["objective"], rel=1e-4)
        np.testing.assert_allclose(found[mode]["rho"], alone["rho"], rtol=0, atol=1e-3)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("at", [14, 19, 20])
def test_resumed_run_goes_the_same_way(mode, at, tmp_path):
    (tmp_path / "given.yaml").write_text(morpho.problem.dump_problem(slow(mode, 24)))
    whole, part = (
        morpho.load_problem(tmp_path / "given.yaml", ["gradient.last=0", f"optimizer.max_iterations={n}"])
        for n in (24, at)
    )
    expected = morpho.solve(whole, tmp_path / "whole", MPI.COMM_SELF)
    morpho.solve(part, tmp_path / "part", MPI.COMM_SELF)
    problem = morpho.load_problem(tmp_path / "part" / "problem.yaml", ["optimizer.max_iterations=24"])
    resumed = morpho.resume(tmp_path / "part", problem, MPI.COMM_SELF)
    both = [read_history(tmp_path / folder / "history.csv") for folder in ("whole", "part")]
    for column in ("step", "exact_solves"):
        assert both[0][column].tolist() == both[1][column].tolist()
    assert resumed.objective == pytest.approx(expected.objective, rel=1e-3)


if __name__ == "__main__":
    main(facts, *sys.argv[1:])
