"""Decoupled gradients for designs, after Jaderberg et al. (2017) and Bisong (2017).

    e_t = eH_t M(phi_t),    |M(phi_s) - e_s / eH_s|^2 -> min  when e_s arrives, some iterations after s

e is the strain energy of a cell at unit stiffness, eH the same in the displacement of its block, phi what `features`
sees of the present design alone. The exact solves are those of snapshots s of the design, beside the design loop.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from morpho.fem.blocks import CoarseState
from morpho.gradients.architectures import layers
from morpho.gradients.card import Card
from morpho.gradients.decoupling import Decoupled, Emulated, Solver
from morpho.gradients.features import NAMES, Snapshot
from morpho.gradients.physics import Floats, Material, Physics, from_state, relative_error
from morpho.gradients.secant import CLIP, TINY, Secant
from morpho.gradients.synthesiser import EnergySynthesiser
from morpho.gradients.two_scale import Tools, TwoScale
from morpho.interfaces import Array, Gradient
from morpho.problem.gradient_spec import DniSpec

log = logging.getLogger("morpho")


@dataclass(frozen=True)
class Point:
    """A design, and what is needed of it when its exact gradient arrives."""

    iteration: int
    rho: Array  #: (n,)
    material: Material
    coarse: CoarseState
    features: Snapshot | None  #: None if there will be no exact gradient


class Dni(Secant):
    """The synthesiser, with the secant at the newest snapshot in its stead while it is the worse one."""

    card: ClassVar = Card(
        summary="a synthesiser goes ahead while the exact gradients of earlier designs are under way",
        formula="e_t = eH_t M(phi_t); |M(phi_s) - e_s / eH_s|^2 -> min when e_s arrives",
        inputs=("density", "exact gradients of snapshots, some iterations late"),
        steps=(
            "hand a snapshot of the design to the solver when that is free",
            "solve on blocks",
            "strain energies of the cells in the blocks",
            "features: densities and energies at several radii",
            "synthesiser, one hidden layer, the same for all cells",
        ),
        learns="the synthesiser; then the ratio of exact and coarse energies, the fallback while it is the better",
        blocks=True,
        corrected=False,
        networks={"mlp": layers("mlp", len(NAMES), DniSpec().hidden)},
        carries="compliance",
    )

    @classmethod
    def make(cls, tools: Tools) -> Dni:
        return cls(tools.physics, tools.two_scale, tools.spec.dni, tools.spec.correction_rtol, tools.solvers)

    def __init__(
        self,
        physics: Physics,
        two_scale: TwoScale,
        spec: DniSpec,
        rtol: float | None,
        solvers: Solver[Point, Gradient] | None = None,
    ) -> None:
        """A synthesiser that says nothing yet.

        Args:
            rtol: relative residual of the solves of snapshots, None for solver.rtol.
            solvers: ranks that do these; None: all ranks do, and the gradient counts as arrived spec.latency later.
        """
        super().__init__(physics, two_scale)
        self.spec, self.rtol = spec, rtol
        self.synthesiser = EnergySynthesiser(physics, two_scale, spec)
        self.network = self.synthesiser.network  #: that of the card
        self.decoupled: Decoupled[Point, Gradient] = Decoupled(
            self, solvers or Emulated(self._solve, spec.latency), spec.max_delay
        )
        self.now = 0  #: designs so far
        self.newest = 0  #: the newest one with an exact gradient
        self.stands_in = False  #: whether the secant does
        self.lost = False  #: whether the last error was larger than that of saying nothing, of both of them
        self._rho: Array | None = None
        self._iterations = 0  #: linear iterations that have not been counted yet
        self._unfinished: tuple[Array, int] | None = None  #: snapshot under way at a checkpoint, and its step

    def estimate(self, rho: Array) -> Gradient:
        """Gradient at rho (n,) (collective)."""
        start = time.perf_counter()
        self._count(rho)
        if self._unfinished is not None:
            (rho_then, then), self._unfinished = self._unfinished, None
            self.decoupled.ask(self._point(rho_then, then, seen=True), then)
        self.decoupled.receive(self.now)
        reason = self._reason()
        point = self._point(rho, self.now, seen=self.decoupled.at is None or bool(reason))
        if reason:
            log.warning(f"step {self.now}: {reason}; an exact gradient here and now")
            gradient = self._solve(point)
            self.take_in(point, gradient, 0)
        else:
            gradient = self.decoupled.step(point, self.now)
        taken, self._iterations = self._iterations, 0
        return replace(gradient, linear_iterations=taken, seconds=time.perf_counter() - start)

    def learn(self, rho: Array, exact: Gradient) -> None:
        """Take in an exact gradient at rho that the supervisor asked for (collective)."""
        self._count(rho)
        self._learn(self._point(rho, self.now, seen=True), exact, "")

    def predict(self, at: Point) -> Gradient:
        """The synthetic gradient at the present design (collective)."""
        return super().estimate(at.rho)

    def take_in(self, at: Point, true: Gradient, delay: int) -> None:
        """Note the errors on the exact gradient of a snapshot, then learn from it (collective)."""
        self._iterations += true.linear_iterations
        self._learn(at, true, f", {delay} late")

    def _count(self, rho: Array) -> None:
        """Note a new design (local)."""
        if rho is not self._rho:
            self.now, self._rho = self.now + 1, rho

    def _reason(self) -> str:
        """Why going on without an exact gradient at the present design would not do, empty if it does (local)."""
        if self.lost:
            return "the last estimates were worse than none"
        if self.now - self.newest > 2 * self.spec.max_delay:
            return f"no exact gradient since step {self.newest}"
        return ""

    def _point(self, rho: Array, iteration: int, seen: bool) -> Point:
        """A design, with its features if there will be an exact gradient (collective)."""
        coarse = self.two_scale.at(rho)
        return Point(iteration, rho, self.physics.material, coarse, self.synthesiser.look(rho) if seen else None)

    def _solve(self, at: Point) -> Gradient:
        """The exact gradient at the present design, to the tolerance of corrections (collective)."""
        self.two_scale.improve(at.rho)
        self.two_scale.rest()
        exact = from_state(self.physics, self.physics.solve(at.rho, self.rtol))
        self.two_scale.follow(at.rho)
        return exact

    def _energy(self, rho: Array, coarse: Floats) -> Floats:
        if self.stands_in:
            return super()._energy(rho, coarse)
        return self.synthesiser.energies(self.synthesiser.look(rho), coarse)

    def _learn(self, at: Point, exact: Gradient, late: str) -> None:
        """Errors, training, anchor (collective)."""
        assert exact.energy is not None and at.features is not None
        slope, coarse = at.material.derivative(at.rho), at.coarse
        guesses = self.synthesiser.energies(at.features, coarse.energy), coarse.energy * self.ratio
        own, secant = (self._error(slope * (guess - exact.energy), exact) for guess in guesses)
        self.stands_in, self.lost = own > secant, min(own, secant) > 1
        log.info(
            f"exact gradient of step {at.iteration}{late}: error of the synthesiser {own:.3f}, of the secant "
            f"{secant:.3f}{'; falls back to secant' if self.stands_in else ''}"
        )
        ratio: Floats = (exact.energy / np.maximum(coarse.energy, TINY)).astype(np.float32)
        np.clip(ratio, 1 / CLIP, CLIP, out=ratio)
        if self.newest:  # the first design is often uniform, which would scale the features wrongly
            stiffness = at.material.stiffness(at.rho) * (at.rho > 0)
            self.synthesiser.train(at.features, stiffness * exact.energy, ratio)
        if at.iteration >= self.newest:
            self.newest, self.ratio[:] = at.iteration, ratio
            np.divide(exact.cases, coarse.compliance, out=self.compliance_ratio)
            if coarse.weight_work is not None:
                self.weight_work = np.asarray((exact.d_cases + slope * exact.energy) / 2 - coarse.weight_work)

    def _error(self, off: Array, exact: Gradient) -> float:
        """Relative 2-norm of the difference (k, n) to an exact gradient (collective)."""
        return relative_error(self.physics.comm, self.physics.weights @ off, exact.d_compliance)

    def save(self) -> tuple[dict[str, Array], dict[str, Any]]:
        """Arrays of this rank's cells and JSON values for a checkpoint (local).

        A snapshot under way is solved again after resuming.
        """
        arrays, values = super().save()
        under_way = self.decoupled.at
        if under_way is not None:
            arrays["snapshot"] = under_way.rho
        return arrays, values | {
            "synthesiser": self.synthesiser.save(),
            "now": self.now,
            "newest": self.newest,
            "stands_in": self.stands_in,
            "lost": self.lost,
            "asked": self.decoupled.asked,
        }

    def restore(self, arrays: dict[str, Array], values: dict[str, Any]) -> None:
        """What `save` gave (local)."""
        super().restore(arrays, values)
        self.synthesiser.restore(values["synthesiser"])
        self.now, self.newest = values["now"], values["newest"]
        self.stands_in, self.lost = values["stands_in"], values["lost"]
        if "snapshot" in arrays:
            self._unfinished = arrays["snapshot"], values["asked"]
