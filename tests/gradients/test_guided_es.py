"""The search by values alone: directions, black boxes, runs on small problems, ranks, resuming."""

from __future__ import annotations

import json
from pathlib import Path

from mpi4py import MPI

import numpy as np
import pytest
from guided_es_facts import box_of_values, cases, facts, stiff
from helpers import assert_same, make_problem, random_cells, unit_box
from two_scale_problems import cantilever, two_cases

import morpho
from morpho.errors import InputError
from morpho.gradients import guided_search
from morpho.gradients.exact import Exact
from morpho.gradients.guided_search import Search
from morpho.gradients.values import Compliance, thresholded
from morpho.parts import Parts
from morpho.run import iterate

SCRIPT = Path(__file__).parent / "guided_es_facts.py"
COMM = MPI.COMM_SELF


def run(problem):
    """All steps of a run on this process."""
    return list(iterate(problem, COMM))


def test_normal_numbers_by_key():
    keys = np.arange(20_000)
    found = guided_search.normal(keys, 5)
    assert abs(found.mean()) < 0.03 and found.std() == pytest.approx(1, abs=0.02)
    assert np.mean(found**4) == pytest.approx(3, abs=0.2)
    assert abs(np.corrcoef(found, guided_search.normal(keys, 6))[0, 1]) < 0.03
    np.testing.assert_array_equal(guided_search.normal(keys[::-7], 5), found[::-7])


def test_basis_is_orthonormal_and_spans_what_it_is_made_of():
    rng = np.random.default_rng(0)
    vectors = np.diag([1.0, 1e8, 1e-8, 1.0]) @ (rng.standard_normal((4, 200)) + 3)
    vectors[3] = vectors[0] + 0.01 * rng.standard_normal(200)
    basis = guided_search.orthonormal_basis(COMM, vectors)
    np.testing.assert_allclose(basis @ basis.T, np.eye(4), atol=1e-13)
    np.testing.assert_allclose(basis.T @ (basis @ vectors.T), vectors.T, rtol=1e-6)
    np.testing.assert_allclose(basis[0], vectors[0] / np.linalg.norm(vectors[0]), rtol=1e-12)


def test_basis_without_what_adds_nothing():
    vectors = np.random.default_rng(0).standard_normal((2, 50))
    given = np.array([np.zeros(50), vectors[0], np.full(50, np.nan), vectors[0] * (1 + 1e-9), vectors[1]])
    basis = guided_search.orthonormal_basis(COMM, np.nan_to_num(given))
    assert basis.shape == (2, 50)
    assert guided_search.orthonormal_basis(COMM, np.zeros((3, 50))).shape == (0, 50)


def test_alpha_one_is_the_plain_search():
    basis = guided_search.orthonormal_basis(COMM, np.ones((1, 30)))
    plain = Search(np.arange(30), 30, np.empty((0, 30)), 0.1, 0.5)
    guided = Search(np.arange(30), 30, basis, 0.1, 1.0)
    np.testing.assert_array_equal(sum(guided.draw(4)), sum(plain.draw(4)))


def test_a_pair_stays_inside_and_is_symmetric():
    rng = np.random.default_rng(0)
    rho = np.concatenate([[0.0, 1.0], rng.uniform(0, 1, 98)])
    basis = guided_search.orthonormal_basis(COMM, rng.standard_normal((2, 100)))
    search = Search(np.arange(100), 100, basis, 0.3 * 10, 0.5)
    step, direction = search.step(rho, 0, 0.0, 1.0)
    whole, guided = search.draw(0)
    assert all(np.all((end >= 0) & (end <= 1)) for end in (rho + step, rho - step))
    np.testing.assert_array_equal(step[:2], 0)
    np.testing.assert_allclose(direction[:2], guided[:2])
    free = np.abs(whole + guided) < np.minimum(rho, 1 - rho)
    assert 10 < free.sum() < 90
    np.testing.assert_allclose(step[free], (whole + guided)[free])
    np.testing.assert_allclose(direction[free], step[free])


def test_best_settings_are_those_of_the_theory():
    """In closed form with one pair; the interior optimum for n = 100, k = 1, share 0.029 is known by number."""
    n, k = 100, 3
    for share, alpha, beta in [(0.5 * k / n, 1.0, n / (n + 2)), (k / n, 1.0, n / (n + 2))]:
        assert guided_search.best_alpha(n, k, share, 1) == pytest.approx(alpha, abs=2e-3)
        assert guided_search.best_beta(n, k, share, alpha, 1) == pytest.approx(beta)
    assert guided_search.best_alpha(n, k, 1.01 * (k + 4) / (n + 4), 1) == 0
    assert guided_search.best_beta(n, k, 1.0, 0.0, 1) == pytest.approx(k / (k + 2))
    assert guided_search.best_alpha(100, 1, 0.029, 1) == pytest.approx(0.751, abs=0.01)
    assert guided_search.best_beta(100, 1, 0.029, 0.751, 1) == pytest.approx(0.790, abs=0.01)


