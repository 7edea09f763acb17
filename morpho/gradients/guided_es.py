"""Guided evolution strategies on densities: a gradient from values alone, see `guided_search`."""

from __future__ import annotations

import time
from collections import deque
from typing import Any, ClassVar

import numpy as np

from morpho.gradients import guided_search
from morpho.gradients.card import Card
from morpho.gradients.guided_search import Search
from morpho.gradients.pairs import Pairs, make_pairs
from morpho.gradients.physics import Physics, from_state
from morpho.gradients.secant import Secant
from morpho.gradients.two_scale import Tools, TwoScale
from morpho.gradients.values import Compliance, Value, make_value
from morpho.interfaces import Array, Gradient
from morpho.problem.gradient_spec import GuidedEsSpec

LEAST_ALPHA = 0.1  #: of the best one by theory; with 0 nothing would be seen outside of the subspace ever again
DIRECTIONS = 2**32  #: of one seed; the numbers of the next one's begin there
SMOOTHING = 0.2  #: weight of the newest share of the gradient in the subspace


class GuidedEs:
    """Values at pairs of designs on either side of the present one, in directions drawn towards surrogate gradients.

    The surrogate is the secant's gradient of the compliance, anchored at the design before: by the solve that gave its
    value, or by a loose one beside a black box. Densities stay in [0, 1], see `Search.step`. Compliances differ by
    orders of magnitude where a member breaks: the search is for the gradient of their logarithm.
    """

    card: ClassVar = Card(
        summary="values at pairs of designs, in random directions near gradients on blocks",
        formula="g = beta / (2 sigma^2 P) sum_p [f(rho + eps_p) - f(rho - eps_p)] eps_p",
        inputs=("density", "surrogate gradients at the last designs"),
        steps=(
            "solve on blocks, gradient of the compliance times the ratio at the last design: the surrogate",
            "orthonormal basis U of the last surrogates",
            "P directions eps from N(0, sigma^2 (alpha I / n + (1 - alpha) U U' / k))",
            "value at rho + eps and rho - eps: exact solves, or a black box",
            "sum of the directions times the differences",
        ),
        learns="the ratio of exact and coarse energies at every design, for the next surrogate",
        blocks=True,
        corrected=False,
        loose=False,
        carries="compliance",
    )

    @classmethod
    def make(cls, tools: Tools) -> GuidedEs:
        own, value = tools.spec.guided_es, make_value(tools.objective, tools.physics)
        pairs, rtol = make_pairs(tools, value, own.groups), tools.spec.correction_rtol
        return cls(tools.physics, tools.two_scale, value, pairs, own, rtol)

    def __init__(
        self,
        physics: Physics,
        two_scale: TwoScale,
        value: Value,
        pairs: Pairs,
        spec: GuidedEsSpec,
        rtol: float | None = None,
    ) -> None:
        """The search for the gradient of a value.

        Args:
            rtol: relative residual of the solves that anchor the surrogate beside a black box.
        """
        self.physics, self.two_scale, self.value, self.pairs = physics, two_scale, value, pairs
        self.spec, self.rtol = spec, rtol
        self.surrogate = Secant(physics, two_scale)
        self.past: deque[Array] = deque(maxlen=spec.subspace)  #: surrogate gradients, the newest first
        self.compliance = value if type(value) is Compliance else None  #: the value, if it is that and no black box
        #: a compliance gradient is no correction of the gradient of a black box
        self.supervised = self.compliance is not None
        self.drawn = 0  #: directions so far
        self.share = 1.0  #: of the gradient in the subspace, as far as it has been seen

    def estimate(self, rho: Array) -> Gradient:
        """Gradient at rho (n,), with the value there (collective)."""
        start = time.perf_counter()
        surrogate = self.surrogate.estimate(rho)
        self.past.appendleft(surrogate.d_compliance)
        search, beta = self._search()
        d_cases, iterations = self._from_pairs(rho, search, beta)
        values, taken = self.value.at(rho)
        if self.value.relative:
            d_cases *= values[:, None]
        self._see(self.value.weights @ d_cases, search)
        extra = self._anchor(rho)
        if self.compliance is not None and not np.any(getattr(self.physics, "weight_density", 0.0)):
            d_cases = self._without_positive(d_cases)
        return Gradient(
            cases=values,
            d_cases=d_cases,
            weights=self.value.weights,
            kind="estimated",
            linear_iterations=iterations + taken + extra,
            seconds=time.perf_counter() - start,
            coarse_iterations=surrogate.coarse_iterations,
        )

    def learn(self, rho: Array, exact: Gradient) -> None:
        """Take an exact gradient at rho as a surrogate, and as the anchor of those to come (collective)."""
        self.surrogate.learn(rho, exact)
        self.past.appendleft(exact.d_compliance)

    def _search(self) -> tuple[Search, float]:
        """Where to search, and the scale of the estimate (collective)."""
        spec, mesh = self.spec, self.physics.mesh
        basis = guided_search.orthonormal_basis(self.physics.comm, np.array(self.past))
        n, k = mesh.n_global, max(len(basis), 1)
        if isinstance(spec.alpha, float):
            alpha = spec.alpha
        else:
            alpha = max(LEAST_ALPHA, guided_search.best_alpha(n, k, self.share, spec.pairs))
        if isinstance(spec.beta, float):
            beta = spec.beta
        else:
            beta = guided_search.best_beta(n, k, self.share, alpha, spec.pairs)
        return Search(mesh.key, n, basis, spec.sigma * n**0.5, alpha), beta

    def _from_pairs(self, rho: Array, search: Search, beta: float) -> tuple[Array, int]:
        """Estimate (k, n) of the gradients of all values, and linear iterations (collective)."""
        first = self.spec.seed * DIRECTIONS + self.drawn
        numbers = range(first, first + self.spec.pairs)
        self.drawn += self.spec.pairs
        differences, iterations = self.pairs.differences(rho, search, numbers)
        directions = np.array([search.step(rho, number, 0.0, 1.0)[1] for number in numbers])
        return guided_search.gradient(differences, directions, search.sigma, beta), iterations

    def _anchor(self, rho: Array) -> int:
        """Anchor the surrogate of the next design at this one, whose value is known; linear iterations (collective)."""
        state = self.physics.solve(rho, self.rtol) if self.compliance is None else self.compliance.state
        self.two_scale.follow(rho)
        self.surrogate.learn(rho, from_state(self.physics, state))
        return state.linear_iterations if self.compliance is None else 0

    def _without_positive(self, d_cases: Array) -> Array:
        """Gradients (k, n) with their known sign, or as they are if not even their sum has it (collective)."""
        total = self.physics.comm.allreduce(float(np.sum(self.value.weights @ d_cases)))
        return np.minimum(d_cases, 0.0) if total < 0 else d_cases  # else the supervisor has to see it

    def _see(self, estimate: Array, search: Search) -> None:
        """Note how much of the gradient lies in the subspace (collective)."""
        k = len(search.basis)
        if not k or "optimal" not in (self.spec.alpha, self.spec.beta):
            return
        sums = self.physics.comm.allreduce(np.array([*(search.basis @ estimate), estimate @ estimate]))
        inside = float(sums[:-1] @ sums[:-1])
        outside = max(float(sums[-1]) - inside, 0.0)
        seen = guided_search.share_seen(inside, outside, search.n, k, search.alpha, self.spec.pairs)
        self.share += SMOOTHING * (seen - self.share)

    def save(self) -> tuple[dict[str, Array], dict[str, Any]]:
        """Arrays of this rank's cells and JSON values for a checkpoint (local)."""
        arrays, values = self.surrogate.save()
        if self.past:
            arrays["surrogates"] = np.array(self.past).T.copy()
        return arrays, {"surrogate": values, "drawn": self.drawn, "share": self.share}

    def restore(self, arrays: dict[str, Array], values: dict[str, Any]) -> None:
        """What `save` gave (local)."""
        self.surrogate.restore(arrays, values["surrogate"])
        self.drawn, self.share = values["drawn"], values["share"]
        if "surrogates" in arrays:
            self.past.extend(np.ascontiguousarray(arrays["surrogates"].T))
