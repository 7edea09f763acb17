"""Guided evolution strategies on the quadratic of Maheswaranathan et al. (arXiv 1806.10230), with a biased surrogate.

f(x) = |A x - b|^2 / (2 m), and the surrogate is the gradient plus a fixed vector of the gradient's length. All of it is
seen in the eigenvectors of A'A, where a value takes n operations; the normal distribution is the same in any axes.
"""

from __future__ import annotations

from mpi4py import MPI

import numpy as np
import pytest

from morpho.gradients import guided_search
from morpho.gradients.guided_search import Search

M, N = 2000, 1000
SIGMA, ALPHA, RATE, RATE_OF_DESCENT = 0.1, 0.5, 0.2, 5e-3
STEPS = 10_000
KEYS = np.arange(N)


class Quadratic:
    """f - f*, the gradient and the surrogate, in the eigenvectors of A'A."""

    def __init__(self) -> None:
        rng = np.random.RandomState(0)
        A, b, bias = rng.randn(M, N), rng.randn(M), rng.randn(N)
        self.curvature, axes = np.linalg.eigh(A.T @ A / M)
        self.best = axes.T @ (A.T @ b / M) / self.curvature
        self.bias = axes.T @ bias / np.linalg.norm(bias)

    def value(self, x):
        return 0.5 * self.curvature @ (x - self.best) ** 2

    def gradient(self, x):
        return self.curvature * (x - self.best)

    def surrogate(self, x):
        exact = self.gradient(x)
        return exact + np.linalg.norm(exact) * self.bias


def descend(f, estimate, rate):
    """Values at the start, and after every tenth of the steps."""
    x, values = np.zeros(N), [f.value(np.zeros(N))]
    for step in range(STEPS):
        x = x - rate * estimate(x, step)
        if (step + 1) % (STEPS // 10) == 0:
            values.append(f.value(x))
    return values


def by_search(f, guided):
    """The estimate of one antithetic pair, in the subspace of the surrogate or without one."""

    def estimate(x, number):
        vectors = f.surrogate(x)[None] if guided else np.empty((0, N))
        basis = guided_search.orthonormal_basis(MPI.COMM_SELF, vectors)
        search = Search(KEYS, N, basis, SIGMA, ALPHA)
        step, direction = search.step(x, number, -np.inf, np.inf)
        difference = f.value(x + step) - f.value(x - step)
        return guided_search.gradient(np.array([[difference]]), direction[None], SIGMA, beta=1.0)[0]

    return estimate


def test_guided_search_beats_the_biased_surrogate_and_the_plain_search():
    f = Quadratic()
    biased = descend(f, lambda x, _: f.surrogate(x), RATE_OF_DESCENT)
    plain = descend(f, by_search(f, guided=False), RATE)
    guided = descend(f, by_search(f, guided=True), RATE)
    print(f"start {f.value(np.zeros(N)):.4f}; biased, plain, guided after 1000 and {STEPS} steps:")
    print(*(f"{values[1]:.4f} {values[-1]:.4f}" for values in (biased, plain, guided)))
    assert guided[-1] < plain[-1] < biased[-1]
    assert guided[1] < 1.1 * biased[1]
    assert guided[1] < plain[1] / 3


@pytest.mark.parametrize(("alpha", "pairs"), [(0.5, 1), (0.2, 4), (1.0, 2)])
def test_bias_and_variance_of_the_estimate(alpha, pairs):
    """Of a linear function: bias^2 = 1 - 2 beta S1 + beta^2 S2, variance = beta^2 (S1 + S2) / P."""
    n, k, beta, samples = 40, 3, 1.3, 40_000
    rng = np.random.default_rng(0)
    slope = rng.standard_normal(n)
    slope /= np.linalg.norm(slope)
    basis = guided_search.orthonormal_basis(MPI.COMM_SELF, rng.standard_normal((k, n)) + slope)
    search = Search(np.arange(n), n, basis, 0.1, alpha)
    directions = np.array([sum(search.draw(number)) for number in range(samples * pairs)]).reshape(samples, pairs, n)
    differences = 2 * directions @ slope
    found = np.array(
        [guided_search.gradient(d[:, None], e, 0.1, beta)[0] for d, e in zip(differences, directions, strict=True)]
    )
    share = float(np.sum((basis @ slope) ** 2))
    S1, S2 = guided_search.eigenvalue_sums(n, k, share, alpha)
    variance = np.mean(np.sum((found - found.mean(axis=0)) ** 2, axis=1))
    bias = np.sum((found.mean(axis=0) - slope) ** 2) - variance / samples
    assert bias == pytest.approx(1 - 2 * beta * S1 + beta**2 * S2, rel=0.02)
    assert variance == pytest.approx(beta**2 * (S1 + S2) / pairs, rel=0.02)
