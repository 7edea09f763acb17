"""Runs with each network of `onsg`, and what they find on any number of ranks."""

from __future__ import annotations

import sys
from typing import Any

from mpi4py import MPI

from helpers import main
from two_scale_problems import cantilever, finished, two_cases

from morpho.problem import Problem


def given(dim: int, iterations: int = 20, **network: Any) -> Problem:
    """The cantilever with its network at work all the time."""
    return cantilever("onsg", dim, iterations, enough=0, onsg=network)


def on_triangles(iterations: int = 12, **network: Any) -> Problem:
    """Two load cases on a mesh that is no box."""
    problem = two_cases("onsg", iterations)
    gradient = problem.gradient.model_copy(update={"onsg": problem.gradient.onsg.model_copy(update=network)})
    return problem.model_copy(update={"gradient": gradient})


def facts(comm: MPI.Comm, architecture: str, kind: str) -> dict[str, Any]:
    """The last design and its objective."""
    known = {"architecture": architecture, "hidden": 8}
    problem = on_triangles(8, **known) if kind == "triangles" else given(int(kind), 10, **known)
    (*_, last), rho = finished(problem, comm)
    return {"objective": last.objective, "rho": rho}


if __name__ == "__main__":
    main(facts, *sys.argv[1:])
