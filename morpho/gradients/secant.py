"""The parameter-free two-scale correction: the energies of the last exact solve move as those on the blocks do."""

from __future__ import annotations

import time
from functools import cached_property
from typing import Any, ClassVar, cast

import numpy as np

from morpho.gradients.card import Card
from morpho.gradients.physics import Floats, Physics, from_energies, weight_work_of
from morpho.gradients.two_scale import Tools, TwoScale
from morpho.interfaces import Array, Gradient

CLIP = 50.0  #: largest ratio of exact and coarse energy that is believed, and its inverse
TINY = np.float32(1e-30)


class Secant:
    """e_t = eH_t (e_s / eH_s), with s the last exact design; the ratio is clipped."""

    card: ClassVar = Card(
        summary="multiplicative correction of the coarse energies by those of the last exact design",
        formula="e_t = eH_t (e_s / eH_s)",
        inputs=("density", "energies at the last exact design"),
        steps=(
            "solve on blocks",
            "strain energies of the cells in the blocks",
            "multiply by the ratio at the last exact design",
        ),
        learns="the ratio of exact and coarse energies",
        blocks=True,
    )

    @classmethod
    def make(cls, tools: Tools) -> Secant:
        return cls(tools.physics, tools.two_scale)

    def __init__(self, physics: Physics, two_scale: TwoScale) -> None:
        self.physics, self.two_scale = physics, two_scale
        self.compliance_ratio = np.ones(len(physics.weights))
        self.compliance_offset = np.zeros(len(physics.weights))  #: of pairs, whose difference counts, instead
        self.weight_work: Array | None = None  #: exact minus coarse

    @cached_property
    def ratio(self) -> Floats:
        """(k, n) of exact and coarse energies, the same array as that of other secants (local)."""
        return self.two_scale.ratio

    def estimate(self, rho: Array) -> Gradient:
        """Gradient at rho (n,) (collective)."""
        start = time.perf_counter()
        coarse = self.two_scale.at(rho)
        return from_energies(
            self.physics,
            rho,
            coarse.compliance * self.compliance_ratio + self.compliance_offset,
            self._energy(rho, coarse.energy),
            coarse.weight_work if self.weight_work is None else coarse.weight_work + self.weight_work,
            time.perf_counter() - start,
            coarse.linear_iterations,
        )

    def _energy(self, rho: Array, coarse: Floats) -> Floats:
        """(k, n) strain energies at rho from those on the blocks (collective)."""
        return coarse * self.ratio

    def learn(self, rho: Array, exact: Gradient) -> None:
        """Take an exact gradient at rho as the anchor (collective)."""
        coarse = self.two_scale.at(rho)
        assert exact.energy is not None
        np.divide(exact.energy, np.maximum(coarse.energy, TINY), out=self.ratio, casting="same_kind")
        np.clip(self.ratio, 1 / CLIP, CLIP, out=self.ratio)
        self._take_values(exact, coarse.compliance)
        if coarse.weight_work is not None:
            self.weight_work = weight_work_of(self.physics, rho, exact) - coarse.weight_work

    def _take_values(self, exact: Gradient, coarse: Array) -> None:
        """Take exact compliances as those that estimates start from (local)."""
        pairs = slice(exact.n_given, None)
        self.compliance_ratio[:] = exact.cases / coarse
        self.compliance_ratio[pairs] = 1.0
        self.compliance_offset[pairs] = exact.cases[pairs] - coarse[pairs]

    def save(self) -> tuple[dict[str, Array], dict[str, Any]]:
        """(n,) or (n, k) arrays and JSON values for a checkpoint (local)."""
        arrays = {"ratio": cast(Array, self.ratio.T)}
        if self.weight_work is not None:
            arrays["weight_work"] = self.weight_work.T.copy()
        both = {"compliance_ratio": self.compliance_ratio, "compliance_offset": self.compliance_offset}
        return arrays, {name: values.tolist() for name, values in both.items()}

    def restore(self, arrays: dict[str, Array], values: dict[str, Any]) -> None:
        """What `save` gave (local)."""
        self.ratio[:] = arrays["ratio"].T
        self.compliance_ratio = np.array(values["compliance_ratio"])
        self.compliance_offset = np.array(values.get("compliance_offset", np.zeros(len(self.compliance_ratio))))
        if "weight_work" in arrays:
            self.weight_work = np.ascontiguousarray(arrays["weight_work"].T)
