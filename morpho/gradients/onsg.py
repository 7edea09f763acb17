"""Online neural synthetic gradients, after Zhang et al. (arXiv 2104.12282), in the anchored difference form.

    log e_t = log e_s + (log eH_t - log eH_s) + N(phi_t) - N(phi_s)

e is the strain energy of a cell at unit stiffness, eH the same in the displacement of its block, s the last exact
design, phi what `features` sees. With N = 0 it is the secant; where nothing has changed since s it is exact.
"""

from __future__ import annotations

import base64
import time
from collections import deque
from typing import Any, ClassVar

import numpy as np

from morpho import noise
from morpho.gradients import features
from morpho.gradients.card import Card
from morpho.gradients.features import NAMES, Snapshot
from morpho.gradients.kernels import gather, infer, sample
from morpho.gradients.network import Network, Weights
from morpho.gradients.physics import Floats, Physics
from morpho.gradients.secant import Secant
from morpho.gradients.two_scale import Tools, TwoScale
from morpho.interfaces import Array, Gradient

LARGEST_CHANGE = 3.0  #: of the target, a difference of logarithms
BATCH = 1024  #: samples of a training step
VOID = 0.01  #: density up to which the secant will do
LARGEST_EXPONENT = np.float32(30)  #: a network gone wrong must not overflow
POOL = 12  #: batches of samples that training draws from, the newest ones


