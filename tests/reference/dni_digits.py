"""Digits by a perceptron of three layers, cut after the second one: backpropagation, and decoupled training.

    python3 dni_digits.py backprop|sequential|stale [steps [seed]]
    mpirun -n 2 python3 dni_digits.py locked|decoupled [steps [seed]]

`backprop` is a solver without latency. With `sequential` the true gradient of a batch comes a step later. On two
processes the first has the two lower layers and the synthesiser, the second the upper layer: `locked` waits for the
true gradient in each step, `decoupled` goes on with the synthetic one. With `frozen` the lower layers stay as
they are made, with `stale` the last true gradient, of another batch, takes the place of the synthetic one.

The 8 x 8 pictures are made here: ten glyphs, moved, of different strength, with noise.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from mpi4py import MPI

import numpy as np
import torch

from morpho.gradients.adam import Adam
from morpho.gradients.decoupling import Decoupled, Emulated

GLYPHS = """
.###. ..#.. .###. .###. ...#. ##### .###. ##### .###. .###.
#...# .##.. #...# #...# ..##. #.... #.... ....# #...# #...#
#..## ..#.. ....# ....# .#.#. ####. #.... ...#. #...# #...#
#.#.# ..#.. ...#. ..##. #..#. ....# ####. ..#.. .###. .####
##..# ..#.. ..#.. ....# ##### ....# #...# ..#.. #...# ....#
#...# ..#.. .#... #...# ...#. #...# #...# ..#.. #...# ....#
.###. .###. ##### .###. ...#. .###. .###. ..#.. .###. .###.
"""
TRAIN, TEST, NOISE = 4000, 1000, 0.2
WIDTH, BATCH, STEPS = 32, 64, 2500
MAX_DELAY = 20
LATEST = 2  #: updates without a true gradient that training stands; from three on it depends on the seed


def pictures(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(count, 64) pictures and what they show (count,)."""
    random = np.random.default_rng(seed)
    rows = [line.split() for line in GLYPHS.split("\n") if line]
    glyphs = np.array([[[c == "#" for c in row[digit]] for row in rows] for digit in range(10)], float)
    shown = random.integers(10, size=count)
    found = random.normal(0, NOISE, (count, 8, 8))
    for picture, digit in zip(found, shown, strict=True):
        y, x = random.integers(2), random.integers(4)
        picture[y : y + 7, x : x + 5] += random.uniform(0.6, 1.2) * glyphs[digit]
    return torch.tensor(found.reshape(count, 64), dtype=torch.float32), torch.tensor(shown)


class Lower:
    """The two hidden layers."""

    def __init__(self) -> None:
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(64, WIDTH), torch.nn.ReLU(), torch.nn.Linear(WIDTH, WIDTH), torch.nn.ReLU()
        )
        self.adam = Adam(list(self.layers.parameters()))

    def update(self, h: torch.Tensor, d: torch.Tensor) -> None:
        """One step with a derivative of the loss with respect to the output h."""
        self.adam.step(torch.autograd.grad(h, self.adam.parameters, d))


