"""The strain energy of each block by a network, and its derivative: Sobolev training, after Czarnecki et al. (2017).

    W_b = 1/2 sum_{e in b} E(rho_e) eH_e exp(N(phi_e)),   e_t = 2 dW/dE_t + c_s eH_t

eH is the strain energy of a cell at unit stiffness in the displacement of its block, which is held while W is
differentiated; then dW/d rho = E'(rho) e / 2. The constants c make the derivative exact at the last exact design s;
they belong to a term 1/2 c E eH of the energy, so that the estimate stays the derivative of one scalar per block.
"""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Iterator
from typing import Any, ClassVar

from mpi4py import MPI

import numpy as np
from numpy.typing import NDArray

from morpho import noise
from morpho.gradients.card import Card
from morpho.gradients.energy_network import COLUMNS, FEATURES, EnergyNetwork, Loss, layers_of, normalised
from morpho.gradients.kernels import sample
from morpho.gradients.physics import Floats, Physics
from morpho.gradients.secant import CLIP, TINY, Secant
from morpho.gradients.two_scale import Tools, TwoScale
from morpho.interfaces import Array, Gradient
from morpho.parallel import global_max
from morpho.problem.gradient_spec import SobolevSpec

VOID = 0.01  #: in blocks that are nowhere denser the secant will do
CHUNK = 1 << 16  #: cells that go through the network at a time

Integers = NDArray[np.integer]


class BlockCells:
    """The cells of each block of this rank in the order of their keys, filled up to the largest count of all ranks."""

    def __init__(self, comm: MPI.Comm, owner: Integers, n_blocks: int, keys: NDArray[np.int64]) -> None:
        """Sort them (collective)."""
        counts = np.bincount(owner, minlength=n_blocks)
        self.most = int(global_max(comm, counts.astype(np.float64)))
        order = np.lexsort((keys, owner))
        place = owner[order], np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
        self.cells: Integers = np.zeros((n_blocks, self.most), np.int32)
        self.cells[place] = order
        self.share: Floats = np.zeros((n_blocks, self.most), np.float32)  #: in the means over a block; 0: no such cell
        self.share[place] = np.repeat(1 / np.maximum(counts, 1), counts)
        self.keys = keys[self.cells[:, 0]]  #: (n_blocks,) the smallest one

    def of(self, values: Array | Floats, blocks: Integers) -> Any:
        """Values (..., n) of the cells of some blocks, (..., len(blocks), most), 0 where there is none (local)."""
        return values[..., self.cells[blocks]] * (self.share[blocks] > 0)


