"""The functionals by name; users add their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from morpho.errors import OwnCodeError, in_words
from morpho.functionals import KINDS
from morpho.functionals.functional import Functional, Setting
from morpho.problem.functional_spec import FunctionalSpec, OwnSpec

_own: dict[str, Callable[[dict[str, Any], Setting], Functional]] = {}


def register(name: str, factory: Callable[[dict[str, Any], Setting], Functional]) -> None:
    """Make `{kind: own, response: name}` available; factory(parameters, setting) gives the functional (local).

    Do it on every rank, before the problem is solved.
    """
    _own[name] = factory


def complaints(place: str, spec: FunctionalSpec, physics: str) -> list[str]:
    """Why a functional cannot be made; empty if it can (local)."""
    if isinstance(spec, OwnSpec):
        if spec.response in _own:
            return []
        known = ", ".join(sorted(_own)) or "none"
        return [
            f"{place}.response: no response {spec.response!r} is registered (there is {known}); a program makes it "
            "known with morpho.responses.register"
        ]
    if spec.members:
        said = [complaints(f"{place}.of[{i}]", part, physics) for i, part in enumerate(spec.members)]
        return [text for part in said for text in part]
    wanted = KINDS[spec.kind].FUNCTIONAL.physics
    return [] if wanted == physics else [f"{place}.kind: {spec.kind} belongs to physics: {wanted}"]


def create(spec: FunctionalSpec, setting: Setting) -> Functional:
    """The functional that a problem file asks for (collective).

    Raises:
        OwnCodeError: the user's factory failed.
    """
    if isinstance(spec, OwnSpec):
        try:
            return _own[spec.response](dict(spec.parameters), setting)
        except Exception as error:
            raise OwnCodeError(f"response {spec.response} could not be made: {in_words(error)}") from error
    functional: Functional = KINDS[spec.kind].FUNCTIONAL(spec, setting)
    return functional
