"""A network that says how the ratio of exact and coarse energies changes from the last exact design on.

    log e_t = log e_s + (log eH_t - log eH_s) + N(phi_t) - N(phi_s)

e is the strain energy of a cell at unit stiffness, eH the same in the displacement of its block, s the last exact
design, phi what `features` sees. With N = 0 it is the secant; where nothing has changed since s it is exact.
"""

from __future__ import annotations

import json
import time
from collections import deque
from pathlib import Path
from typing import Any, cast

import numpy as np

from morpho.gradients import features
from morpho.gradients.features import NAMES, Snapshot
from morpho.gradients.kernels import infer
from morpho.gradients.network import Weights
from morpho.gradients.physics import Floats, Physics
from morpho.gradients.secant import Secant
from morpho.gradients.two_scale import TwoScale
from morpho.interfaces import Array, Gradient

VOID = 0.01  #: density up to which the secant will do
LARGEST_EXPONENT = np.float32(30)  #: a network gone wrong must not overflow
SHIPPED = Path(__file__).with_name("pretrained.json")  #: made by scripts/study_pretrained.py


def shipped(block: int) -> Weights:
    """The network for blocks of this size that was trained before, on made-up problems in 3-D (local)."""
    saved = json.loads(SHIPPED.read_text())
    assert saved["features"] == list(NAMES)
    return Weights(*(np.array(saved["blocks"][str(block)][name], np.float32) for name in ("W", "b", "w")))


class Anchored(Secant):
    """The secant with a given network on top, which no run trains: it takes no torch and no time to learn.

    Args:
        weights: of the network; None until there are some.
        window: exact designs that are remembered.
    """

    def __init__(self, physics: Physics, two_scale: TwoScale, weights: Weights | None, window: int = 1) -> None:
        super().__init__(physics, two_scale)
        if weights is not None:
            self.weights = weights
        self.past: deque[Snapshot] = deque(maxlen=window)
        self.base: Floats | None = None  #: (k, n) log(e / eH) - N(phi) at the anchor
        self.seconds = {"features": 0.0, "inference": 0.0, "training": 0.0}  #: so far

    def learn(self, rho: Array, exact: Gradient) -> None:
        """Take an exact gradient at rho as the anchor (collective)."""
        self.past.clear()  # no longer of use
        snapshot = self._seen(rho, exact)
        self._anchor(snapshot)
        self.past.append(snapshot.to_compare())
        super().learn(rho, exact)

    def _seen(self, rho: Array, exact: Gradient) -> Snapshot:
        """What the network sees of an exact design (collective)."""
        assert exact.energy is not None
        return features.with_exact(self._look(rho), exact.energy, self.two_scale.at(rho).energy)

    def _energy(self, rho: Array, coarse: Floats) -> Floats:
        energy = super()._energy(rho, coarse)
        if self.base is not None:
            snapshot = self._look(rho)
            start = time.perf_counter()
            active = np.flatnonzero(rho > VOID)
            for i in range(len(energy)):
                energy[i, active] = self._energy_by_network(i, active, snapshot, coarse[i])
            self.seconds["inference"] += time.perf_counter() - start
        return energy

    def _energy_by_network(self, i: int, cells: Any, now: Snapshot, coarse_energy: Floats) -> Floats:
        """Energies of load case i in the given cells (local)."""
        assert self.base is not None
        out = self._infer(i, cells, now, self.past[-1])
        out += self.base[i, cells]
        np.minimum(out, LARGEST_EXPONENT, out=out)
        return np.asarray(np.exp(out, out=out) * coarse_energy[cells])

    def _anchor(self, snapshot: Snapshot) -> None:
        """Take a design as the one that estimates start from (local)."""
        self.base = snapshot.cells[:, -1].copy()
        everything = np.arange(self.base.shape[1])
        for i in range(len(self.base)):
            self.base[i] -= self._infer(i, everything, snapshot, snapshot)

    def _look(self, rho: Array) -> Snapshot:
        begin = time.perf_counter()
        snapshot = features.look(self.two_scale, rho)
        self.seconds["features"] += time.perf_counter() - begin
        return snapshot

    def _infer(self, i: int, cells: Any, now: Snapshot, then: Snapshot) -> Floats:
        """N(phi) of load case i in the given cells (local)."""
        out, net, owner = np.empty(len(cells), np.float32), self.weights, self.two_scale.pairs.owner
        infer(out, cells, now.cells[i, :-1], then.cells[i], now.blocks[i], then.blocks[i], owner, net.W, net.b, net.w)
        return out

    def save(self) -> tuple[dict[str, Array], dict[str, Any]]:
        """Arrays of this rank's cells and JSON values for a checkpoint (local).

        Of the exact designs only the anchor is kept.
        """
        arrays, values = super().save()
        if self.base is not None:
            arrays["base"] = cast(Array, self.base.T)
        anchor = list(self.past)[-1:]
        for snapshot in anchor:
            arrays |= features.saved(snapshot, self.two_scale)
        return arrays, values | {"levels": [list(snapshot.level) for snapshot in anchor]}

    def restore(self, arrays: dict[str, Array], values: dict[str, Any]) -> None:
        """What `save` gave (local)."""
        super().restore(arrays, values)
        if "base" in arrays:
            self.base = np.ascontiguousarray(arrays["base"].T, dtype=np.float32)
        self.past.extend(features.restored(arrays, level, self.two_scale) for level in values["levels"])