class Sobolev(Secant):
    """See above. `learn` trains on values and derivatives; every rank ends with the same network.

    Args:
        loss: full, stochastic (derivatives in a random direction) or value (no derivatives).
        weight: of the derivatives beside the value.
        hidden: neurons of each of the two layers.
        samples: blocks per exact design, half by energy and half evenly over those that are not void.
        first_steps, steps: of training, at the first exact design and at later ones.
        window: exact designs whose samples are kept.
    """

    card: ClassVar = Card(
        summary="a network learns the strain energy of each block together with its derivatives, and is differentiated",
        formula="W = 1/2 sum E(rho) eH exp(N(phi)); e_t = 2 dW/dE_t + c_s eH_t",
        inputs=("density", "what the network missed at the last exact design"),
        steps=(
            "solve on blocks",
            "strain energies of the cells in the blocks",
            "features: stiffness of the cell and its statistics over the block",
            "network, two hidden layers: energy of each block",
            "derivative of that energy",
            "add what was missing at the last exact design",
        ),
        learns="the network, from the energies of blocks and their derivatives; then what it misses",
        blocks=True,
        rival=True,
        networks={"mlp": layers_of(len(FEATURES), SobolevSpec().hidden)},
    )

    @classmethod
    def make(cls, tools: Tools) -> Sobolev:
        return cls(tools.physics, tools.two_scale, **tools.spec.sobolev.model_dump())

    def __init__(
        self,
        physics: Physics,
        two_scale: TwoScale,
        loss: Loss = "full",
        weight: float = 1.0,
        hidden: int = 16,
        samples: int = 500,
        first_steps: int = 200,
        steps: int = 50,
        window: int = 4,
        seed: int = 0,
    ) -> None:
        super().__init__(physics, two_scale)
        self.samples, self.first_steps, self.steps, self.seed = samples, first_steps, steps, seed
        self.network = EnergyNetwork(hidden, loss, weight, seed)
        blocks = two_scale.blocks
        self.blocks = BlockCells(physics.comm, blocks.owner, blocks.n_blocks, physics.mesh.key)
        self.offset: Floats | None = None  #: (k, n) c, see above
        self._pool: deque[Floats] = deque(maxlen=window * len(physics.weights))
        self._learned = 0

    def _energy(self, rho: Array, coarse: Floats) -> Floats:
        energy = super()._energy(rho, coarse)
        if self.offset is not None:
            for cells, found in self._by_network(rho, coarse, np.flatnonzero(self._active(rho))):
                energy[:, cells] = np.maximum(found + self.offset[:, cells] * coarse[:, cells], 0)
        return energy

    def learn(self, rho: Array, exact: Gradient) -> None:
        """Train on an exact gradient at rho, then take it as the anchor (collective)."""
        assert exact.energy is not None
        coarse: Floats = self.two_scale.at(rho).energy
        for i in range(len(coarse)):
            self._collect(rho, exact.energy[i], coarse[i])
        if self._pool:
            self.network.train(np.concatenate(self._pool), self.steps if self._learned else self.first_steps)
            self.network.restore(self.physics.comm.bcast(self.network.save(), root=0))
            self._learned += 1
        offset: Floats = np.empty_like(coarse)
        for cells, found in self._by_network(rho, coarse, np.arange(len(self.blocks.cells))):
            missing = (exact.energy[:, cells] - found) / np.maximum(coarse[:, cells], TINY)
            offset[:, cells] = np.clip(missing, -CLIP, CLIP)
        self.offset = offset
        super().learn(rho, exact)

    def _by_network(self, rho: Array, coarse: Floats, blocks: Integers) -> Iterator[tuple[Integers, Floats]]:
        """Cells (m,) of the given blocks, some at a time, and what the network says (k, m) (local)."""
        stiffness = self._relative(self.physics.material.stiffness(rho))
        step = max(1, CHUNK // self.blocks.most)
        for start in range(0, len(blocks), step):
            part = blocks[start : start + step]
            share = self.blocks.share[part]
            _, found = self.network.predict(self.blocks.of(stiffness, part), self.blocks.of(coarse, part), share)
            there = share > 0
            yield self.blocks.cells[part][there], found[:, there]

    def _relative(self, stiffness: Array) -> Array:
        """By that of solid (local)."""
        return np.asarray(stiffness / self.physics.material.stiffness(np.ones(1)))

    def _active(self, rho: Array) -> Any:
        """Whether blocks are more than void (local)."""
        return np.bincount(self.two_scale.blocks.owner, rho > VOID, len(self.blocks.cells)) > 0

    def _collect(self, rho: Array, energy: Array, coarse: Floats) -> None:
        """Add the samples of a load case at a new exact design to the pool, the same on every rank (collective)."""
        comm, material = self.physics.comm, self.physics.material
        stiffness = self._relative(material.stiffness(rho))
        importance = np.bincount(self.two_scale.blocks.owner, stiffness * energy, len(self.blocks.cells))
        blocks = self._pick(importance * self._active(rho))
        columns = (stiffness, coarse, energy, self._relative(material.derivative(rho)))
        rows = [self.blocks.of(column, blocks) for column in columns] + [self.blocks.share[blocks]]
        parts = comm.allgather((self.blocks.keys[blocks], np.stack(rows, axis=1).astype(np.float64)))
        order = np.argsort(np.concatenate([keys for keys, _ in parts]))
        if len(order):
            self._pool.append(normalised(np.concatenate([part for _, part in parts])[order]))

    def _pick(self, importance: Array) -> Integers:
        """Blocks of this rank to learn from, half by importance, half evenly where there is any (collective)."""
        total, active = self.physics.comm.allreduce(np.array([importance.sum(), np.count_nonzero(importance)]))
        share, uniform = self.samples / 2 / max(total, 1e-300), self.samples / 2 / max(active, 1)
        self.seed += 1
        return np.asarray(sample(importance, noise.uniform(self.blocks.keys, self.seed), share, uniform))

    def save(self) -> tuple[dict[str, Array], dict[str, Any]]:
        """Arrays of this rank's cells and JSON values for a checkpoint: network, samples, anchor (local)."""
        arrays, values = super().save()
        if self.offset is not None:
            arrays["offset"] = self.offset.T.astype(np.float64)
        return arrays, values | {
            "network": self.network.save(),
            "pool": [base64.b64encode(samples.tobytes()).decode() for samples in self._pool],
            "seed": self.seed,
            "learned": self._learned,
        }

    def restore(self, arrays: dict[str, Array], values: dict[str, Any]) -> None:
        """What `save` gave (local)."""
        super().restore(arrays, values)
        self.network.restore(values["network"])
        self.seed, self._learned = values["seed"], values["learned"]
        for text in values["pool"]:
            samples = np.frombuffer(base64.b64decode(text), np.float32)
            self._pool.append(samples.reshape(-1, COLUMNS, self.blocks.most))
        if "offset" in arrays:
            self.offset = np.ascontiguousarray(arrays["offset"].T, dtype=np.float32)
