"""The two-scale and the inexact sources on small problems: what each is, ranks, resuming."""

from __future__ import annotations

from dataclasses import replace

from mpi4py import MPI

import numpy as np
import pytest
from helpers import random_cells
from two_scale_problems import SOURCES, cantilever, two_cases, with_void

import morpho
from morpho.gradients import Tools, create
from morpho.gradients.exact import Exact
from morpho.gradients.features import OfBlocks
from morpho.gradients.onsg import Onsg
from morpho.parts import Parts
from morpho.results.history import read_history
from morpho.run import iterate


def run(problem):
    """All steps of a run on this process."""
    return list(iterate(problem, MPI.COMM_SELF))


def sources_of(parts, *names):
    tools = Tools(parts.physics, parts.problem.gradient)
    return [create(name, parts.physics, tools) for name in names]


def difference(estimate, exact):
    off = estimate.d_compliance - exact.d_compliance
    return np.linalg.norm(off) / np.linalg.norm(exact.d_compliance)


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("name", ["onsg", "secant", "coarse"])
def test_a_correction_in_every_step_is_the_exact_trajectory(name, dim):
    given = cantilever(name, dim, 8, every=1, correction_rtol=None)
    exact, own = (run(with_void(problem)) for problem in (cantilever("exact", dim, 8), given))
    assert [step.objective for step in own] == [step.objective for step in exact]
    np.testing.assert_array_equal(own[-1].x, exact[-1].x)
    assert own[-1].exact_solves == 8


def test_sources_on_the_same_blocks_share_the_ratio():
    with Parts(cantilever("onsg"), MPI.COMM_SELF) as parts:
        onsg, secant = sources_of(parts, "onsg", "secant")
        rho = random_cells(parts.mesh, 0.2, 1.0, 0)
        onsg.learn(rho, Exact(parts.physics).estimate(rho))
        assert onsg.ratio is secant.ratio
        assert not np.all(secant.ratio == 1)


def test_fields_of_blocks_are_made_of_the_cells_asked_for():
    blocks, owner = np.arange(6, dtype=np.float32).reshape(2, 3), np.array([2, 0, 0, 1], np.int32)
    found = OfBlocks(blocks, owner)
    assert found.shape == found[:].shape == (4, 2)
    np.testing.assert_array_equal(found[1:], [[0, 3], [0, 3], [1, 4]])
    np.testing.assert_array_equal(found[np.array([3, 0])], [[1, 4], [2, 5]])


@pytest.mark.parametrize("dim", [2, 3])
def test_network_that_says_nothing_is_the_secant(dim):
    with Parts(cantilever("onsg", dim), MPI.COMM_SELF) as parts:
        onsg, secant = sources_of(parts, "onsg", "secant")
        exact = Exact(parts.physics)
        for seed in range(3):
            rho = random_cells(parts.mesh, 0.2, 1.0, seed)
            gradient = exact.estimate(rho)
            secant.learn(rho, gradient)
            onsg.learn(rho, gradient)
        onsg.weights = replace(onsg.weights, w=np.zeros_like(onsg.weights.w))
        onsg._anchor(onsg.past[-1])
        rho = random_cells(parts.mesh, 0.1, 1.0, 7)
        np.testing.assert_allclose(onsg.estimate(rho).d_cases, secant.estimate(rho).d_cases, rtol=1e-4)


@pytest.mark.parametrize("name", ["onsg", "secant"])
def test_nothing_changed_is_exact(name):
    with Parts(cantilever(name), MPI.COMM_SELF) as parts:
        (source,) = sources_of(parts, name)
        for seed in range(2):
            rho = random_cells(parts.mesh, 0.6, 1.0, seed)
            gradient = Exact(parts.physics).estimate(rho)
            source.learn(rho, gradient)
        found = source.estimate(rho)
    np.testing.assert_allclose(found.d_cases, gradient.d_cases, rtol=1e-4)
    np.testing.assert_allclose(found.cases, gradient.cases, rtol=1e-12)


def test_learning_reduces_the_error():
    """Trained on the designs of a run, the network beats the secant on the next ones."""
    with Parts(cantilever("onsg", iterations=30, block=4), MPI.COMM_SELF) as parts:
        onsg, secant = sources_of(parts, "onsg", "secant")
        ratios = []
        for step in run(cantilever("exact", iterations=30)):
            exact = step.gradient
            if step.iteration in (15, 20, 25, 30):
                ratios.append(difference(onsg.estimate(step.rho), exact) / difference(secant.estimate(step.rho), exact))
            if step.iteration <= 10 or step.iteration % 10 == 0:
                secant.learn(step.rho, exact)
                onsg.learn(step.rho, exact)
    assert np.median(ratios) < 0.9


