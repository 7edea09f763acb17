"""Temporary weights for the network of `onsg`, inspired by ProSG (Luo et al. 2023).

    W' = W + U V^T until the next exact gradient, then W again

ProSG turns the states that encode a prompt into such a change of a language model. Here the prompt is what the newest
exact gradient says. The change is either a step against the gradient of the loss there, cut to a low rank, or it comes
from a second network that has been trained to lower the loss at the exact gradient after that.
"""

from __future__ import annotations

import base64
import logging
from collections import deque
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any, ClassVar, Literal

import numpy as np

from morpho.errors import InputError
from morpho.gradients import prompts
from morpho.gradients.architectures import layers
from morpho.gradients.card import Card
from morpho.gradients.fast_weights import Hypernetwork, against, changed
from morpho.gradients.features import NAMES, Snapshot
from morpho.gradients.network import Weights, activation
from morpho.gradients.onsg import HIDDEN, Onsg
from morpho.gradients.physics import Floats, Physics
from morpho.gradients.two_scale import Tools, TwoScale
from morpho.interfaces import Array, Gradient

log = logging.getLogger("morpho")

NEURONS = 16  #: of the second network
HALVINGS = 5  #: lengths that an analytic change is tried with, each half of the one before
WINDOWS = 16  #: newest pairs of exact designs that the second network learns from
ROWS = 500  #: samples of a window

Matrices = list[Any]  #: the weights of both layers, (hidden, features) and (1, hidden) on the CPU


@dataclass(frozen=True)
class Samples:
    """Of two exact designs, as tensors."""

    after: Any  #: (m, features), scaled
    before: Any
    target: Any  #: (m,)


