"""The gradient sources by name; users add their own."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

from morpho.errors import InputError
from morpho.interfaces import GradientSource

Factory = Callable[[Any], GradientSource]

_factories: dict[str, Factory] = {}


def register(name: str, factory: Factory) -> None:
    """Make `source: name` available; factory(physics) gives the source (local, do it on every rank)."""
    _factories[name] = factory


def names() -> list[str]:
    """Every registered name (local)."""
    return sorted({"exact", *_factories})


def complaints(name: str) -> list[str]:
    """Why there is no source of this name; empty if there is one (local)."""
    if name in names():
        return []
    close = difflib.get_close_matches(name, names(), n=1)
    cure = f"did you mean {close[0]!r}?" if close else f"use one of {', '.join(names())}, or register your own"
    return [f"gradient.source: there is no source {name!r}; {cure}"]


def create(name: str, physics: Any) -> GradientSource:
    """The source of this name for a state equation.

    Raises:
        InputError: there is none.
    """
    if said := complaints(name):
        raise InputError(said)
    if name in _factories:
        return _factories[name](physics)
    from morpho.gradients.exact import Exact

    return Exact(physics)
