"""Koopman jumps: the optimizer's own trajectory, extrapolated, after Dogra & Redman (NeurIPS 2020).

Every gradient is exact. A window of successive designs is recorded; where one linear operator takes each of them to the
next, it is applied many times at once, and one exact solve at the landing decides whether that was an improvement.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from morpho.errors import SolverError
from morpho.gradients import dmd
from morpho.gradients.card import Card
from morpho.gradients.dmd import Extrapolation
from morpho.gradients.physics import Physics, from_state
from morpho.gradients.two_scale import Tools
from morpho.interfaces import Array, DesignMap, Gradient, GradientSource
from morpho.parallel import global_dot, global_max, global_sum
from morpho.problem.gradient_spec import KoopmanSpec

log = logging.getLogger("morpho")

FLOOR = 1e-3  #: share of a design variable that a jump leaves: from zero, optimality criteria could not come back
LEVEL = 1e-9  #: to which the volume is kept


class Koopman:
    """Exact gradients, and jumps in the design between them; `supervisor` hands it the design through `leap`."""

    card: ClassVar = Card(
        summary="exact gradients; the trajectory of the designs is extrapolated by a linear operator",
        formula="x_(t+T) = U^T x_t, with U = F' pinv(F) from a window of designs",
        inputs=("the last designs",),
        steps=(
            "operator that takes each design of the window to the next, of low rank",
            "its T-th power: the landing, with the volume kept",
            "exact solve at the landing",
            "keep it if the objective fell, else go back and record a new window",
        ),
        learns="nothing",
        corrected=False,
        loose=False,
        carries="compliance",
    )
    supervised = False  #: every gradient is exact already

    @classmethod
    def make(cls, tools: Tools) -> GradientSource:
        spec = tools.spec.koopman
        if spec.of == "gradients":
            from morpho.gradients.koopman_gradients import KoopmanGradients

            return KoopmanGradients(tools.physics, spec)
        return cls(tools.physics, spec)

    def __init__(self, physics: Physics, spec: KoopmanSpec) -> None:
        self.physics, self.spec = physics, spec
        self.window: deque[Array] = deque(maxlen=spec.window)  #: x (n,) of successive iterations
        self.objective = math.nan  #: at the last design
        self.kept, self.discarded = 0, 0  #: jumps so far
        self.landed = False  #: whether the present design is a landing
        self.in_vain: Gradient | None = None  #: of a landing that was discarded just now
        self._extrapolation = Extrapolation(physics.comm, physics.mesh.key, spec.rank, spec.patch)
        self._landing: Gradient | None = None

    def leap(self, iteration: int, x: Array, design: DesignMap, stage_is_new: bool) -> Array:
        """The design (n,) to go on from: x (n,), or a better one that its predecessors lead to (collective)."""
        self.landed, self.in_vain, self._landing = False, None, None
        if stage_is_new:
            self.window.clear()
        if iteration >= self.spec.start:
            self.window.append(x)
        if stage_is_new or len(self.window) < self.spec.window or not math.isfinite(self.objective):
            return x
        D = dmd.window(list(self.window))
        change, error = self._extrapolation(D, self.spec.jump)
        if not error <= self.spec.fit:
            log.info(f"it {iteration}: no jump, the operator misses {error:.3f} of the newest step")
            return x
        landing = self._level(x, x + change, D, design)
        linear = np.clip(x + dmd.linear(D, self.spec.jump), 0.0, 1.0) - x
        log.info(
            f"it {iteration}: jump of {self.spec.jump} steps, the operator misses {error:.3f} of the newest one; "
            f"mean change {self._size(landing - x):.4g}, by linear extrapolation {self._size(linear):.4g}"
        )
        return self._judge(iteration, x, landing, design)

    def _judge(self, iteration: int, x: Array, landing: Array, design: DesignMap) -> Array:
        """The landing if its exact objective is below that of the last design, else x (collective)."""
        before = [u.copy() for u in self.physics.displacements()]
        try:
            gradient = from_state(self.physics, self.physics.solve(design.apply(landing)[0]))
        except SolverError as error:
            for u, kept in zip(self.physics.displacements(), before, strict=True):
                u[:] = kept
            self.window.clear()
            self.window.append(x)
            self.discarded += 1
            log.warning(f"it {iteration}: no solution at the landing of the jump, which is discarded ({error})")
            return x
        self.landed = gradient.compliance < self.objective
        self.window.clear()
        if self.landed:
            self.kept, self._landing = self.kept + 1, gradient
        else:
            self.discarded, self.in_vain = self.discarded + 1, gradient
        x = landing if self.landed else x
        self.window.append(x)
        log.info(
            f"it {iteration}: objective {self.objective:.6g} before the jump, {gradient.compliance:.6g} at the "
            f"landing, which is {'kept' if self.landed else 'discarded'}; steps jumped over so far: "
            f"{self.kept * self.spec.jump}, exact solves for landings that were discarded: {self.discarded}"
        )
        return x

    def _level(self, x: Array, landing: Array, D: Array, design: DesignMap) -> Array:
        """A landing within [0, 1] that has the physical volume of x (n,) (collective).

        It is shifted by one number, but for cells that did not move in the window, which stay.
        """
        from scipy.optimize import brentq  # takes a while to import

        comm, volumes = self.physics.comm, self.physics.mesh.volumes
        moving = np.any(D != 0, axis=1)
        target = global_dot(comm, volumes, design.apply(x)[0])

        def shifted(shift: float) -> Array:
            return np.where(moving, np.clip(landing + shift, FLOOR * x, 1.0), x)

        def surplus(shift: float) -> float:
            return global_dot(comm, volumes, design.apply(shifted(shift))[0]) / target - 1

        largest = global_max(comm, np.abs(landing - x))
        if abs(surplus(0.0)) <= LEVEL or not surplus(-largest) < 0 < surplus(largest):
            return shifted(0.0)
        return shifted(brentq(surplus, -largest, largest, xtol=LEVEL))

    def _size(self, change: Array) -> float:
        """Root mean square of a change (n,) (collective)."""
        mesh = self.physics.mesh
        return math.sqrt(global_sum(self.physics.comm, change**2) / mesh.n_global)

    def estimate(self, rho: Array) -> Gradient:
        """The exact gradient at rho (n,), with the cost of a landing that was discarded before it (collective)."""
        gradient = self._landing or from_state(self.physics, self.physics.solve(rho))
        self._landing = None
        self.objective = gradient.compliance
        if self.in_vain is None:
            return gradient
        return replace(
            gradient,
            linear_iterations=gradient.linear_iterations + self.in_vain.linear_iterations,
            seconds=gradient.seconds + self.in_vain.seconds,
        )

    def learn(self, rho: Array, exact: Gradient) -> None:
        """Nothing to learn."""

    def save(self) -> tuple[dict[str, Array], dict[str, Any]]:
        """The window, (n, designs), and JSON values for a checkpoint (local)."""
        arrays = {"window": np.stack(list(self.window), axis=1)} if self.window else {}
        return arrays, {"objective": self.objective, "kept": self.kept, "discarded": self.discarded}

    def restore(self, arrays: dict[str, Array], values: dict[str, Any]) -> None:
        """What `save` gave (local)."""
        self.window.extend(arrays["window"].T.copy() if "window" in arrays else ())
        self.objective, self.kept, self.discarded = values["objective"], values["kept"], values["discarded"]
