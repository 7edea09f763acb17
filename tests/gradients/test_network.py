"""The networks of `onsg`: what they are made of, what they learn, and runs with each of them."""

from __future__ import annotations

import json

from mpi4py import MPI

import numpy as np
import pytest
from architecture_problems import given, on_triangles
from helpers import box, random_cells
from two_scale_problems import cantilever

import morpho
from morpho.errors import InputError
from morpho.gradients import Tools, create
from morpho.gradients.architectures import ARCHITECTURES, layers, parameters
from morpho.gradients.exact import Exact
from morpho.gradients.kernels import perceptron
from morpho.gradients.network import ROUNDED, Network, convolved
from morpho.gradients.patches import BlocksOfTwo, SingleCells
from morpho.parts import Parts
from morpho.run import iterate

DEEP = ("residual", "conv")
LONGER = ["optimizer.max_iterations=9"]
PATCH = {"mlp": (), "residual": (), "conv": (2, 2)}


def run(problem):
    return list(iterate(problem, MPI.COMM_SELF))


def network(architecture, features=4, hidden=16, batch=256, **more):
    return Network(features, hidden, batch, 1, architecture, PATCH[architecture], **more)


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("dim", [2, 3])
def test_built_as_described(architecture, dim):
    patch = (2,) * dim if architecture == "conv" else ()
    own = Network(20, 8, 64, 0, architecture, patch)
    described = layers(architecture, 20, 8, dim)
    assert own.layers == described
    assert [sum(p.numel() for p in made.parameters()) for made in own.maps] == [layer.parameters for layer in described]
    assert sum(p.numel() for p in own.adam.parameters) == parameters(described)


def test_number_of_parameters():
    assert parameters(layers("mlp", 20, 24)) == 20 * 24 + 24 + 24
    assert parameters(layers("residual", 20, 24)) == 20 * 24 + 24 + 2 * (24 * 24 + 24) + 24
    assert parameters(layers("conv", 20, 24, 3)) == 27 * 20 * 24 + 24 + 27 * 24 * 24 + 24 + 24


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_says_nothing_at_first(architecture):
    np.testing.assert_array_equal(network(architecture).infer(numbers(64, 4)), 0)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_learns_a_function_of_the_cell(architecture):
    own, x = network(architecture), numbers(4096, 4)
    wanted = x[:, 0] * x[:, 1] + np.abs(x[:, 2])
    own.train(x, x[:, :0], wanted, 1500)
    fresh = numbers(1024, 4, seed=1)
    off = own.infer(fresh) - (fresh[:, 0] * fresh[:, 1] + np.abs(fresh[:, 2]))
    assert np.sqrt(np.mean(off**2)) < 0.3 * np.std(wanted)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_learns_differences(architecture):
    own, after, before = network(architecture), numbers(4096, 4), numbers(4096, 4, seed=1)
    own.train(after, before, after[:, 0] - before[:, 0], 600)
    one, other = numbers(512, 4, seed=2), numbers(512, 4, seed=3)
    off = own.infer(one) - own.infer(other) - (one[:, 0] - other[:, 0])
    assert np.sqrt(np.mean(off**2)) < 0.15


def test_only_convolutions_see_the_rest_of_the_patch():
    """The target of a cell is a feature of the next one in its block."""
    x = numbers(4096, 4)
    wanted = x.reshape(-1, 4, 4)[:, [1, 0, 3, 2], 0].ravel()
    errors = {}
    for architecture in ARCHITECTURES:
        own = network(architecture)
        own.train(x, x[:, :0], wanted, 600)
        errors[architecture] = np.std(own.infer(x) - wanted) / np.std(wanted)
    assert errors["conv"] < 0.2
    assert min(errors["mlp"], errors["residual"]) > 0.9


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_inference_in_chunks(architecture):
    own, x = network(architecture), numbers(800, 4)
    own.train(x, x[::-1].copy(), numbers(800), 20)
    whole = own.infer(x)
    parts = np.concatenate([own.infer(x[start : start + 80]) for start in range(0, 800, 80)])
    np.testing.assert_allclose(parts, whole, atol=1e-5 * np.abs(whole).max())
    if architecture == "mlp":
        weights, compiled = own.weights(), np.empty(512, np.float32)
        perceptron(compiled, np.ascontiguousarray(x[:512].T), 512, weights.W, weights.b, weights.w)
        np.testing.assert_allclose(compiled, whole[:512], atol=1e-4 * np.abs(whole).max())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_restored_network_trains_the_same_way(architecture):
    x, y = numbers(512, 4), numbers(512)
    own, other = network(architecture), network(architecture)
    own.train(x, x[:, :0], y, 20)
    other.restore(json.loads(json.dumps(own.save())))
    for each in (own, other):
        each.train(x, x[:, :0], y, 20)
    np.testing.assert_array_equal(own.infer(x), other.infer(x))