@pytest.mark.parametrize("share", [0.0, 0.03, 0.1])
def test_share_of_the_gradient_in_the_subspace_is_seen(share):
    n, k, alpha, pairs, samples = 200, 2, 0.8, 8, 3000
    basis = np.eye(n)[:k]
    slope = np.sqrt(share) * basis[0] + np.sqrt(1 - share) * np.eye(n)[k]
    search = Search(np.arange(n), n, basis, 1.0, alpha)
    parts = np.zeros(2)
    for sample in range(samples):
        directions = np.array([sum(search.draw(sample * pairs + i)) for i in range(pairs)])
        found = guided_search.gradient(2 * directions @ slope[:, None], directions, 1.0, 1.0)[0]
        parts += np.sum(found[:k] ** 2), np.sum(found[k:] ** 2)
    assert guided_search.share_seen(*parts, n, k, alpha, pairs) == pytest.approx(share, abs=0.005 + 0.2 * share)


def test_thresholded_design_has_the_same_volume():
    rho, volumes = np.random.default_rng(0).uniform(0, 1, 1000) ** 2, np.linspace(1, 2, 1000)
    found = thresholded(COMM, rho, volumes)
    assert found @ volumes == pytest.approx(rho @ volumes, rel=1e-12)
    assert np.count_nonzero((found > 0) & (found < 1)) <= 3
    assert rho[found == 1].min() > rho[found == 0].max()


def test_cells_at_the_threshold_share_the_volume():
    rho = np.full(10, 0.4)
    np.testing.assert_allclose(thresholded(COMM, rho, np.ones(10)), rho, atol=1e-9)
    rho[:3], rho[3:5] = 1.0, 0.0
    np.testing.assert_allclose(thresholded(COMM, rho, np.ones(10)), rho, atol=1e-9)


def test_estimate_is_made_of_the_derivatives_along_its_directions():
    with Parts(stiff(2, 1, sigma=0.002), COMM) as parts:
        rho, mesh, spec = random_cells(parts.mesh, 0.3, 0.7), parts.mesh, parts.problem.gradient.guided_es
        exact = Exact(parts.physics).estimate(rho)
        found = parts.source.estimate(rho)
        basis = guided_search.orthonormal_basis(COMM, np.array(parts.source.past))
        search = Search(mesh.key, mesh.n, basis, spec.sigma * np.sqrt(mesh.n), spec.alpha)
    directions = np.array([sum(search.draw(number)) for number in range(spec.pairs)])
    expected = (directions @ exact.d_compliance) @ directions / search.sigma**2 / spec.pairs
    off = found.d_compliance - np.minimum(expected, 0)
    assert np.linalg.norm(off) < 0.01 * np.linalg.norm(expected)
    assert found.compliance == pytest.approx(exact.compliance, rel=1e-6)
    assert found.kind == "estimated" and found.linear_iterations > 2 * spec.pairs


def test_seed_selects_the_directions():
    found = []
    for seed in (0, 0, 1, 2**29 - 1):
        with Parts(stiff(2, 1, seed=seed), COMM) as parts:
            found.append(parts.source.estimate(random_cells(parts.mesh, 0.3, 0.7)).d_compliance)
    np.testing.assert_array_equal(found[0], found[1])
    for one, other in ((found[0], found[2]), (found[0], found[3]), (found[2], found[3])):
        assert np.linalg.norm(one - other) > 0.1 * np.linalg.norm(one)


@pytest.mark.parametrize(("dim", "iterations"), [(2, 50), (3, 25)])
def test_objective_near_the_exact_one(dim, iterations):
    exact, own = run(cantilever("exact", dim, iterations)), run(stiff(dim, iterations))
    assert own[-1].gradient.kind == "exact"
    assert [step.advice.how for step in own[:5]] == ["exact"] * 3 + ["estimate"] * 2
    assert own[-1].objective == pytest.approx(exact[-1].objective, rel=0.05)


def test_two_load_cases_with_self_weight_on_triangles():
    exact, own = run(two_cases("exact", 40)), run(cases(40, pairs=8))
    assert own[-1].objective == pytest.approx(exact[-1].objective, rel=0.08)


def test_best_settings_run():
    steps = run(stiff(2, 30, alpha="optimal", beta="optimal"))
    assert steps[-1].objective < 0.5 * steps[0].objective


@pytest.mark.parametrize("how", ["sign", "nan"])
def test_an_estimate_that_goes_wrong_is_caught(how, monkeypatch, caplog):
    gradient = guided_search.gradient

    def wrong(*given):
        return gradient(*given) * {"sign": -1, "nan": np.nan}[how]

    monkeypatch.setattr(guided_search, "gradient", wrong)
    exact, steps = run(cantilever("exact", 2, 20)), run(stiff(2, 20, pairs=1))
    assert {"sign": "wrong sign", "nan": "not finite"}[how] in caplog.text
    assert sum(step.advice.how == "exact" for step in steps) > 10
    assert steps[-1].objective == pytest.approx(exact[-1].objective, rel={"sign": 0.2, "nan": 1e-6}[how])