class Prosg(Onsg):
    """The network of `onsg` with temporary weights, see above. Every rank has the same ones.

    Args:
        form: `analytic` by the gradient of the loss, or `learned` by a second network.
        rank: of the change of a matrix.
        step: length of an analytic change, relative to the matrix; halved while the loss does not fall.
        largest: length of any change, relative to the matrix.
        network: as for `Onsg`.
    """

    card: ClassVar = Card(
        summary="the network of onsg, whose weights change by a matrix of low rank until the next exact gradient",
        formula="as onsg, with W' = W + U V^T instead of W until the next exact gradient",
        inputs=("density", "energies and features at the last exact design", "temporary change of the weights"),
        steps=(
            "solve on blocks",
            "strain energies of the cells in the blocks",
            "features: densities and energies at several radii",
            "network with its weights changed, the same for all cells",
            "multiply by the ratio at the last exact design and the network's",
        ),
        learns="the network; then a temporary change of its weights; then the ratio of the energies",
        blocks=True,
        rival=True,
        networks={"mlp": layers("mlp", len(NAMES), HIDDEN)},
    )

    @classmethod
    def make(cls, tools: Tools) -> Prosg:
        """The source of a problem.

        Raises:
            InputError: the network is none whose weights it can change.
        """
        network = tools.spec.onsg.model_dump()
        if network.pop("form") not in (None, "anchored") or network["architecture"] != "mlp":
            raise InputError("gradient.onsg: prosg takes the anchored form and the architecture mlp only")
        return cls(tools.physics, tools.two_scale, **tools.spec.prosg.model_dump(), **network)

    def __init__(
        self,
        physics: Physics,
        two_scale: TwoScale,
        form: Literal["analytic", "learned"] = "analytic",
        rank: int = 2,
        step: float = 0.1,
        largest: float = 0.3,
        **network: Any,
    ) -> None:
        super().__init__(physics, two_scale, **network)
        self.rank, self.step, self.largest = rank, step, largest
        self.torch = self.network.torch
        self.hypernetwork: Hypernetwork | None = None
        if form == "learned":
            shapes = [tuple(own.weight.shape) for own in (self.network.first, self.network.last)]
            random = self.torch.Generator().manual_seed(self.seed)
            self.hypernetwork = Hypernetwork(prompts.SIZE, shapes, rank, NEURONS, random)
        self.windows: deque[tuple[Floats, Floats]] = deque(maxlen=WINDOWS)  #: a prompt and what came after it
        self.prompt: Floats | None = None  #: at the last exact design
        self._newest: list[Floats] = []  #: samples of the present one: features after, before, target, residual

    def learn(self, rho: Array, exact: Gradient) -> None:
        """Train, change the weights until the next time, take an exact gradient at rho as the anchor (collective)."""
        self._newest = []
        super().learn(rho, exact)

    def _collect(self, i: int, importance: Array, snapshot: Snapshot) -> None:
        super()._collect(i, importance, snapshot)
        if self.past:
            after, before, target, *_ = self._pool[-1]  # the pair with the last exact design
            W, b, w = (self.torch.from_numpy(part) for part in (self.weights.W, self.weights.b, self.weights.w))
            now, then = (_output([W, w[None]], b, self.torch.from_numpy(x)).numpy() for x in (after, before))
            self._newest.append(np.column_stack([after, before, target, target - (now - then)]))

    def _share(self) -> None:
        super()._share()
        if self._newest:
            rho = self.past[-1].cells[0, 0]
            total, n = self.physics.comm.allreduce(np.array([rho.sum(dtype=np.float64), len(rho)]))
            self.weights = self.physics.comm.bcast(self._adapted(np.concatenate(self._newest), total / n), root=0)

    def _adapted(self, rows: Floats, density: float) -> Weights:
        """The weights until the next exact gradient, those of the network if no change helps (local)."""
        base = [own.weight.detach().cpu().clone() for own in (self.network.first, self.network.last)]
        half, other = rows[::2], self._samples(rows[1::2])
        learned = self.hypernetwork is not None
        new = self._by_prompt(base, half, density) if learned else self._by_gradient(base, self._samples(half))
        with self.torch.no_grad():
            error, new_error = (float(self._loss(matrices, other)) for matrices in (base, new))
        accepted = new_error < error
        what = "temporary weights in force" if accepted else "no temporary weights"
        log.info(f"{what}: error on the other half of the samples {error:.4g}, with them {new_error:.4g}")
        return self._compiled(new) if accepted else self.weights

    def _by_gradient(self, base: Matrices, samples: Samples) -> Matrices:
        """The matrices after the longest step against the gradient, cut to the rank, that lowers the loss (local)."""
        leaves = [W.clone().requires_grad_() for W in base]
        loss = self._loss(leaves, samples)
        gradients = self.torch.autograd.grad(loss, leaves)
        with self.torch.no_grad():
            for length in self.step * 0.5 ** np.arange(HALVINGS):
                new = [
                    changed(W, against(gradient, W, self.rank, length), self.largest)
                    for W, gradient in zip(base, gradients, strict=True)
                ]
                if self._loss(new, samples) < loss:
                    return new
        return base

    def _by_prompt(self, base: Matrices, rows: Floats, density: float) -> Matrices:
        """The same by the second network, after it has learned from what came of the last prompt (local)."""
        if self.prompt is not None:
            self.windows.append((self.prompt, rows[:: -(-len(rows) // ROWS), :-1].copy()))
            self._train_hypernetwork(base)
        features = rows[:, : len(NAMES)]
        self.prompt = prompts.prompt(density, features, self._scaled(features), rows[:, -2], rows[:, -1])
        with self.torch.no_grad():
            return self._prompted(base, self.prompt)

    def _train_hypernetwork(self, base: Matrices) -> None:
        """Lower the loss at the exact design that follows a prompt, over the windows there are (local)."""
        assert self.hypernetwork is not None
        adam = self.hypernetwork.adam
        windows = [(prompt, self._samples(rows)) for prompt, rows in self.windows]
        for prompt, samples in islice(cycle(windows), self.steps):
            loss = self._loss(self._prompted(base, prompt), samples)
            adam.step(self.torch.autograd.grad(loss, adam.parameters))

    def _prompted(self, base: Matrices, prompt: Floats) -> Matrices:
        assert self.hypernetwork is not None
        changes = self.hypernetwork.changes(self.torch.from_numpy(prompt))
        return [changed(W, change, self.largest) for W, change in zip(base, changes, strict=True)]

    def _samples(self, rows: Floats) -> Samples:
        f = len(NAMES)
        parts = (self._scaled(rows[:, :f]), self._scaled(rows[:, f : 2 * f]), rows[:, 2 * f].copy())
        return Samples(*(self.torch.from_numpy(part) for part in parts))

    def _scaled(self, features: Floats) -> Floats:
        return np.asarray((features - self.network.mean) / self.network.spread)

    def _loss(self, matrices: Matrices, samples: Samples) -> Any:
        """Of the network with these matrices instead of its own (local)."""
        bias = self.network.first.bias.detach().cpu()
        both = self.torch.cat([samples.after, samples.before])
        return self.network.loss(_output(matrices, bias, both), samples.target)

    def _compiled(self, matrices: Matrices) -> Weights:
        """The network with these matrices, for `kernels.infer` (local)."""
        W = matrices[0].numpy() / self.network.spread
        bias = self.network.first.bias.detach().cpu().numpy()
        return Weights(W, bias - W @ self.network.mean, matrices[1].numpy()[0].copy())

    def network_state(self) -> dict[str, Any]:
        """The networks as JSON values, for another problem (local)."""
        return super().network_state() | self._second_network()

    def take_network(self, state: dict[str, Any]) -> None:
        """What `network_state` gave (local)."""
        super().take_network(state)
        self._take_second_network(state)

    def _second_network(self) -> dict[str, Any]:
        if self.hypernetwork is None:
            return {}
        windows = [(prompt.tolist(), base64.b64encode(rows.tobytes()).decode()) for prompt, rows in self.windows]
        return {"hypernetwork": self.hypernetwork.adam.save(), "windows": windows}

    def _take_second_network(self, state: dict[str, Any]) -> None:
        if self.hypernetwork is not None:
            self.hypernetwork.adam.restore(state["hypernetwork"])
            for prompt, text in state["windows"]:
                rows = np.frombuffer(base64.b64decode(text), np.float32).reshape(-1, 2 * len(NAMES) + 1)
                self.windows.append((np.array(prompt, np.float32), rows))

    def save(self) -> tuple[dict[str, Array], dict[str, Any]]:
        """Arrays of this rank's cells and JSON values for a checkpoint: all of `onsg`, temporary weights (local)."""
        arrays, values = super().save()
        own = {
            "weights": [part.tolist() for part in (self.weights.W, self.weights.b, self.weights.w)],
            "prompt": None if self.prompt is None else self.prompt.tolist(),
        }
        return arrays, values | own | self._second_network()

    def restore(self, arrays: dict[str, Array], values: dict[str, Any]) -> None:
        """What `save` gave (local)."""
        super().restore(arrays, values)
        self.weights = Weights(*(np.array(part, np.float32) for part in values["weights"]))
        self.prompt = None if values["prompt"] is None else np.array(values["prompt"], np.float32)


def _output(matrices: Matrices, bias: Any, x: Any) -> Any:
    """N (m,) of (m, features) (local)."""
    first, last = matrices
    return (activation(x @ first.mT + bias) @ last.mT).squeeze(-1)