def test_loss_with_values():
    import torch

    out, target, value = (torch.from_numpy(numbers(n, seed=seed)) for seed, n in enumerate((20, 10, 10)))
    plain, both = network("mlp"), network("mlp", value_weight=0.5)
    after, before = out[:10], out[10:]
    error = torch.nn.functional.smooth_l1_loss
    difference, absolute = (error(a, b, beta=ROUNDED) for a, b in ((after - before, target), (after, value)))
    assert plain.loss(out, target).item() == pytest.approx(difference.item())
    assert both.loss(out, target, value).item() == pytest.approx((difference + 0.5 * absolute).item())
    assert plain.loss(after, target).item() == pytest.approx(error(after, target, beta=ROUNDED).item())


def test_values_fix_what_differences_leave_open():
    """Differences say nothing of a constant."""
    after, before = numbers(2048, 4), numbers(2048, 4, seed=1)
    off = {}
    for weight in (0.0, 1.0):
        own = network("mlp", value_weight=weight)
        value = [after[:, 0] + 2] if weight else []
        own.train(after, before, after[:, 0] - before[:, 0], 800, *value)
        off[weight] = np.abs(np.mean(own.infer(after) - after[:, 0] - 2))
    assert off[1.0] < 0.2 < 1 < off[0.0]


