"""Runs with each network of `onsg`."""

from __future__ import annotations

from typing import Any

from two_scale_problems import cantilever, two_cases

from morpho.problem import Problem


def given(dim: int, iterations: int = 20, **network: Any) -> Problem:
    """The cantilever with its network at work all the time."""
    return cantilever("onsg", dim, iterations, enough=0, onsg=network)


def on_triangles(iterations: int = 12, **network: Any) -> Problem:
    """Two load cases on a mesh that is no box."""
    problem = two_cases("onsg", iterations)
    gradient = problem.gradient.model_copy(update={"onsg": problem.gradient.onsg.model_copy(update=network)})
    return problem.model_copy(update={"gradient": gradient})


def small(architecture: str, kind: str) -> Problem:
    """A short run with a small network."""
    known = {"architecture": architecture, "hidden": 8}
    return on_triangles(8, **known) if kind == "triangles" else given(int(kind), 10, **known)
