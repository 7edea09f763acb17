"""Gradients learned from the designs between two exact ones, by eligibility traces: BP(lambda), see `traces`.

The designs between two exact gradients are the states of a sequence, the exact gradient is the loss at its end.
v is minus the gradient but for self weight, and linear in weights that all cells and load cases share:

    v = E'(rho) e (theta . psi),   e by the secant, psi bounded fields of the cell

It predicts the next exact gradient, pulled back to the present design through the steps of the optimizer.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from morpho.gradients import features
from morpho.gradients.card import Card
from morpho.gradients.features import NAMES, Snapshot
from morpho.gradients.kernels import gather
from morpho.gradients.physics import Floats, Physics
from morpho.gradients.secant import Secant
from morpho.gradients.traces import Traces
from morpho.gradients.two_scale import Tools, TwoScale
from morpho.interfaces import Array, Gradient
from morpho.parallel import largest_change

FEATURES = 1 + len(NAMES)  #: the number one, then what the network of `onsg` sees
#: what is subtracted from each of them, and what counts as one then
CENTRES = np.array([0.5 if name.startswith("density") else 0.0 for name in NAMES], np.float32)
RANGES = np.array([3.0 if "log" in n else 0.5 if n.startswith("density") else 1.0 for n in NAMES], np.float32)
LARGEST_FEATURE = 2.0
LARGEST_FACTOR = 3.0  #: theta . psi, and its inverse
LARGEST_RATIO = 2.0  #: of a density and the one before it
BOUND = 1e-3  #: densities this near to 0 or 1 are at their bound
NEARLY = 0.999  #: share of the largest step of all cells that counts as the move limit
TINY = 1e-300


class BpLambda(Secant):
    """The secant times a learned factor, see above. Every rank has the same weights.

    Args:
        trace: lambda.
        discount: gamma.
        rate: of a change of the weights, relative to the largest that is stable.
    """

    card: ClassVar = Card(
        summary="every design between two exact gradients learns from the later one, by eligibility traces",
        formula="g_t = -E'(rho) e_t (theta . psi_t), theta += rate sum delta e, e <- gamma lambda J e + phi",
        inputs=("density", "energies and features at the last exact design", "last design, its estimate and trace"),
        steps=(
            "solve on blocks",
            "energies by secant; features",
            "error of the last estimate against this one, pulled back by one step",
            "change the weights along the traces, then go on with these",
            "multiply by the factor that the weights give",
        ),
        learns="the weights, at the end of the sequence; then the scale and the ratio of the energies",
        blocks=True,
        rival=True,
        carries="compliance",
    )

    @classmethod
    def make(cls, tools: Tools) -> BpLambda:
        return cls(tools.physics, tools.two_scale, **tools.spec.bp_lambda.model_dump())

    def __init__(
        self, physics: Physics, two_scale: TwoScale, trace: float = 0.9, discount: float = 1.0, rate: float = 0.1
    ) -> None:
        super().__init__(physics, two_scale)
        theta = np.zeros(FEATURES, np.float32)
        theta[0] = 1.0
        self.traces, self.rate = Traces(theta, trace, discount), rate
        self.scale = 1.0  #: makes the mean factor at the anchor one
        self.unit = np.ones(len(physics.weights))  #: (k,) root mean square of v at the anchor
        self.size = self.last_size = 0.0  #: largest product of trace and features, in this sequence and the one before
        self.anchor: Snapshot | None = None
        self._rho: Array | None = None  #: last design of the sequence

    def _energy(self, rho: Array, coarse: Floats) -> Floats:
        energy = super()._energy(rho, coarse)
        if self.anchor is None:
            return energy
        psi = self._fields(features.look(self.two_scale, rho), self.anchor)
        phi = self._sensitivity(rho, energy)[:, None] * psi
        if rho is not self._rho:
            self._go_on(rho, phi)
        self.traces.emit(phi)
        energy *= np.float32(self.scale) * self._factor(psi)
        return energy

    def learn(self, rho: Array, exact: Gradient) -> None:
        """End the sequence with an exact gradient at rho, then take that as the anchor (collective)."""
        assert exact.energy is not None
        if self._rho is not None:
            here = np.ones(len(rho), np.float32)
            self._change(self.traces.end(here, self._sensitivity(rho, exact.energy)))
            self._rho, self.last_size, self.size = None, self.size, 0.0
        snapshot = features.look(self.two_scale, rho)
        self.anchor = features.with_exact(snapshot, exact.energy, self.two_scale.at(rho).energy)
        self._calibrate(rho, exact.energy, self.anchor)
        super().learn(rho, exact)

    def _go_on(self, rho: Array, phi: Floats) -> None:
        """Take one more design rho (n,) with features phi (k, m, n) into the sequence (collective)."""
        J = np.ones(len(rho), np.float32) if self._rho is None else self._jacobian(self._rho, rho)
        direction = self.traces.step(J, phi, seen=(J > 0).astype(np.float32))
        self._rho = rho
        flat = phi.ravel()
        assert self.traces.e is not None
        self._change(direction, float(self.traces.e.ravel() @ flat), float(flat @ flat))

    def _jacobian(self, before: Array, rho: Array) -> Floats:
        """(n,) derivative of each density with respect to the one before, as in optimality criteria (collective).

        0 where a bound or the move limit holds the cell. The multiplier and the filter are left out.
        """
        limit = NEARLY * largest_change(self.physics.comm, before, rho)
        held = (rho < BOUND) | (rho > 1 - BOUND) | ((np.abs(rho - before) >= limit) & (limit > 0))
        J = np.minimum(rho / np.maximum(before, BOUND), LARGEST_RATIO).astype(np.float32)
        J[held] = 0
        return J

    def _change(self, direction: Floats, *sizes: float) -> None:
        """Change the weights along a direction (m,); `sizes` are of the new trace (collective).

        All are this rank's shares; sizes are products with the features.
        """
        sums = self.physics.comm.allreduce(np.array([*direction, *sizes], np.float64))
        step = self.rate * sums[:FEATURES] / max(self.size, self.last_size, TINY)
        if np.isfinite(sums).all():
            self.traces.theta += (step / max(1.0, float(np.linalg.norm(step)))).astype(np.float32)
            self.size = float(np.max([self.size, *sums[FEATURES:]]))

    def _calibrate(self, rho: Array, energy: Array, anchor: Snapshot) -> None:
        """Set scale and units at the exact energies (k, n) of rho (collective)."""
        squares = (self.physics.material.derivative(rho) * energy) ** 2
        factor = self._factor(self._fields(anchor, anchor))
        sums = self.physics.comm.allreduce(np.array([squares.sum(axis=1), (squares * factor).sum(axis=1)]))
        sums = np.maximum(sums, TINY)
        self.unit = np.sqrt(sums[0] / self.physics.mesh.n_global)
        self.scale = float(len(sums[0]) / (sums[1] / sums[0]).sum())

    def _sensitivity(self, rho: Array, energy: Array | Floats) -> Floats:
        """(k, n) v of energies (k, n), in its unit (local)."""
        return np.asarray(self.physics.material.derivative(rho) * energy / self.unit[:, None], dtype=np.float32)

    def _factor(self, psi: Floats) -> Floats:
        """(k, n) factor of the secant, within bounds, from fields psi (k, m, n) (local)."""
        return np.clip(np.matmul(self.traces.theta, psi), 1 / LARGEST_FACTOR, LARGEST_FACTOR)

    def _fields(self, now: Snapshot, then: Snapshot) -> Floats:
        """psi (k, m, n) of one design with another one as the anchor (local)."""
        k, _, n = now.cells.shape
        psi, cells, owner = np.empty((k, FEATURES, n), np.float32), np.arange(n), self.two_scale.pairs.owner
        psi[:, 0] = 1
        for i in range(k):
            X = psi[i, 1:]
            gather(X, cells, now.cells[i, :-1], then.cells[i], now.blocks[i], then.blocks[i], owner)
            X -= CENTRES[:, None]
            X /= RANGES[:, None]
        return np.clip(psi, -LARGEST_FEATURE, LARGEST_FEATURE, out=psi)

    def save(self) -> tuple[dict[str, Array], dict[str, Any]]:
        """Arrays of this rank's cells and JSON values for a checkpoint: weights, anchor, trace (local)."""
        arrays, values = super().save()
        if self.anchor is not None:
            arrays |= features.saved(self.anchor, self.two_scale)
        for i in range(len(self.unit)):
            if self._rho is not None and self.traces.e is not None:
                arrays[f"trace_{i}"] = self.traces.e[i].T.astype(np.float64)
        if self._rho is not None and self.traces.v is not None:
            arrays["rho"], arrays["v"] = self._rho, self.traces.v.T.astype(np.float64)
        return arrays, values | {
            "theta": self.traces.theta.tolist(),
            "scale": self.scale,
            "unit": self.unit.tolist(),
            "sizes": [self.size, self.last_size],
            "level": None if self.anchor is None else list(self.anchor.level),
        }

    def restore(self, arrays: dict[str, Array], values: dict[str, Any]) -> None:
        """What `save` gave (local)."""
        super().restore(arrays, values)
        self.traces.theta[:] = values["theta"]
        self.scale, self.unit = values["scale"], np.array(values["unit"])
        self.size, self.last_size = values["sizes"]
        if values["level"] is not None:
            self.anchor = features.restored(arrays, values["level"], self.two_scale)
        if "rho" in arrays:
            self._rho = arrays["rho"]
            self.traces.e = np.stack([arrays[f"trace_{i}"].T for i in range(len(self.unit))]).astype(np.float32)
            self.traces.v = np.ascontiguousarray(arrays["v"].T, dtype=np.float32)