@pytest.mark.parametrize("shape", [(6, 4), (7, 5), (4, 5, 3)])
def test_blocks_of_two(shape):
    cells = np.indices(shape[::-1])
    blocks = [-(-n // 2) for n in shape[::-1]]
    owner = np.ravel_multi_index(tuple(cells // 2), blocks).ravel()
    patches = BlocksOfTwo(owner, int(np.prod(blocks)), len(shape))
    found = patches.around(np.arange(owner.size))
    assert len(found) == np.prod([n // 2 for n in shape])
    assert (owner[found] == owner[found[:, :1]]).all()
    place = np.array(np.unravel_index(found, shape[::-1]))
    expected = np.indices((2,) * len(shape)).reshape(len(shape), 1, -1)
    np.testing.assert_array_equal(place - place[:, :, :1], np.broadcast_to(expected, place.shape))
    assert patches.around(found[0, 1:2]).tolist() == found[:1].tolist()
    assert patches.around(np.arange(0)).shape == (0, 2 ** len(shape))


@pytest.mark.parametrize("patch", [(2, 2), (2, 2, 2)])
def test_the_matrix_of_a_convolution_is_that_of_torch(patch):
    import torch

    kind = torch.nn.Conv2d if len(patch) == 2 else torch.nn.Conv3d
    own, x = kind(5, 7, 3, padding=1), torch.from_numpy(numbers(6, 5, *patch))
    found = convolved(own, x.flatten(2).movedim(1, 2), patch)
    torch.testing.assert_close(found, own(x).flatten(2).movedim(1, 2), rtol=1e-5, atol=1e-5)


def test_single_cells():
    assert SingleCells().around(np.array([3, 5])).tolist() == [[3], [5]]


def sources_of(parts, *names):
    tools = Tools(parts.physics, parts.problem.gradient)
    return [create(name, parts.physics, tools) for name in names]


def taught(parts, *sources, low=0.2):
    for seed in range(3):
        rho = random_cells(parts.mesh, low, 1.0, seed)
        gradient = Exact(parts.physics).estimate(rho)
        for source in sources:
            source.learn(rho, gradient)
    return rho, gradient


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("dim", [2, 3])
def test_network_that_says_nothing_is_the_secant(architecture, dim):
    with Parts(given(dim, architecture=architecture), MPI.COMM_SELF) as parts:
        onsg, secant = sources_of(parts, "onsg", "secant")
        taught(parts, onsg, secant)
        onsg.network.adam.take([np.zeros_like(values) for values in onsg.network.adam.values()])
        onsg._share()
        onsg._anchor(onsg.past[-1])
        rho = random_cells(parts.mesh, 0.1, 1.0, 7)
        np.testing.assert_allclose(onsg.estimate(rho).d_cases, secant.estimate(rho).d_cases, rtol=1e-4)


@pytest.mark.parametrize("architecture", DEEP)
def test_nothing_changed_is_exact(architecture):
    with Parts(given(3, architecture=architecture), MPI.COMM_SELF) as parts:
        (onsg,) = sources_of(parts, "onsg")
        rho, gradient = taught(parts, onsg, low=0.6)
        found = onsg.estimate(rho)
    np.testing.assert_allclose(found.d_cases, gradient.d_cases, rtol=1e-4)


def test_cells_of_cut_blocks_have_the_secant():
    problem = cantilever("onsg", 2, onsg={"architecture": "conv"})
    problem = problem.model_copy(update={"mesh": type(problem.mesh).model_validate(box([25, 13], [2.0, 1.04]))})
    with Parts(problem, MPI.COMM_SELF) as parts:
        onsg, secant = sources_of(parts, "onsg", "secant")
        taught(parts, onsg, secant)
        rho = random_cells(parts.mesh, 0.1, 1.0, 7)
        found, plain = (source.estimate(rho).d_cases[0] for source in (onsg, secant))
    cut = (parts.mesh.key % 25 == 24) | (parts.mesh.key // 25 == 12)
    np.testing.assert_allclose(found[cut], plain[cut], rtol=1e-4)
    assert (np.abs(found - plain)[~cut] > 1e-3 * np.abs(plain[~cut])).mean() > 0.5


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_samples_are_whole_patches_in_the_order_of_their_keys(architecture):
    with Parts(given(3, architecture=architecture), MPI.COMM_SELF) as parts:
        (onsg,) = sources_of(parts, "onsg")
        cells = onsg._pick(np.ones(parts.mesh.n))
        (density,) = onsg._together(cells, onsg.keys[cells].astype(np.float32))
        size = onsg.patches.size
        assert len(cells) == pytest.approx(onsg.samples, rel=0.25)
    first = density.reshape(-1, size)[:, 0]
    assert (np.diff(first) > 0).all()
    assert (density.reshape(-1, size) >= first[:, None]).all()


@pytest.mark.parametrize("options", [{"architecture": "residual"}, {"architecture": "conv"}, {"value_weight": 0.5}])
@pytest.mark.parametrize("dim", [2, 3])
def test_objective_near_the_exact_one(options, dim):
    exact, own = run(cantilever("exact", dim, 60)), run(given(dim, 60, **options))
    assert own[-1].objective == pytest.approx(exact[-1].objective, rel=0.03)
    assert sum(step.advice.how == "estimate" for step in own) > 10


@pytest.mark.parametrize("architecture", ["residual", "conv"])
def test_plain_form(architecture):
    own = run(given(2, 12, architecture=architecture, form="plain"))
    assert own[-1].objective < own[0].objective


def test_residual_on_triangles():
    exact, own = run(on_triangles(40)), run(on_triangles(40, architecture="residual"))
    assert own[-1].objective == pytest.approx(exact[-1].objective, rel=0.03)


@pytest.mark.parametrize("options", [{"architecture": "residual"}, {"architecture": "conv"}, {"value_weight": 0.5}])
def test_resumed_run_goes_the_same_way(options, tmp_path):
    limit = [f"optimizer.max_iterations={n}" for n in (14, 24)]
    problem = given(2, 24, **options)
    problem = problem.model_copy(update={"gradient": problem.gradient.model_copy(update={"last": 0})})
    (tmp_path / "given.yaml").write_text(morpho.problem.dump_problem(problem))
    whole = morpho.solve(morpho.load_problem(tmp_path / "given.yaml", limit[1:]), tmp_path / "whole", MPI.COMM_SELF)
    morpho.solve(morpho.load_problem(tmp_path / "given.yaml", limit[:1]), tmp_path / "part", MPI.COMM_SELF)
    longer = morpho.load_problem(tmp_path / "part" / "problem.yaml", limit[1:])
    resumed = morpho.resume(tmp_path / "part", longer, MPI.COMM_SELF)
    assert resumed.objective == pytest.approx(whole.objective, rel=2e-3)


def test_resumed_with_another_network(tmp_path):
    problem = given(2, 6, architecture="residual")
    morpho.solve(problem, tmp_path, MPI.COMM_SELF)
    longer = [*LONGER, "gradient.onsg.value_weight=0.5"]
    resumed = morpho.resume(tmp_path, morpho.load_problem(tmp_path / "problem.yaml", longer), MPI.COMM_SELF)
    assert np.isfinite(resumed.objective)
    limit = f"optimizer.max_iterations={resumed.iterations + 4}"
    other = morpho.load_problem(tmp_path / "problem.yaml", [limit, "gradient.onsg.architecture=mlp"])
    assert np.isfinite(morpho.resume(tmp_path, other, MPI.COMM_SELF).objective)
    log = (tmp_path / "log.txt").read_text()
    assert "gradient.onsg.architecture was residual and is mlp: onsg starts to learn afresh" in log


def test_convolutions_need_a_box():
    with pytest.raises(InputError, match=r"gradient.onsg.architecture: conv needs a box of equal cells"):
        Parts(on_triangles(architecture="conv"), MPI.COMM_SELF)


@pytest.mark.parametrize("architecture", DEEP)
def test_a_network_that_goes_wrong_is_caught(architecture, monkeypatch):
    """The secant stands in, or a correction does."""
    monkeypatch.setattr(Network, "infer", lambda self, samples: np.full(len(samples), np.nan, np.float32))
    steps = run(cantilever("onsg", 2, 12, every=3, enough=0, onsg={"architecture": architecture}))
    assert all(step.advice.how != "estimate" and np.isfinite(step.gradient.d_compliance).all() for step in steps)
    assert steps[-1].objective < 0.5 * steps[0].objective