def test_no_fine_solve_in_an_estimated_step(monkeypatch):
    from morpho.fem.voxel.equation import VoxelEquation

    calls = []
    solve = VoxelEquation.solve
    monkeypatch.setattr(VoxelEquation, "solve", lambda self, *a, **k: calls.append(1) or solve(self, *a, **k))
    estimates = 0
    for step in iterate(cantilever("onsg", iterations=30), MPI.COMM_SELF):
        estimated = step.advice.how in ("estimate", "fallback", "secant")
        estimates += estimated
        assert len(calls) == step.iteration - estimates
        assert (step.gradient.linear_iterations == 0) == estimated
    assert estimates > 10


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("dim", [2, 3])
def test_objective_near_the_exact_one(name, dim):
    exact, own = run(cantilever("exact", dim, 60)), run(cantilever(name, dim, 60))
    assert own[-1].gradient.kind == "exact"
    assert own[-1].objective == pytest.approx(exact[-1].objective, rel=0.02)
    assert own[-1].linear_iterations < exact[-1].linear_iterations


@pytest.mark.parametrize("name", SOURCES)
def test_two_load_cases_with_self_weight_on_triangles(name):
    exact, own = run(two_cases("exact", 40)), run(two_cases(name, 40))
    assert own[-1].objective == pytest.approx(exact[-1].objective, rel=0.02)


def test_plain_form_runs_and_is_told_apart():
    steps = run(cantilever("onsg", iterations=40, onsg={"form": "plain"}))
    errors = [(s.advice.error, s.advice.rival_error) for s in steps if s.advice.error == s.advice.error]
    assert np.median([own for own, _ in errors]) > np.median([rival for _, rival in errors])
    assert any(s.advice.how == "fallback" for s in steps)


@pytest.mark.parametrize(("name", "form"), [*((name, "anchored") for name in SOURCES), ("onsg", "plain")])
def test_resumed_run_goes_the_same_way(name, form, tmp_path):
    limit = [f"optimizer.max_iterations={n}" for n in (14, 24)]
    text = morpho.problem.dump_problem(cantilever(name, 2, 24, last=0, onsg={"form": form}))
    (tmp_path / "given.yaml").write_text(text)
    whole = morpho.solve(morpho.load_problem(tmp_path / "given.yaml", limit[1:]), tmp_path / "whole", MPI.COMM_SELF)
    morpho.solve(morpho.load_problem(tmp_path / "given.yaml", limit[:1]), tmp_path / "part", MPI.COMM_SELF)
    problem = morpho.load_problem(tmp_path / "part" / "problem.yaml", limit[1:])
    resumed = morpho.resume(tmp_path / "part", problem, MPI.COMM_SELF)
    both = [read_history(tmp_path / folder / "history.csv") for folder in ("whole", "part")]
    # The basis of rom is not kept, so it solves exactly first; bp_lambda and the secant win by a hair in turn.
    if name not in ("rom", "bp_lambda"):
        assert both[0]["step"].tolist() == both[1]["step"].tolist()
    assert resumed.objective == pytest.approx(whole.objective, rel=2e-3)


def test_blocks_that_a_mesh_does_not_have():
    given = two_cases("onsg")
    flat = given.model_copy(update={"gradient": given.gradient.model_copy(update={"block": 8})})
    with pytest.raises(
        morpho.errors.InputError, match="blocks of 8 are the cells of a mesh before it is refined 3 times"
    ):
        Parts(flat, MPI.COMM_SELF)


def test_samples_do_not_depend_on_the_ranks():
    from morpho import noise

    keys = np.arange(1000)
    shuffled = np.random.default_rng(0).permutation(keys)
    np.testing.assert_array_equal(noise.uniform(keys, 3)[shuffled], noise.uniform(shuffled, 3))
    assert abs(noise.uniform(keys, 3).mean() - 0.5) < 0.05
    assert np.corrcoef(noise.uniform(keys, 3), noise.uniform(keys, 4))[0, 1] < 0.1


def test_inference_is_what_torch_says():
    import torch

    from morpho.gradients.features import NAMES
    from morpho.gradients.kernels import perceptron
    from morpho.gradients.network import Network, activation

    network = Network(len(NAMES), 24, 64, seed=1)
    rng = np.random.default_rng(0)
    X = (3 + 2 * rng.standard_normal((500, len(NAMES)))).astype(np.float32)
    network.train(X, X[::-1].copy(), rng.standard_normal(500).astype(np.float32), 20)
    out, weights = np.empty(500, np.float32), network.weights()
    perceptron(out, np.ascontiguousarray(X.T), 500, weights.W, weights.b, weights.w)
    with torch.no_grad():
        expected = network.last(activation(network.first(network._scaled(X)))).squeeze(1).numpy()
    np.testing.assert_allclose(out, expected, atol=1e-4 * np.abs(expected).max())


def test_every_source_makes_itself():
    with Parts(cantilever("onsg", 2), MPI.COMM_SELF) as parts:
        assert isinstance(parts.source, Onsg)
