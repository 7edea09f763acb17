"""Reference experiments of Sobolev training (Czarnecki et al. 2017), on the loss and network of `source: sobolev`.

The regressions of the paper are on the loss of the source, with the usual network of such experiments and with its own.

Bars in series: a block of d cells of stiffness E that is stretched by one. Its energy is that of the harmonic mean of
E, and the derivative of the energy with respect to E is known; q is the energy of uniform strain.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
import torch
from scipy.stats import qmc

from morpho.fem.material import Simp
from morpho.gradients.adam import Adam
from morpho.gradients.energy_network import COLUMNS, EnergyNetwork, normalised, perceptron, sobolev_loss

D = 8  #: cells of a block
SIMP = Simp(1.0, 1e-6, 3.0)
STEP = 1e-5  #: of central differences
SHARE = np.full((1, D), 1 / D)


def bars(m, seed):
    """Samples (m, COLUMNS, D) of bars in series."""
    rho = np.random.default_rng(seed).uniform(0.3, 1, (m, D))
    s = SIMP.stiffness(rho)
    stress = 1 / (1 / s).mean(axis=1, keepdims=True)
    samples = np.empty((m, COLUMNS, D))
    for column, values in enumerate((s, 1 / D, (stress / s) ** 2 / D, SIMP.derivative(rho), 1 / D)):
        samples[:, column] = values
    return samples


def trained(form, steps=300):
    network = EnergyNetwork(16, form, seed=1)
    network.train(normalised(bars(200, 0)), steps)
    network.layers.double()
    return network


@pytest.fixture(scope="module")
def network():
    return trained("full")


def predicted(network, rho):
    """W and dW / d rho of one block."""
    value, energy = network.predict(SIMP.stiffness(rho)[None], np.full((1, 1, D), 1 / D), SHARE)
    return value[0, 0], SIMP.derivative(rho) * energy[0, 0]


def without_coupling(network, rho):
    """What a network of the derivative would be: every cell on its own."""
    ratio = network._ratio(torch.tensor(SIMP.stiffness(rho)[None]), torch.tensor(SHARE))
    return SIMP.derivative(rho) / D * ratio[0].detach().numpy()


def jacobian(gradient, rho):
    return np.column_stack([(gradient(rho + h) - gradient(rho - h)) / (2 * STEP) for h in STEP * np.eye(D)])


def asymmetry(J):
    return np.abs(J - J.T).max() / np.abs(J).max()


@pytest.mark.parametrize("seed", range(3))
def test_gradient_is_the_derivative_of_the_predicted_energy(network, seed):
    rho = np.random.default_rng(seed).uniform(0.2, 1, D)
    _, gradient = predicted(network, rho)
    by_differences = jacobian(lambda r: np.array([predicted(network, r)[0]]), rho)[0]
    np.testing.assert_allclose(gradient, by_differences, rtol=0, atol=1e-6 * np.abs(gradient).max())


@pytest.mark.parametrize("seed", range(3))
def test_gradient_has_no_curl(network, seed):
    """Its Jacobian is symmetric; that of cells on their own is not."""
    rho = np.random.default_rng(seed).uniform(0.2, 1, D)
    assert asymmetry(jacobian(lambda r: predicted(network, r)[1], rho)) < 1e-6
    assert asymmetry(jacobian(lambda r: without_coupling(network, r), rho)) > 1e-2


def test_energy_of_bars_in_series(network):
    """On blocks it has not seen; derivatives in the training halve the error of the derivative."""
    s, q, e, slope, share = bars(300, 5).transpose(1, 0, 2)
    stress = (s * e).sum(1)

    def errors(net):
        value, energy = net.predict(s, q[None], share)
        off = slope * (energy[0] - e)
        return tuple(np.linalg.norm(a) / np.linalg.norm(b) for a, b in ((value[0] - stress, stress), (off, slope * e)))

    untrained, full, value = errors(EnergyNetwork()), errors(network), errors(trained("value"))
    assert full[0] < 0.1 * untrained[0] and full[1] < 0.2 * untrained[1]
    assert full[1] < 0.5 * value[1]


def styblinski_tang(x):
    return (x**4 - 16 * x**2 + 5 * x).sum(1) / 2, 2 * x**3 - 16 * x + 2.5


def rosenbrock(x):
    x, y = x.T
    slope = y - x**2
    return (1 - x) ** 2 + 100 * slope**2, np.column_stack([-2 * (1 - x) - 400 * x * slope, 200 * slope])


FUNCTIONS = {"Styblinski-Tang": (styblinski_tang, 5.0), "Rosenbrock": (rosenbrock, 2.0)}
HIDDEN, RATE, STEPS = 20, 3e-3, 1500


def usual(random):
    """Network and optimizer as usual."""
    inner = [torch.nn.Linear(2, HIDDEN), torch.nn.Tanh(), torch.nn.Linear(HIDDEN, HIDDEN), torch.nn.Tanh()]
    net = torch.nn.Sequential(*inner, torch.nn.Linear(HIDDEN, 1))
    adam = torch.optim.Adam(net.parameters(), RATE)

    def step(gradients):
        for p, gradient in zip(net.parameters(), gradients, strict=True):
            p.grad = gradient
        adam.step()

    return net, step


def own(random):
    """Those of the source: wider initial weights, and weight decay."""
    net = perceptron(2, 32, random)
    return net, Adam(list(net.parameters())).step


def errors(make, function, form, points, seed):
    """Of values and of gradients, relative 2-norms on 2000 points that were not trained on.

    Those that were fill the square evenly.
    """
    f, half = FUNCTIONS[function]
    even = qmc.Halton(2, scramble=True, seed=seed).random(points)
    places = [2 * even - 1, np.random.default_rng(seed).uniform(-1, 1, (2000, 2))]
    (y, dy), (values, expected) = (f(half * x) for x in places)
    unit = y.std()
    dy, expected, values = half * dy / unit, half * expected / unit, (values - y.mean()) / unit
    size = np.sqrt((dy**2).sum(1).mean())
    x, target, d_target = (torch.tensor(a, dtype=torch.float32) for a in (places[0], (y - y.mean()) / unit, dy))
    x.requires_grad_()
    random = torch.manual_seed(seed)
    net, step = make(random)
    for _ in range(STEPS):
        value = net(x).squeeze(1)
        d_off = None
        if form != "value":
            d_off = (torch.autograd.grad(value.sum(), x, create_graph=True)[0] - d_target) / size
        step(torch.autograd.grad(sobolev_loss(value - target, d_off, form, 1.0, random), list(net.parameters())))
    x = torch.tensor(places[1], dtype=torch.float32, requires_grad=True)
    value = net(x).squeeze(1)
    found = torch.autograd.grad(value.sum(), x)[0].numpy()
    pairs = ((value.detach().numpy(), values), (found, expected))
    return [np.linalg.norm(ours - theirs) / np.linalg.norm(theirs) for ours, theirs in pairs]


@pytest.fixture(scope="module")
def medians():
    """Median errors over seeds, of values and of gradients, each trained once."""
    return lru_cache(
        lambda make, function, form, points, seeds: np.median(
            [errors(make, function, form, points, seed) for seed in range(seeds)], axis=0
        )
    )


FEW = pytest.mark.xfail(
    strict=True, reason="of the source's own network derivatives lower the error with 20 points by 1.8 and 1.9 times"
)


@pytest.mark.parametrize(
    ("make", "seeds", "points"),
    [
        pytest.param(usual, 5, 20, marks=pytest.mark.slow),
        pytest.param(usual, 5, 100, marks=pytest.mark.slow),
        pytest.param(own, 3, 20, marks=FEW),
        pytest.param(own, 3, 100, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_derivatives_in_the_training_halve_the_error_of_the_gradient(medians, function, make, seeds, points):
    full, value = (medians(make, function, form, points, seeds)[1] for form in ("full", "value"))
    assert full <= value / 2


@pytest.mark.parametrize("points", [20, 100])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_derivatives_in_the_training_halve_the_error_of_the_value(medians, function, points):
    """What the paper claims."""
    full, value = (medians(usual, function, form, points, 5)[0] for form in ("full", "value"))
    assert full <= value / 2


def test_stochastic_loss_has_the_mean_of_the_full_one():
    """So have its derivatives with respect to the weights; with copies of a batch, each with directions of its own."""
    random = torch.Generator().manual_seed(0)
    net = perceptron(D, 16, random)
    torch.nn.init.ones_(net[-1].weight)
    x = torch.randn((20, D), generator=random).requires_grad_()
    value = net(x).squeeze(1)
    d_off = torch.autograd.grad(value.sum(), x, create_graph=True)[0] - 0.5
    copies = 4000
    full = sobolev_loss(value, d_off, "full", 1.0, random)
    stochastic = sobolev_loss(value.repeat(copies), d_off.repeat(copies, 1), "stochastic", 1.0, random)
    assert float(stochastic) == pytest.approx(float(full), rel=0.02)
    weights = list(net.parameters())[:-1]  # the last bias is not in the derivatives
    for expected, found in zip(
        *(torch.autograd.grad(loss, weights, retain_graph=True) for loss in (full, stochastic)), strict=True
    ):
        assert float((found - expected).norm()) < 0.02 * float(expected.norm())
