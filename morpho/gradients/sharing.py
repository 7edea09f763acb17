"""Networks that go on from one problem to the next."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Protocol, runtime_checkable

from morpho.errors import InputError
from morpho.gradients import registry
from morpho.interfaces import GradientSource
from morpho.problem.spec import Problem


@runtime_checkable
class Networked(Protocol):
    """A source whose network can go on with another problem."""

    def network_state(self) -> dict[str, Any]:
        """The network as JSON values (local)."""

    def take_network(self, state: dict[str, Any]) -> None:
        """What `network_state` gave (local)."""


def complaints(problems: Sequence[Problem]) -> list[str]:
    """Why a network cannot go on from each problem to the next; empty if it can (local)."""
    said = []
    for problem in problems:
        name = problem.gradient.source
        if name in registry.BUILT_IN and not hasattr(registry.source_class(name), "take_network"):
            said.append(f"{problem.name}: {_nothing(name)}")
        elif name == "onsg" and problem.mesh.dim and given_form(problem) == "pretrained":
            said.append(
                f"{problem.name}: gradient.onsg.form: a pretrained network learns nothing to share; use anchored"
            )
    if not said:
        both = ((after.name, _difference(settings(before), settings(after))) for before, after in pairwise(problems))
        said = [f"{name}: {text}" for name, text in both if text]
    return said


def given_form(problem: Problem) -> str | None:
    """The form of onsg, None where only the mesh tells (local)."""
    own = problem.gradient.onsg
    return own.form_in(problem.mesh.dim) if problem.mesh.dim is not None else own.form


def settings(problem: Problem) -> dict[str, Any]:
    """What has to be the same for a network to go on with another problem, as JSON values (local)."""
    given = problem.gradient
    found: dict[str, Any] = {"source": given.source}
    found |= {"onsg.form": given_form(problem), "onsg.architecture": given.onsg.architecture}
    found["onsg.hidden"] = given.onsg.hidden
    if given.source == "prosg":
        found |= {f"prosg.{key}": getattr(given.prosg, key) for key in ("form", "rank")}
    if given.onsg.architecture == "conv" and problem.mesh.dim is not None:
        found["dimension of the mesh"] = problem.mesh.dim
    return found


def network_of(problem: Problem, source: GradientSource) -> dict[str, Any] | None:
    """The network of a source as JSON values, for `give_network`; None if it has none to share (local)."""
    return {"settings": settings(problem)} | source.network_state() if isinstance(source, Networked) else None


def give_network(problem: Problem, source: GradientSource, network: dict[str, Any]) -> None:
    """Let a source go on with the network of another problem, as `network_of` gave it (local).

    Raises:
        InputError: it has none, or one of another kind.
    """
    if not isinstance(source, Networked):
        raise InputError(_nothing(problem.gradient.source))
    if text := _difference(network["settings"], settings(problem)):
        raise InputError(text)
    source.take_network(network)


def _nothing(name: str) -> str:
    return f"gradient.source: {name} has no network that can be shared; use onsg or prosg"


def _difference(one: dict[str, Any], other: dict[str, Any]) -> str:
    """What keeps a network from going on, empty if nothing does (local)."""
    wrong = [f"{key} is {one.get(key)} and {other.get(key)}" for key in one | other if one.get(key) != other.get(key)]
    return f"gradient: a network goes on with the same settings only, but {', '.join(wrong)}" if wrong else ""