class Upper:
    """The output layer and the loss: what makes true gradients."""

    def __init__(self) -> None:
        self.layer = torch.nn.Linear(WIDTH, 10)
        self.adam = Adam(list(self.layer.parameters()))
        self.updates = 0

    def solve(self, at: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """Derivative of the loss with respect to the input; and one step of its own."""
        h, y = at[0].clone().requires_grad_(), at[1]
        loss = torch.nn.functional.cross_entropy(self.layer(h), y)
        *own, d = torch.autograd.grad(loss, [*self.adam.parameters, h])
        self.adam.step(own)
        self.updates += 1
        return d


class Synthesiser:
    """M(h, y), one hidden layer, zero at first."""

    def __init__(self) -> None:
        last = torch.nn.Linear(WIDTH, WIDTH)
        torch.nn.init.zeros_(last.weight)
        torch.nn.init.zeros_(last.bias)
        self.layers = torch.nn.Sequential(torch.nn.Linear(WIDTH + 10, WIDTH), torch.nn.ReLU(), last)
        self.adam = Adam(list(self.layers.parameters()))
        self.errors: list[float] = []  #: relative, before learning
        self.delays: list[int] = []

    def predict(self, at: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        with torch.no_grad():
            return self(at)

    def __call__(self, at: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        seen = torch.cat([at[0], torch.nn.functional.one_hot(at[1], 10)], 1)
        return self.layers(seen) / BATCH  # as the derivative of a mean is

    def take_in(self, at: tuple[torch.Tensor, torch.Tensor], true: torch.Tensor, delay: int) -> None:
        off = (self(at) - true) * BATCH
        self.errors.append(float(off.detach().norm() / (true.norm() * BATCH + 1e-30)))
        self.delays.append(delay)
        self.adam.step(torch.autograd.grad((off**2).mean(), self.adam.parameters))


class Stale(Synthesiser):
    """No model: the last true gradient as it is."""

    last: torch.Tensor | None = None

    def predict(self, at: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        return torch.zeros_like(at[0]) if self.last is None else self.last

    def take_in(self, at: tuple[torch.Tensor, torch.Tensor], true: torch.Tensor, delay: int) -> None:
        super().take_in(at, true, delay)
        self.last = true


class OtherProcess:
    """The upper layer on rank 1."""

    def __init__(self, comm: MPI.Comm, latest: int | None) -> None:
        """Rank 0's side; a true gradient is waited for once it is so many updates late."""
        self.comm, self.latest, self.began = comm, latest, 0

    def begin(self, at: tuple[torch.Tensor, torch.Tensor], now: int) -> None:
        self.coming, self.began = self.comm.irecv(source=1), now
        self.sent = self.comm.isend((at[0].numpy(), at[1].numpy()), 1)

    def finished(self, now: int) -> torch.Tensor | None:
        waits = self.latest is not None and now - self.began >= self.latest
        there, d = (True, self.coming.wait()) if waits else self.coming.test()
        if there:
            self.sent.wait()
        return torch.from_numpy(d) if there else None

    def stop(self, pending: bool) -> Upper:
        if pending:
            self.coming.wait()
            self.sent.wait()
        self.comm.send(None, 1)
        return self.comm.recv(source=1)


def serve(comm: MPI.Comm, upper: Upper) -> None:
    """Rank 1: derivatives until there is nothing more to do."""
    while (given := comm.recv(source=0)) is not None:
        comm.send(upper.solve(tuple(torch.from_numpy(part) for part in given)).numpy(), 0)
    comm.send(upper, 0)


def facts(comm: MPI.Comm, how: str, steps: str = str(STEPS), seed: str = "0") -> dict[str, Any]:
    """Accuracy, updates per second, and how far apart asking and arriving were."""
    torch.set_num_threads(1)
    torch.manual_seed(int(seed))
    lower, upper, model = Lower(), Upper(), Stale() if how == "stale" else Synthesiser()
    if comm.rank == 1:
        serve(comm, upper)
        return {}
    apart = how in ("locked", "decoupled", "bounded")
    other = OtherProcess(comm, {"locked": 0, "bounded": LATEST}.get(how))
    solver: Any = other if apart else Emulated(upper.solve, int(how in ("sequential", "stale")))
    decoupled = Decoupled(model, solver, MAX_DELAY)
    x, y = pictures(TRAIN, 0)
    between, start = [0], time.perf_counter()  #: updates between asking and arriving, of every true gradient
    for step, batch in enumerate(np.random.default_rng(int(seed)).integers(TRAIN, size=(int(steps), BATCH))):
        h = lower.layers(x[batch])
        arrived = len(model.errors)
        decoupled.receive(step)
        between += [0] * (len(model.errors) - arrived)
        d = decoupled.step((h.detach(), y[batch]), step)
        if how != "frozen":
            lower.update(h, d)
        between[-1] += decoupled.at is not None
    seconds = time.perf_counter() - start
    upper = other.stop(decoupled.at is not None) if apart else upper
    x, y = pictures(TEST, 1)
    with torch.no_grad():
        accuracy = float((upper.layer(lower.layers(x)).argmax(1) == y).float().mean())
    return {
        "how": how,
        "accuracy": accuracy,
        "updates_per_second": int(steps) / seconds,
        "true_gradients": upper.updates,
        "first_error": model.errors[0],
        "least_error": float(np.convolve(model.errors, np.full(50, 1 / 50), "valid").min()),
        "mean_delay": float(np.mean(model.delays)),
        "updates_meanwhile": float(np.mean(between[:-1] or between)),
    }


if __name__ == "__main__":
    from helpers import main

    main(facts, *sys.argv[1:])
