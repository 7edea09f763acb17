"""Online neural synthetic gradients, after Zhang et al. (arXiv 2104.12282), in the anchored difference form."""

from __future__ import annotations

import time
from collections import deque
from typing import Any, ClassVar

import numpy as np

from morpho import noise
from morpho.errors import InputError
from morpho.gradients.anchored import Anchored, shipped
from morpho.gradients.architectures import ARCHITECTURES, Architecture, layers
from morpho.gradients.card import Card
from morpho.gradients.features import NAMES, Snapshot
from morpho.gradients.kernels import gather
from morpho.gradients.network import Network
from morpho.gradients.patches import BlocksOfTwo, Patches, SingleCells
from morpho.gradients.physics import Floats, Physics
from morpho.gradients.samples import decoded, draw, encoded, together
from morpho.gradients.secant import Secant
from morpho.gradients.two_scale import Tools, TwoScale
from morpho.interfaces import Array, Gradient

LARGEST_CHANGE = 3.0  #: of the target, a difference of logarithms
HIDDEN = 24  #: neurons of a layer
BATCH = 1024  #: samples of a training step
POOL = 12  #: newest batches of samples of a load case that training draws from
CHUNK = 1 << 14  #: cells that go through torch at a time


class Onsg(Anchored):
    """The secant with a network on top, see `anchored`. `learn` trains; every rank ends with the same network.

    Args:
        hidden: neurons of a layer, or channels of a convolution.
        samples: per pair of designs, half by sensitivity and half evenly over the cells that are not void.
        first_steps, steps: of training, when data come for the first time and later.
        window: exact designs that a new one is paired with.
        value_weight: of N(phi_t) fitted to log(e_t / eH_t) itself, beside the differences.
    """

    card: ClassVar = Card(
        summary="a network learns how the ratio of exact and coarse energies changes with the design",
        formula="log e_t = log e_s + (log eH_t - log eH_s) + N(phi_t) - N(phi_s)",
        inputs=("density", "energies and features at the last exact design"),
        steps=(
            "solve on blocks",
            "strain energies of the cells in the blocks",
            "features: densities and energies at several radii",
            "network, the same for all cells",
            "multiply by the ratio at the last exact design and the network's",
        ),
        learns="the network, from pairs of exact designs; then the ratio of exact and coarse energies",
        blocks=True,
        rival=True,
        networks={name: layers(name, len(NAMES), HIDDEN) for name in ARCHITECTURES},
    )

    @classmethod
    def make(cls, tools: Tools) -> Anchored:
        """The source of a problem, in the form that is asked for.

        Raises:
            InputError: there is no network for this dimension.
        """
        own = tools.spec.onsg.model_dump()
        del own["form"]
        dim = tools.physics.mesh.dim
        form = tools.spec.onsg.form_in(dim)
        if form == "pretrained":
            if dim != 3:
                raise InputError("gradient.onsg.form: the network that ships with morpho knows 3-D only; use anchored")
            return Anchored(tools.physics, tools.two_scale, shipped(tools.spec.block))
        if form == "plain":
            from morpho.gradients.onsg_plain import PlainOnsg

            own.pop("value_weight")  # values are all it has
            return PlainOnsg(tools.physics, tools.two_scale, **own)
        return cls(tools.physics, tools.two_scale, **own)

    def __init__(
        self,
        physics: Physics,
        two_scale: TwoScale,
        hidden: int = HIDDEN,
        samples: int = 1500,
        first_steps: int = 100,
        steps: int = 50,
        window: int = 4,
        seed: int = 0,
        architecture: Architecture = "mlp",
        value_weight: float = 0.0,
    ) -> None:
        super().__init__(physics, two_scale, None, window)
        self.seed = seed
        self.samples, self.first_steps, self.steps = samples, first_steps, steps
        self.patches: Patches = SingleCells()
        if architecture == "conv":
            pairs = two_scale.pairs
            self.patches = BlocksOfTwo(pairs.owner, pairs.n_blocks, physics.mesh.dim)
        self.network = Network(len(NAMES), hidden, BATCH, seed, architecture, self.patches.shape, value_weight)
        self.compiled, self.value_weight = architecture == "mlp", value_weight
        if self.compiled:
            self.weights = self.network.weights()
        self.keys = physics.mesh.key
        self._pool: deque[tuple[Floats, ...]] = deque(maxlen=POOL * len(physics.weights))
        self._learned = 0

    def learn(self, rho: Array, exact: Gradient) -> None:
        """Train on an exact gradient at rho, then take it as the anchor (collective)."""
        assert exact.energy is not None
        snapshot = self._seen(rho, exact)
        begin = time.perf_counter()
        stiffness = self.physics.material.stiffness(rho) * (rho > 0)
        for i in range(len(self.physics.weights)):
            self._collect(i, stiffness * exact.energy[i], snapshot)
        self.past.append(snapshot)
        if self._pool:
            steps = self.steps if self._learned else self.first_steps
            after_then, before_then, target, *value = (np.concatenate(part) for part in zip(*self._pool, strict=True))
            self.network.train(after_then, before_then, target, steps, *value)
            self._learned += 1
            self._share()
        self._anchor(snapshot)
        Secant.learn(self, rho, exact)
        self.seconds["training"] += time.perf_counter() - begin

    def _share(self) -> None:
        """Let every rank infer with what rank 0 has learned (collective)."""
        if self.compiled:
            self.weights = self.physics.comm.bcast(self.network.weights(), root=0)
        else:
            self.network.adam.take(self.physics.comm.bcast(self.network.adam.values(), root=0))

    def _collect(self, i: int, importance: Array, snapshot: Snapshot) -> None:
        """Add samples of load case i at a new exact design, paired with earlier ones, to the pool (collective)."""
        for before in self.past:
            cells = self._pick(importance)
            after_then, before_then = (
                self._features(i, cells, snapshot, before),
                self._features(i, cells, before, before),
            )
            value = snapshot.cells[i, -1, cells]
            target = np.clip(value - before.cells[i, -1, cells], -LARGEST_CHANGE, LARGEST_CHANGE)
            values = [value] if self.value_weight else []
            self._pool.append(self._together(cells, after_then, before_then, target, *values))

    def _infer(self, i: int, cells: Any, now: Snapshot, then: Snapshot) -> Floats:
        """N(phi) of load case i in the given cells (local)."""
        if self.compiled:
            return super()._infer(i, cells, now, then)
        return self._infer_in_torch(i, cells, now, then)

    def _infer_in_torch(self, i: int, cells: Any, now: Snapshot, then: Snapshot) -> Floats:
        """The same; 0 in cells that are in no patch (local)."""
        out, patches = np.zeros(len(self.keys), np.float32), self.patches.around(cells)
        step = CHUNK // self.patches.size
        for start in range(0, len(patches), step):
            part = patches[start : start + step].ravel()
            out[part] = self.network.infer(self._features(i, part, now, then))
        return out[cells]

    def _features(self, i: int, cells: Any, now: Snapshot, then: Snapshot) -> Floats:
        """(len(cells), features) of load case i (local)."""
        X = np.empty((len(NAMES), len(cells)), np.float32)
        owner = self.two_scale.pairs.owner
        gather(X, cells, now.cells[i, :-1], then.cells[i], now.blocks[i], then.blocks[i], owner)
        return X.T

    def _pick(self, importance: Array) -> Any:
        """Cells of this rank to learn from, half by importance, half evenly where there is any (collective).

        Those of a patch come one after the other.
        """
        self.seed += 1
        draws, number = noise.uniform(self.keys, self.seed), self.samples / self.patches.size
        return self.patches.around(draw(self.physics.comm, importance, draws, number)).ravel()

    def _together(self, cells: Any, *columns: Floats) -> tuple[Floats, ...]:
        """Samples of all ranks in the order of their (patches') keys, the same everywhere (collective)."""
        size = self.patches.size
        return together(self.physics.comm, np.repeat(self.keys[cells[::size]], size), *columns)

    def network_state(self) -> dict[str, Any]:
        """The network as JSON values, for another problem (local)."""
        return {"network": self.network.save()}

    def take_network(self, state: dict[str, Any]) -> None:
        """What `network_state` gave (local)."""
        self.network.restore(state["network"])
        if self.compiled:
            self.weights = self.network.weights()

    def save(self) -> tuple[dict[str, Array], dict[str, Any]]:
        """Arrays of this rank's cells and JSON values for a checkpoint: network, samples, anchor (local).

        Earlier designs are not kept: the next one is paired with the anchor only.
        """
        arrays, values = super().save()
        return arrays, values | {
            "network": self.network.save(),
            "pool": [[encoded(part) for part in batch] for batch in self._pool],
            "seed": self.seed,
            "learned": self._learned,
        }

    def restore(self, arrays: dict[str, Array], values: dict[str, Any]) -> None:
        """What `save` gave (local)."""
        super().restore(arrays, values)
        self.take_network(values)
        self.seed, self._learned = values["seed"], values["learned"]
        parts = 3 + (self.value_weight > 0)  # samples of another loss are left out
        self._pool.extend(tuple(decoded(*part) for part in batch) for batch in values["pool"] if len(batch) == parts)
