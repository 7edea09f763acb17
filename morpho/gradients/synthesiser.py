"""The synthesiser of decoupled gradients: the ratio of exact and coarse energies from the present design alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from morpho import noise
from morpho.gradients import features
from morpho.gradients.features import NAMES, Snapshot
from morpho.gradients.kernels import gather, infer
from morpho.gradients.network import Network, Weights
from morpho.gradients.physics import Floats, Physics
from morpho.gradients.samples import draw, together
from morpho.gradients.secant import CLIP
from morpho.gradients.two_scale import TwoScale
from morpho.interfaces import Array
from morpho.problem.gradient_spec import DniSpec

BATCH = 1024  #: samples of a training step


class EnergySynthesiser:
    """M(phi), with phi what `features` sees without an anchor; zero until it is trained, the same on all ranks."""

    def __init__(self, physics: Physics, two_scale: TwoScale, spec: DniSpec) -> None:
        self.physics, self.two_scale, self.spec, self.seed = physics, two_scale, spec, spec.seed
        self.network = Network(len(NAMES), spec.hidden, BATCH, spec.seed)
        self.weights: Weights = self.network.weights()
        self.keys = physics.mesh.key
        self._rho: Array | None = None
        self._seen: Snapshot | None = None

    def look(self, rho: Array) -> Snapshot:
        """What is seen of rho (n,), looked at once for each design (collective)."""
        if self._seen is None or rho is not self._rho:
            self._rho, self._seen = rho, features.look(self.two_scale, rho)
            self._seen.cells[:, -1] = 0
        return self._seen

    def energies(self, seen: Snapshot, coarse: Floats) -> Floats:
        """(k, n) energies eH M(phi), none of them negative (local)."""
        energy, net, owner = np.empty_like(coarse), self.weights, self.two_scale.pairs.owner
        everything = np.arange(energy.shape[1])
        for i in range(len(energy)):
            cells, blocks = seen.cells[i], seen.blocks[i]
            infer(energy[i], everything, cells[:-1], cells, blocks, blocks, owner, net.W, net.b, net.w)
        np.clip(energy, 0, CLIP, out=energy)
        energy *= coarse
        return energy

    def train(self, seen: Snapshot, importance: Array, ratio: Floats) -> None:
        """Fit M to the ratio (k, n), at some of the cells by their importance (k, n) (collective)."""
        batches = [self._samples(i, seen, importance[i], ratio[i]) for i in range(len(ratio))]
        phi, target = (np.concatenate(part) for part in zip(*batches, strict=True))
        if len(target):
            self.network.train(phi, phi[:, :0], target, self.spec.steps)
            self.weights = self.physics.comm.bcast(self.network.weights(), root=0)

    def _samples(self, i: int, seen: Snapshot, importance: Array, ratio: Floats) -> tuple[Floats, ...]:
        """phi (m, features) and ratio (m,) of some cells of load case i, from all ranks (collective)."""
        self.seed += 1
        cells = draw(self.physics.comm, importance, noise.uniform(self.keys, self.seed), self.spec.samples)
        phi, fields, blocks = np.empty((len(NAMES), len(cells)), np.float32), seen.cells[i], seen.blocks[i]
        gather(phi, cells, fields[:-1], fields, blocks, blocks, self.two_scale.pairs.owner)
        return together(self.physics.comm, self.keys[cells], phi.T, ratio[cells])

    def save(self) -> dict[str, Any]:
        """JSON values for a checkpoint (local)."""
        return {"network": self.network.save(), "seed": self.seed}

    def restore(self, values: dict[str, Any]) -> None:
        """What `save` gave (local)."""
        self.network.restore(values["network"])
        self.weights, self.seed = self.network.weights(), values["seed"]
