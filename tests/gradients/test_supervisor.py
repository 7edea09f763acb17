"""When exact gradients are asked for, what is caught, and what is taken back."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from mpi4py import MPI

import numpy as np
import pytest
from helpers import box, make_problem, plane
from two_scale_problems import SOURCES, cantilever

import morpho
from morpho import gradients, shares
from morpho.fem.voxel.coarse import VoxelCoarse
from morpho.gradients import registry, supervisor, two_scale
from morpho.gradients.exact import Exact
from morpho.gradients.onsg import Onsg
from morpho.interrupt import Interrupt
from morpho.loop import certify, design_loop
from morpho.parts import Parts
from morpho.results.history import read_history
from morpho.run import iterate


@pytest.fixture(autouse=True)
def own_registry(monkeypatch):
    """What a test registers is gone after it."""
    monkeypatch.setattr(registry, "_factories", {})


def run(problem):
    """All steps of a run on this process."""
    return list(iterate(problem, MPI.COMM_SELF))


def spoiled(change, at=9):
    """Register a source that is exact, but for what `change` does to some estimate; it notes what it learns."""
    learned = []

    class Spoiled:
        def __init__(self, physics):
            self.exact, self.calls = Exact(physics), 0

        def estimate(self, rho):
            self.calls += 1
            gradient = replace(self.exact.estimate(rho), kind="estimated")
            return change(gradient) if self.calls >= at else gradient

        def learn(self, rho, exact):
            learned.append(rho)

    gradients.register("spoiled", Spoiled)
    return learned


def test_fixed_gap():
    learned = spoiled(lambda gradient: gradient, at=100)
    steps = run(cantilever("spoiled", 2, 20, every=4, last=2))
    estimated = [s.advice.how == "estimate" for s in steps]
    gap, ahead = [True, True, True, False], [True, True, False]  # ten iterations before the end, in time to go back
    assert estimated == [False] * 3 + gap + ahead + gap * 2 + [False] * 2
    assert len(learned) == 9
    assert [s.advice.since for s in steps[2:8]] == [1, 1, 2, 3, 4, 1]


@pytest.mark.parametrize("name", ["secant", "onsg"])
def test_blocks_are_solved_on_once_per_design(name, monkeypatch):
    designs, solve = [], VoxelCoarse.solve

    def counted(blocks, rho):
        designs.append(rho)
        return solve(blocks, rho)

    monkeypatch.setattr(VoxelCoarse, "solve", counted)
    steps = run(cantilever(name, 3, 8))
    assert {step.advice.how for step in steps} >= {"correction", "exact"}
    assert len(designs) == len(steps)


def test_gap_grows_while_the_error_is_small():
    spoiled(lambda gradient: gradient, at=100)
    steps = run(cantilever("spoiled", 2, 60, correction_rtol=1e-8))
    gaps = [s.advice.since for s in steps if s.advice.how != "estimate"]
    assert gaps[-1] > 5 and max(gaps) <= 25
    errors = [s.advice.error for s in steps if s.advice.how != "estimate"]
    assert np.isnan(errors[0]) and np.nanmax(errors) < 1e-3


def test_gap_shrinks_while_the_error_is_large():
    spoiled(lambda gradient: replace(gradient, d_cases=gradient.d_cases * np.linspace(0.2, 1.8, 1152)), at=1)
    steps = run(cantilever("spoiled", 2, 30))
    assert all(s.advice.how != "estimate" for s in steps)


def test_large_errors_shorten_a_given_gap():
    spoiled(lambda gradient: replace(gradient, d_cases=gradient.d_cases * np.linspace(0.2, 1.8, 1152)), at=1)
    steps = run(cantilever("spoiled", 2, 30, every=10))
    assert all(s.advice.how != "estimate" for s in steps)


def test_the_error_is_that_of_the_worst_load_case():
    """In the first case the weight of the second makes it hardly count."""
    forces = [[{"region": plane("x", 2), "total": total}] for total in ([0, -1], [0.1, 0])]
    cases = [{"name": name, "forces": forces[i]} for i, name in enumerate(("large", "small"))]
    spoiled(lambda g: replace(g, d_cases=g.d_cases * np.array([[1.0], [3.0]])), at=1)
    given = cantilever("spoiled", 2, 5)
    steps = run(given.model_copy(update={"loads": tuple(type(given.loads[0]).model_validate(c) for c in cases)}))
    assert steps[1].advice.error == pytest.approx(2.0, rel=0.1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda g: replace(g, d_cases=-g.d_cases), "wrong sign"),
        (lambda g: replace(g, d_cases=g.d_cases * np.where(np.arange(1152) % 3, 1.0, -1.0)), "wrong sign"),
        (lambda g: replace(g, d_cases=g.d_cases * 0), "wrong sign"),
        (lambda g: replace(g, d_cases=g.d_cases * np.nan), "not finite"),
        (lambda g: replace(g, cases=g.cases * np.inf), "not finite"),
        (lambda g: replace(g, cases=g.cases * 10), "jumps by a factor of"),
    ],
)
def test_bad_estimates_are_caught(change, said, caplog):
    spoiled(change)
    exact, steps = run(cantilever("exact", 2, 30)), run(cantilever("spoiled", 2, 30))
    assert said in caplog.text
    assert "an exact update instead" in caplog.text
    assert steps[-1].objective == pytest.approx(exact[-1].objective, rel=0.03)


@pytest.mark.parametrize("how", ["sign", "nan", "shuffled"])
@pytest.mark.parametrize("name", [s for s in SOURCES if s not in ("inexact", "rom")])
def test_a_built_in_source_that_goes_wrong_is_caught(name, how, monkeypatch):
    source, calls = registry.source_class(name), []
    estimate = source.estimate

    def wrong(self, rho):
        calls.append(1)
        gradient = estimate(self, rho)
        if len(calls) < 8:
            return gradient
        d = gradient.d_cases
        change = {"sign": -d, "nan": d * np.nan, "shuffled": np.random.default_rng(0).permutation(d, axis=1)}
        return replace(gradient, d_cases=change[how])

    monkeypatch.setattr(source, "estimate", wrong)
    exact, steps = run(cantilever("exact", 2, 40)), run(cantilever(name, 2, 40))
    assert steps[-1].objective == pytest.approx(exact[-1].objective, rel=0.03)
    assert sum(s.advice.how != "estimate" for s in steps[10:]) > 5


@pytest.mark.parametrize("sabotage", ["weights", "labels"])
def test_sabotaged_network_is_noticed(sabotage, monkeypatch):
    """Noise instead of weights in mid-run, or shuffled labels: the secant stands in, the objective holds."""
    rng, learn, train = np.random.default_rng(0), Onsg.learn, gradients.onsg.Network.train
    learned = []

    def noisy(self, rho, exact):
        learn(self, rho, exact)
        learned.append(1)
        if len(learned) >= 6:
            shapes = {name: getattr(self.weights, name).shape for name in ("W", "b", "w")}
            noise = {name: rng.normal(0, 2, shape).astype(np.float32) for name, shape in shapes.items()}
            self.weights = replace(self.weights, **noise)
            self._anchor(self.past[-1])

    def shuffled(self, after, before, target, steps):
        return train(self, after, before, rng.permutation(target), steps)

    if sabotage == "weights":
        monkeypatch.setattr(Onsg, "learn", noisy)
    else:
        monkeypatch.setattr(gradients.onsg.Network, "train", shuffled)
    exact, steps = run(cantilever("exact", iterations=60)), run(cantilever("onsg", iterations=60))
    assert any(s.advice.how == "fallback" for s in steps)
    assert steps[-1].objective == pytest.approx(exact[-1].objective, rel=0.02)


def uphill(gradient):
    """What is stressed least is taken for what matters most."""
    return replace(gradient, d_cases=1 / np.minimum(gradient.d_cases, -1e-6 * np.abs(gradient.d_cases).max()))


def test_a_rising_objective_is_taken_back(caplog):
    spoiled(uphill)
    problem = cantilever("spoiled", 2, 40, every=6, rollback=0.01)
    with Parts(problem, MPI.COMM_SELF) as parts, Interrupt(MPI.COMM_SELF) as interrupt:
        steps = list(design_loop(parts, parts.start(), interrupt))
    back = [s for s in steps if s.advice.rollback]
    assert back and "back to where it was" in caplog.text
    for step in back:
        earlier = [
            s for s in steps[: step.iteration - 1] if s.advice.how in ("correction", "exact") and not s.advice.rollback
        ]
        np.testing.assert_array_equal(step.x, earlier[-1].x.astype(np.float32))
        assert step.objective == earlier[-1].objective
        assert step.advice.move_limit < 0.2


def test_a_fine_solve_has_the_memory_of_the_blocks(monkeypatch):
    """While it runs there is neither their solution nor an estimate, nor are there energies afterwards."""
    monkeypatch.setattr(two_scale, "FEW", 0)
    with Parts(cantilever("onsg", 2, 8), MPI.COMM_SELF) as parts:
        scale, solve, estimated = parts.supervisor.two_scale, parts.physics.solve, []

        def watched(*arguments):
            assert scale._state is None and not scale.blocks._u_before and not estimated
            return solve(*arguments)

        estimate = Onsg.estimate
        monkeypatch.setattr(parts.physics, "solve", watched)
        monkeypatch.setattr(Onsg, "estimate", lambda self, rho: estimated.append(1) or estimate(self, rho))
        with Interrupt(MPI.COMM_SELF) as interrupt:
            for step in design_loop(parts, parts.start(), interrupt):
                assert scale._state is None and step.gradient.energy is None
                assert step.gradient.d_cases.dtype == np.float32
                assert step.advice.how != "correction" or np.isnan(step.advice.error) == (not estimated)
                estimated.clear()


def test_a_source_that_fails_again_and_again_is_given_up(caplog, monkeypatch):
    monkeypatch.setattr(supervisor, "FAILURES", 1)
    spoiled(uphill)
    exact, steps = run(cantilever("exact", 2, 40)), run(cantilever("spoiled", 2, 40, every=6, rollback=0.01))
    assert "inexact solves from here on" in caplog.text
    given_up = next(i for i, s in enumerate(steps) if s.advice.rollback)
    assert {s.advice.how for s in steps[given_up + 2 : -1]} == {"inexact"}
    assert steps[-1].objective == pytest.approx(exact[-1].objective, rel=0.03)


@pytest.mark.parametrize("may_go_back", [True, False])
def test_nothing_is_taken_back_to_a_design_that_cannot_be_returned(may_go_back):
    spoiled(lambda gradient: gradient)
    with Parts(cantilever("spoiled", 2, 40, every=6, rollback=1e-3), MPI.COMM_SELF) as parts:
        grey, worse = (np.full(parts.mesh.n, density) for density in (0.4, 0.2))
        for i in range(1, 4):
            parts.supervisor.advise(i, grey, 0.2)
        parts.supervisor.advise(4, worse, 0.2)
        advice = parts.supervisor.advise(40, worse, 0.2, may_go_back=may_go_back)
        assert advice.rollback == may_go_back


def test_the_last_step_is_taken_back_for_a_small_rise():
    """To a design whose gradient is exact then, though its correction was loose."""
    with Parts(cantilever("secant", 2, 40, warm_up=3, every=6, correction_rtol=0.3), MPI.COMM_SELF) as parts:
        rho, worse = np.full(parts.mesh.n, 0.4), np.full(parts.mesh.n, 0.399)
        for i in range(1, 10):
            advice = parts.supervisor.advise(i, rho, 0.2)
        assert advice.how == "correction" and advice.gradient.kind != "exact"
        parts.supervisor.advise(10, rho, 0.2)
        advice = parts.supervisor.advise(40, worse, 0.2)
        assert advice.rollback and advice.gradient.kind == "exact" and advice.extra_solves == 1
        kept = shares.unpacked(shares.packed(rho))
        assert advice.gradient.compliance == pytest.approx(Exact(parts.physics).estimate(kept).compliance, rel=1e-8)


def test_a_returned_design_that_was_gone_back_to_is_solved_for_as_it_is():
    with Parts(cantilever("secant", 2, 8), MPI.COMM_SELF) as parts, Interrupt(MPI.COMM_SELF) as interrupt:
        *_, last = design_loop(parts, parts.start(), interrupt)
        assert certify(parts, last) is last
        gone_back = replace(last, objective=0.0, advice=replace(last.advice, rollback=True))
        assert certify(parts, gone_back).objective == pytest.approx(last.objective, rel=1e-7)


def test_a_rise_shortens_the_gap():
    """Though the errors are small."""
    spoiled(lambda gradient: gradient)
    with Parts(cantilever("spoiled", 2, 60, every=8), MPI.COMM_SELF) as parts:
        for i in range(1, 4):
            parts.supervisor.advise(i, np.full(parts.mesh.n, 0.4), 0.2)
        assert parts.supervisor.gap == 8
        for i in range(4, 12):
            advice = parts.supervisor.advise(i, np.full(parts.mesh.n, 0.399), 0.2)
        assert advice.how != "estimate" and advice.error < 1e-3 and not advice.rollback
        assert parts.supervisor.gap == 4


@pytest.mark.parametrize("name", ["exact", "inexact", "secant"])
def test_limits_on_the_compliance_are_met_in_the_end(name):
    """Least volume from penalty 1, where single steps go far beyond the limit."""
    given = cantilever(name, 2, 60)
    material = given.material.model_validate({"penalty": {"start": 1, "max": 3, "every": 5, "step": 0.5}})
    limited = make_problem(
        {"box": {"size": [2, 1], "cells": [48, 24]}},
        loads=[load.model_dump() for load in given.loads],
        objective={"kind": "volume"},
        constraints=[{"kind": "compliance", "max": 150}],
        design=given.design.model_dump() | {"initial": 0.5},
        gradient=given.gradient.model_dump(),
        optimizer=given.optimizer.model_dump() | {"kind": "mma"},
        material=material.model_dump(),
    )
    steps = run(limited)
    assert steps[-1].max_constraint < 1e-3
    assert steps[-1].objective == pytest.approx(0.32, abs=0.05)


@pytest.mark.parametrize("name", ["onsg", "uphill"])
def test_descent_never_accepts_a_rise(name, monkeypatch):
    if name == "uphill":
        monkeypatch.setattr(supervisor, "BAD", np.inf)  # or every step would be exact
        spoiled(uphill, at=1)
        name = "spoiled"
    steps = run(cantilever(name, 2, 60, acceptance="descent", block=8, every=3 if name == "spoiled" else None))
    assert any(s.advice.rollback for s in steps)
    accepted = [s.objective for s in steps if s.gradient.kind == "exact"]
    assert all(later <= earlier for earlier, later in pairwise(accepted))
    assert accepted[-1] < 0.5 * accepted[0]


@pytest.mark.parametrize("kind", ["oc", "mma"])
def test_steps_of_before_a_restart_are_taken_back(kind, tmp_path):
    """On resuming just before that, with nothing changed; another volume is another task."""
    spoiled(uphill, at=1)

    def limited(n, volume=0.4):
        given = cantilever("spoiled", 2, n, every=6, rollback=0.01, last=0, warm_up=1)
        (constraint,) = given.constraints
        constraints = (constraint.model_copy(update={"volume_fraction": volume}),)
        rule = given.optimizer.model_copy(update={"kind": kind})
        return given.model_copy(update={"constraints": constraints, "optimizer": rule})

    whole = run(limited(20))
    back = next(s.iteration for s in whole if s.advice.rollback)
    for folder, volume in (("same", 0.4), ("other", 0.35)):
        morpho.solve(limited(back - 1), tmp_path / folder, MPI.COMM_SELF)
        morpho.resume(tmp_path / folder, limited(20, volume), MPI.COMM_SELF)
    same, other = (read_history(tmp_path / folder / "history.csv") for folder in ("same", "other"))
    assert same["rollback"].tolist() == [s.advice.rollback for s in whole]
    np.testing.assert_allclose(same["objective"], [s.objective for s in whole], rtol=1e-4)
    assert not other["rollback"][back - 1]


def test_convergence_is_confirmed_by_an_exact_gradient():
    given = cantilever("secant", 2, 200)
    rule = given.optimizer.model_copy(update={"objective_tolerance": 5e-3, "tolerance": 0.01})
    last = run(given.model_copy(update={"optimizer": rule}))[-1]
    assert last.iteration < 200
    assert last.gradient.kind == "exact"


@pytest.mark.parametrize("force", [0.0, -0.01])
@pytest.mark.parametrize("name", SOURCES)
def test_support_that_moves(name, force):
    """The objective is negative, or changes its sign; a rise is a rise all the same."""

    def given(source):
        pull = {"region": {"points": [[40, 20]]}, "total": [0, force]}
        return make_problem(
            box([40, 20], [40.0, 20.0]),
            supports=[{"region": plane("x", 0)}, {"region": {"points": [[40, 0]]}, "fix": "y", "value": -1}],
            loads=[{"forces": [pull]}],
            constraints=[{"volume_fraction": 0.4}],
            design={"filter": {"kind": "cone", "radius": 2}},
            gradient={"source": source},
            optimizer={"max_iterations": 15},
        )

    exact, steps = run(given("exact"))[-1], run(given(name))
    assert not any(s.advice.rollback for s in steps[:-1])  # the last one may be, to a design that is a little better
    assert steps[-1].objective == pytest.approx(exact.objective, rel=0.06)


def test_move_limit_of_estimated_steps():
    steps = run(cantilever("secant", 2, 20, move_limit=0.05))
    for step in steps:
        estimated = step.advice.how == "estimate"
        assert step.advice.move_limit == (0.05 if estimated else 0.2)
        assert step.change <= step.advice.move_limit + 1e-12


def continued(name, iterations, start):
    """The penalty rises to 3 in two steps, every ten iterations."""
    given = cantilever(name, 2, iterations)
    penalty = {"start": start, "max": 3, "every": 10, "step": (3 - start) / 2}
    return given.model_copy(update={"material": given.material.model_validate({"penalty": penalty})})


def test_stages_of_a_continuation_begin_and_end_with_a_correction():
    steps = run(continued("secant", 30, 1.5))
    assert [steps[i - 1].advice.how for i in (10, 11, 20, 21)] == ["correction"] * 4


def test_steps_are_taken_back_within_stages_as_long_as_the_gap(caplog, monkeypatch):
    """The penalty changes as often as corrections come; a rise is seen all the same."""
    monkeypatch.setattr(supervisor, "BAD", np.inf)
    spoiled(uphill)
    given = continued("spoiled", 31, 1.0)
    given = given.model_copy(update={"gradient": given.gradient.model_copy(update={"every": 10, "rollback": 0.01})})
    run(given)
    assert "the objective rose" in caplog.text and "back to where it was" in caplog.text


@pytest.mark.parametrize("name", [*SOURCES, "dni", "koopman"])
def test_no_step_is_taken_back_across_a_continuation(name):
    """The objective rises with the penalty; the one reported is that of the design."""
    exact, given = run(continued("exact", 40, 1.0))[-1], continued(name, 40, 1.0)
    steps = []
    result = morpho.solve(given, None, MPI.COMM_SELF, steps.append)
    assert not any(s.advice.rollback for s in steps)
    assert result.objective == pytest.approx(exact.objective, rel=0.05)
    with Parts(given, MPI.COMM_SELF) as parts:
        parts.enter_iteration(40)
        assert result.objective == pytest.approx(Exact(parts.physics).estimate(result.rho).compliance, rel=1e-6)


def test_secant_that_is_good_enough_stands_in_once_that_was_seen_over_a_gap():
    steps = run(cantilever("onsg", 2, 40, every=6, enough=10))
    gaps = [i for i, s in enumerate(steps) if s.advice.how == "correction"]
    assert {s.advice.how for s in steps[gaps[2] + 1 : gaps[3]]} <= {"estimate", "fallback"}
    assert {s.advice.how for s in steps[gaps[3] + 1 : -1]} <= {"secant", "fallback", "correction"}
    assert not np.isnan([steps[i].advice.rival_error for i in gaps[1:]]).any()