class Onsg(Secant):
    """The secant with a network on top, see above. `learn` trains; every rank ends with the same network.

    Args:
        hidden: neurons.
        samples: per pair of designs, half by sensitivity and half evenly over the cells that are not void.
        first_steps, steps: of training, when data come for the first time and later.
        window: exact designs that a new one is paired with.
    """

    card: ClassVar = Card(
        summary="a network learns how the ratio of exact and coarse energies changes with the design",
        formula="log e_t = log e_s + (log eH_t - log eH_s) + N(phi_t) - N(phi_s)",
        inputs=("density", "energies and features at the last exact design"),
        steps=(
            "solve on blocks",
            "strain energies of the cells in the blocks",
            "features: densities and energies at several radii",
            "network, one hidden layer, the same for all cells",
            "multiply by the ratio at the anchor and the network's",
        ),
        learns="the network, from pairs of exact designs; then the anchor",
        blocks=True,
        rival=True,
    )

    @classmethod
    def make(cls, tools: Tools) -> Onsg:
        own = tools.spec.onsg.model_dump()
        if own.pop("form") == "plain":
            from morpho.gradients.onsg_plain import PlainOnsg

            return PlainOnsg(tools.physics, tools.two_scale, **own)
        return cls(tools.physics, tools.two_scale, **own)

    def __init__(
        self,
        physics: Physics,
        two_scale: TwoScale,
        hidden: int = 24,
        samples: int = 1500,
        first_steps: int = 100,
        steps: int = 50,
        window: int = 3,
        seed: int = 0,
    ) -> None:
        super().__init__(physics, two_scale)
        self.seed = seed
        self.samples, self.first_steps, self.steps = samples, first_steps, steps
        self.network = Network(len(NAMES), hidden, BATCH, seed)
        self.weights: Weights = self.network.weights()
        self.past: deque[Snapshot] = deque(maxlen=window + 1)
        self.base: Floats | None = None  #: (k, n) log(e / eH) - N(phi) at the anchor
        self.keys = physics.mesh.key
        self.seconds = {"features": 0.0, "inference": 0.0, "training": 0.0}  #: so far
        self._pool: deque[tuple[Floats, ...]] = deque(maxlen=POOL)
        self._learned = 0

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

    def learn(self, rho: Array, exact: Gradient) -> None:
        """Train on an exact gradient at rho, then take it as the anchor (collective)."""
        assert exact.energy is not None
        coarse = self.two_scale.at(rho)
        snapshot = features.with_exact(self._look(rho), exact.energy, coarse.energy)
        begin = time.perf_counter()
        stiffness = self.physics.material.stiffness(rho) * (rho > 0)
        for i in range(len(self.physics.weights)):
            self._collect(i, stiffness * exact.energy[i], snapshot)
        self.past.append(snapshot)
        if self._pool:
            steps = self.steps if self._learned else self.first_steps
            after_then, before_then, target = (np.concatenate(part) for part in zip(*self._pool, strict=True))
            self.network.train(after_then, before_then, target, steps)
            self._learned += 1
            self.weights = self.physics.comm.bcast(self.network.weights(), root=0)
        self._anchor(snapshot)
        super().learn(rho, exact)
        self.seconds["training"] += time.perf_counter() - begin

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

    def _collect(self, i: int, importance: Array, snapshot: Snapshot) -> None:
        """Add samples of load case i at a new exact design, paired with earlier ones, to the pool (collective)."""
        for before in self.past:
            cells = self._pick(importance)
            after_then, before_then = (
                self._features(i, cells, snapshot, before),
                self._features(i, cells, before, before),
            )
            target = snapshot.cells[i, -1, cells] - before.cells[i, -1, cells]
            np.clip(target, -LARGEST_CHANGE, LARGEST_CHANGE, out=target)
            self._pool.append(self._together(cells, after_then, before_then, target))

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

    def _features(self, i: int, cells: Any, now: Snapshot, then: Snapshot) -> Floats:
        """(len(cells), features) of load case i (local)."""
        X = np.empty((len(NAMES), len(cells)), np.float32)
        owner = self.two_scale.pairs.owner
        gather(X, cells, now.cells[i, :-1], then.cells[i], now.blocks[i], then.blocks[i], owner)
        return X.T

    def _pick(self, importance: Array) -> Any:
        """Cells of this rank to learn from, half by importance, half evenly where there is any (collective)."""
        local = np.array([importance.sum(), np.count_nonzero(importance)])
        total, active = self.physics.comm.allreduce(local)
        share, uniform = self.samples / 2 / max(total, 1e-300), self.samples / 2 / max(active, 1)
        self.seed += 1
        return sample(importance, noise.uniform(self.keys, self.seed), share, uniform)

    def _together(self, cells: Any, *columns: Floats) -> tuple[Floats, ...]:
        """Samples of all ranks in the order of their keys, the same everywhere (collective)."""
        rows = np.column_stack(columns)
        parts = self.physics.comm.allgather((self.keys[cells], rows))
        order = np.argsort(np.concatenate([keys for keys, _ in parts]))
        rows = np.concatenate([part for _, part in parts])[order]
        ends = np.cumsum([1 if c.ndim == 1 else c.shape[1] for c in columns])
        return tuple(
            np.ascontiguousarray(part.squeeze(1) if c.ndim == 1 else part)
            for part, c in zip(np.split(rows, ends[:-1], axis=1), columns, strict=True)
        )

    def save(self) -> tuple[dict[str, Array], dict[str, Any]]:
        """Arrays of this rank's cells and JSON values for a checkpoint: network, samples, anchor (local).

        Earlier designs are not kept: the next one is paired with the anchor only.
        """
        arrays, values = super().save()
        if self.base is not None:
            arrays["base"] = self.base.T.astype(np.float64)
        owner = self.two_scale.pairs.owner
        for snapshot in list(self.past)[-1:]:
            for i in range(len(self.compliance_ratio)):
                arrays[f"cells_{i}"] = snapshot.cells[i].T.astype(np.float64)
                arrays[f"blocks_{i}"] = snapshot.blocks[i][:, owner].T.astype(np.float64)
        return arrays, values | {
            "network": self.network.save(),
            "pool": [[_encoded(part) for part in batch] for batch in self._pool],
            "levels": [list(snapshot.level) for snapshot in list(self.past)[-1:]],
            "seed": self.seed,
            "learned": self._learned,
        }

    def restore(self, arrays: dict[str, Array], values: dict[str, Any]) -> None:
        """What `save` gave (local)."""
        super().restore(arrays, values)
        self.network.restore(values["network"])
        self.weights = self.network.weights()
        self.seed, self._learned = values["seed"], values["learned"]
        self._pool.extend(tuple(_decoded(*part) for part in batch) for batch in values["pool"])
        if "base" in arrays:
            self.base = np.ascontiguousarray(arrays["base"].T, dtype=np.float32)
        pairs, k = self.two_scale.pairs, range(len(self.compliance_ratio))
        for level in values["levels"]:
            cells = np.stack([arrays[f"cells_{i}"].T for i in k]).astype(np.float32)
            fields = np.empty((len(k), len(features.BLOCK_FIELDS), pairs.n_blocks), np.float32)
            for i in k:
                fields[i][:, pairs.owner] = arrays[f"blocks_{i}"].T
            self.past.append(Snapshot(cells, fields, np.array(level)))


def _encoded(values: Floats) -> tuple[str, list[int]]:
    """An array as text, and its shape."""
    return base64.b64encode(values.tobytes()).decode(), list(values.shape)


def _decoded(text: str, shape: list[int]) -> Floats:
    return np.frombuffer(base64.b64decode(text), np.float32).reshape(shape)
