"""What is minimised where only values are known: the black boxes of `guided_es`."""

from __future__ import annotations

import importlib.util
import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from mpi4py import MPI

import numpy as np

from morpho.errors import OwnCodeError, in_words
from morpho.gradients.physics import Physics, State
from morpho.interfaces import Array
from morpho.parallel import global_dot, raise_together
from morpho.problem.spec import AnyObjective

RAMP = 1e-4  #: densities this near to the threshold become grey, so that rounding decides nothing
MOST = 300  #: linear iterations of a value; in 3-D, densities at random can take thousands, for the last digits
AGREE = 1e-9  #: relative difference of a user's value between ranks that is put down to rounding
HALVINGS = 50  #: of the interval that the threshold lies in


class Value(Protocol):
    """A function of the physical density."""

    weights: Array  #: (m,) of its values in the objective
    relative: bool  #: whether it changes by factors, so that a difference counts relative to the values it is of

    def at(self, rho: Array) -> tuple[Array, int]:
        """(m,) values at rho (n,), and the linear iterations it took (collective)."""


class Compliance:
    """Compliance of every load case, by a solve of at most MOST iterations."""

    relative = True
    state: State  #: of the last solve

    def __init__(self, physics: Physics) -> None:
        self.physics, self.weights = physics, physics.weights

    def at(self, rho: Array) -> tuple[Array, int]:
        """(m,) values at rho (n,), and the linear iterations it took (collective)."""
        self.state = self.physics.solve(rho, at_most=MOST)
        return self.state.compliance, self.state.linear_iterations


class ThresholdedCompliance(Compliance):
    """Compliance of every load case in the 0/1 design of equal volume."""

    def at(self, rho: Array) -> tuple[Array, int]:
        """(m,) values at rho (n,), and the linear iterations it took (collective)."""
        return super().at(thresholded(self.physics.comm, rho, self.physics.mesh.volumes))


@dataclass
class OwnFunction:
    """A user's function (rho, physics) -> number, called by all ranks."""

    physics: Physics
    function: Callable[[Array, Physics], float]
    weights: Array = field(default_factory=lambda: np.ones(1))
    relative: bool = False

    def at(self, rho: Array) -> tuple[Array, int]:
        """(1,) value at rho (n,); its linear iterations are not known (collective).

        Raises:
            OwnCodeError: it is not a number, or not the same one on all ranks. One too large for a float is infinite.
        """
        seen = rho.copy()
        seen.flags.writeable = False
        found = self.function(seen, self.physics)
        values = self.physics.comm.allgather(_number(found))
        if complaint := self._complaint(values):
            raise OwnCodeError(complaint)
        return np.array([values[0]]), 0

    def _complaint(self, values: list[float | str]) -> str:
        """What is wrong with the values on all ranks, empty if nothing (local)."""
        name = getattr(self.function, "__name__", "the function")
        wrong = next((value for value in values if isinstance(value, str)), None)
        if wrong is not None:
            return f"objective.value: {name} returned {wrong}; it should return one number"
        numbers = np.array(values, dtype=float)
        if np.isclose(numbers, numbers[0], rtol=AGREE, atol=0, equal_nan=True).all():
            return ""
        other = int(np.argmin(np.isclose(numbers, numbers[0], rtol=AGREE, atol=0, equal_nan=True)))
        return (
            f"objective.value: {name} returned {numbers[0]:.9g} on rank 0 and {numbers[other]:.9g} on rank {other}; it "
            "should return the same number on all ranks: add up what the ranks have, "
            "physics.comm.allreduce(part)"
        )


def make_value(objective: AnyObjective, physics: Physics) -> Value:
    """The value that an objective asks for (collective).

    Raises:
        InputError: a user's function cannot be loaded.
    """
    if objective.function is not None:
        return OwnFunction(physics, _load(physics.comm, *objective.function))
    return ThresholdedCompliance(physics) if objective.kind == "black_box" else Compliance(physics)


def thresholded(comm: MPI.Comm, rho: Array, volumes: Array) -> Array:
    """(n,) densities 1 above a threshold and 0 below it, with the volume of rho (n,) (collective).

    Cells that lie together at the threshold share what volume is left.
    """
    volume, low, high = global_dot(comm, volumes, rho), -RAMP, 1 + RAMP
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if global_dot(comm, volumes, _step(rho, middle)) > volume:
            low = middle
        else:
            high = middle
    return _step(rho, high)


def _step(rho: Array, threshold: float) -> Array:
    return np.clip((rho - threshold) / (2 * RAMP) + 0.5, 0.0, 1.0)


def _load(comm: MPI.Comm, path: str, name: str) -> Callable[[Array, Physics], float]:
    """The function of this name in a Python file (collective)."""
    function: Any = None
    said: list[str] = []
    try:
        spec = importlib.util.spec_from_file_location("black_box", path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        function = getattr(module, name, None)
    except (Exception, SystemExit) as error:  # whatever the user's file does
        said = [f"objective.value: {path} cannot be loaded: {in_words(error)}"]
    if not said and not callable(function):
        said = [f"objective.value: there is no function {name} in {path}"]
    if not said and not _takes_two(function):
        said = [f"objective.value: {name} in {path} should take (rho, physics), it takes {inspect.signature(function)}"]
    raise_together(comm, said)
    loaded: Callable[[Array, Physics], float] = function
    return loaded


def _number(value: Any) -> float | str:
    """What a user's function returned as a float, or, if it is no number, what it is (local)."""
    is_number = hasattr(value, "__float__") and getattr(value, "ndim", 0) == 0 and np.isrealobj(value)
    if not is_number or isinstance(value, str | bytes):
        return _kind(value)
    try:
        return float(value)
    except OverflowError:
        return math.inf
    except (TypeError, ValueError):
        return _kind(value)


def _kind(value: Any) -> str:
    return "None" if value is None else f"a value of type {type(value).__name__}"


def _takes_two(function: Callable[..., Any]) -> bool:
    """Whether a function can be called with two arguments, as far as Python can tell (local)."""
    try:
        inspect.signature(function).bind(None, None)
    except TypeError:
        return False
    except ValueError:  # of a compiled function
        return True
    return True