def test_thresholded_compliance_falls():
    problem, steps = box_of_values(iterations=30), []
    result = morpho.solve(problem, comm=COMM, on_step=steps.append)
    assert all(step.advice.how == "estimate" for step in steps)
    assert result.objective < 0.7 * steps[0].objective
    with Parts(problem, COMM) as parts:
        design = thresholded(COMM, result.rho, parts.mesh.volumes)
        value = Compliance(parts.physics).at(design)[0][0]
    assert result.objective == pytest.approx(value, rel=1e-6)
    assert result.compliance == {"load": result.objective}


FUNCTION = """
import numpy as np


def distance(rho, physics):
    solid = physics.mesh.key % 24 < 12
    return physics.comm.allreduce(float(np.sum((rho - solid) ** 2)))
"""


def test_a_function_of_ones_own(tmp_path):
    (tmp_path / "own.py").write_text(FUNCTION)
    text = morpho.problem.dump_problem(box_of_values("own.py:distance", 60, kind="mma", alpha=1.0, pairs=16))
    (tmp_path / "given.yaml").write_text(text)
    result = morpho.solve(morpho.load_problem(tmp_path / "given.yaml", allow_code=True), comm=COMM)
    assert result.objective < 0.5 * 0.25 * 288
    assert result.compliance == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [("other = 1", "there is no function distance in"), ("import nothing_at_all", "cannot be loaded: ModuleNotFound")],
)
def test_a_function_that_is_not_there(tmp_path, text, said):
    (tmp_path / "own.py").write_text(text)
    with pytest.raises(InputError, match=said):
        Parts(box_of_values(f"{tmp_path / 'own.py'}:distance"), COMM)


def test_what_does_not_go_with_a_black_box():
    given = {"objective": {"kind": "black_box"}, "loads": [{"forces": [{"body": [0, -1]}]}]}
    with pytest.raises(InputError, match="a black box has values only; use guided_es"):
        Parts(make_problem(unit_box("quadrilateral", 4), **given), COMM)
    given["gradient"], given["optimizer"] = {"source": "guided_es"}, {"kind": "mma"}
    bounded = make_problem(unit_box("quadrilateral", 4), constraints=[{"kind": "compliance", "max": 1}], **given)
    with pytest.raises(InputError, match="only constraints of kind volume"):
        Parts(bounded, COMM)
    with pytest.raises(ValueError, match=r"expected thresholded, or file.py:function"):
        make_problem(unit_box("quadrilateral", 4), objective={"kind": "black_box", "value": "f"})


def test_more_groups_than_ranks():
    with pytest.raises(InputError, match=r"groups: got 2 groups for 1 ranks"):
        Parts(stiff(2, 1, groups=2), COMM)


@pytest.mark.parametrize("problem", [stiff(2, 1), cases(1)], ids=["voxel", "assembled"])
def test_communicator_of_a_group_is_freed(problem):
    comm = COMM.Dup()
    with Parts(problem, COMM) as parts:
        assert parts._replica(comm).comm.size == 1
    assert comm == MPI.COMM_NULL


@pytest.mark.parametrize(("ranks", "groups", "kind"), [(2, 2, "2"), (3, 2, "triangles"), (2, 2, "thresholded")])
def test_groups(mpirun, ranks, groups, kind):
    alone = facts(COMM, kind)
    assert_same(json.loads(mpirun(ranks, SCRIPT, kind, groups)), alone, rtol=1e-3)


@pytest.mark.parametrize(
    "problem", [stiff(2, 14, alpha="optimal", seed=3), box_of_values(iterations=14)], ids=["compliance", "box"]
)
def test_resumed_run_goes_the_same_way(problem, tmp_path):
    limit = [f"optimizer.max_iterations={n}" for n in (8, 14)]
    (tmp_path / "given.yaml").write_text(morpho.problem.dump_problem(problem))
    last = ["gradient.last=0"]
    whole = morpho.solve(morpho.load_problem(tmp_path / "given.yaml", limit[1:] + last), tmp_path / "whole", COMM)
    morpho.solve(morpho.load_problem(tmp_path / "given.yaml", limit[:1] + last), tmp_path / "part", COMM)
    resumed = morpho.resume(tmp_path / "part", morpho.load_problem(tmp_path / "part" / "problem.yaml", limit[1:]), COMM)
    assert resumed.objective == pytest.approx(whole.objective, rel=1e-2)
    assert np.abs(resumed.rho - whole.rho).mean() < 1e-2
