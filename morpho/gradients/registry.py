"""The gradient sources by name; users add their own."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from morpho.errors import InputError, OwnCodeError, in_words
from morpho.gradients.physics import Physics
from morpho.gradients.two_scale import Tools
from morpho.interfaces import GradientSource
from morpho.problem.gradient_spec import SOURCES, GradientSpec, source_complaints

Factory = Callable[[Any], GradientSource]

#: name -> module and class; a module is imported when its source is asked for
BUILT_IN = {
    "exact": ("exact", "Exact"),
    "inexact": ("inexact", "Inexact"),
    "coarse": ("coarse", "Coarse"),
    "secant": ("secant", "Secant"),
    "rom": ("rom", "Rom"),
    "onsg": ("onsg", "Onsg"),
    "prosg": ("prosg", "Prosg"),
    "dni": ("dni", "Dni"),
    "bp_lambda": ("bp_lambda", "BpLambda"),
    "guided_es": ("guided_es", "GuidedEs"),
    "sobolev": ("sobolev", "Sobolev"),
    "koopman": ("koopman", "Koopman"),
}

_factories: dict[str, Factory] = {}


def register(name: str, factory: Factory) -> None:
    """Make `source: name` available; factory(physics) gives the source (local, do it on every rank)."""
    _factories[name] = factory
    if name not in SOURCES:
        SOURCES.append(name)


def names() -> list[str]:
    """Every registered name (local)."""
    return [*BUILT_IN, *sorted(set(_factories) - set(BUILT_IN))]


def is_own(name: str) -> bool:
    """Whether a source was registered by the user (local)."""
    return name in _factories


def source_class(name: str) -> Any:
    """The class of a built-in source (local)."""
    module, attribute = BUILT_IN[name]
    return getattr(importlib.import_module(f"morpho.gradients.{module}"), attribute)


def uses_blocks(name: str) -> bool:
    """Whether a source needs the solution on blocks (local)."""
    return name in BUILT_IN and name not in _factories and source_class(name).card.blocks


def carries(name: str) -> str:
    """Responses that a source can carry, see `Card`; a user's own source says for itself (local)."""
    return str(source_class(name).card.carries) if name in BUILT_IN and name not in _factories else "any"


def complaints(name: str) -> list[str]:
    """Why there is no source of this name; empty if there is one (local)."""
    return source_complaints(name, names())


def create(name: str, physics: Physics, tools: Tools | None = None) -> GradientSource:
    """The source of this name for a state equation (collective).

    Raises:
        InputError: there is none.
        OwnCodeError: the user's factory failed.
    """
    if said := complaints(name):
        raise InputError(said)
    if name in _factories:
        try:
            return _factories[name](physics)
        except Exception as error:
            raise OwnCodeError(f"gradient.source: {name} could not be made: {in_words(error)}") from error
    source: GradientSource = source_class(name).make(tools or Tools(physics, GradientSpec(source=name)))
    return source
