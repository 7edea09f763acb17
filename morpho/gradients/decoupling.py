"""Decoupled training, after Jaderberg et al. (2017): go on with what a model says, train it when the truth comes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from morpho.errors import SolverError

log = logging.getLogger("morpho")

H = TypeVar("H")  #: a point that a gradient is asked for at
D = TypeVar("D")  #: a gradient
Asked = TypeVar("Asked", contravariant=True)
Known = TypeVar("Known")
Made = TypeVar("Made", covariant=True)


class Solver(Protocol[Asked, Made]):
    """Makes one true gradient at a time, beside whatever else goes on."""

    def begin(self, at: Asked, now: int) -> None:
        """Start on the gradient at a point, in step `now`, without waiting for it (collective)."""

    def finished(self, now: int) -> Made | None:
        """The gradient that was begun, if it is there by step `now`; handed over once (collective).

        Raises:
            SolverError: there will be none.
        """


class Synthesiser(Protocol[Asked, Known]):
    """The model M of the gradients."""

    def predict(self, at: Asked) -> Known:
        """The synthetic gradient at a point (collective)."""

    def take_in(self, at: Asked, true: Known, delay: int) -> None:
        """Note how wrong the prediction is at a point, then learn the true gradient there (collective)."""


class Decoupled(Generic[H, D]):
    """Keeps a solver busy and a synthesiser learning, so that no step waits for a true gradient.

    At most one gradient is under way; one that took more than max_delay steps is dropped.
    """

    def __init__(self, model: Synthesiser[H, D], solver: Solver[H, D], max_delay: int) -> None:
        self.model, self.solver, self.max_delay = model, solver, max_delay
        self.at: H | None = None  #: where the gradient under way belongs
        self.asked = 0  #: step in which it was asked for

    def ask(self, at: H, now: int) -> None:
        """Start on the true gradient at a point, in step `now` (collective)."""
        self.at, self.asked = at, now
        self.solver.begin(at, now)

    def receive(self, now: int) -> D | None:
        """Learn from the gradient under way if it has come; it, if it was used (collective)."""
        if self.at is None:
            return None
        try:
            true = self.solver.finished(now)
        except SolverError as error:
            log.warning(f"no gradient of step {self.asked}: {error}")
            self.at = None
            return None
        if true is None:
            return None
        at, delay, self.at = self.at, now - self.asked, None
        if delay > self.max_delay:
            log.warning(f"the gradient of step {self.asked} came {delay} steps late, too old to be used")
            return None
        self.model.take_in(at, true, delay)
        return true

    def step(self, at: H, now: int) -> D:
        """The gradient to go on with: a synthetic one, or the true one if that is there at once (collective).

        To be called after `receive`.
        """
        if self.at is None:
            self.ask(at, now)
            true = self.receive(now)
            if true is not None:
                return true
        return self.model.predict(at)


class Emulated(Generic[H, D]):
    """A solver that works when it is asked and hands over later: asynchronous ranks, repeatable and on any ranks.

    A failure is handed over later, too.
    """

    def __init__(self, solve: Callable[[H], D], latency: int) -> None:
        self._solve, self._latency = solve, latency
        self._answer: D | None = None
        self._failure = ""
        self._due = 0

    def begin(self, at: H, now: int) -> None:
        """See `Solver` (collective)."""
        self._answer, self._failure, self._due = None, "", now + self._latency
        try:
            self._answer = self._solve(at)
        except SolverError as error:
            self._failure = str(error)

    def finished(self, now: int) -> D | None:
        """See `Solver` (local)."""
        if now < self._due:
            return None
        if self._answer is None:
            raise SolverError(self._failure)
        return self._answer
