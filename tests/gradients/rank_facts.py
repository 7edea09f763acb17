"""What every gradient source finds on small problems, on any number of ranks; one start of mpirun for all of them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from mpi4py import MPI

import architecture_problems
import guided_es_facts
from helpers import main
from two_scale_problems import SOURCES, cantilever, finished, two_cases

from morpho.problem import Problem

#: A run for each name. The algebraic multigrid of the assembled engine differs between rank counts, and so does one
#: iteration of it: `inexact` is left out there.
RUNS: dict[str, Callable[[], Problem]] = {
    **{f"{name}, box": lambda name=name: cantilever(name, iterations=12) for name in (*SOURCES, "dni")},  # type: ignore[misc]
    **{f"{name}, triangles": lambda name=name: two_cases(name) for name in (*SOURCES[1:], "dni")},  # type: ignore[misc]
    "onsg pretrained, box": lambda: cantilever("onsg", enough=0, onsg={"form": "pretrained"}),
    "prosg learned, box": lambda: cantilever("prosg", prosg={"form": "learned"}),
    "onsg residual, triangles": lambda: architecture_problems.small("residual", "triangles"),
    "onsg conv, box": lambda: architecture_problems.small("conv", "3"),
    **{f"guided_es, {kind}": lambda kind=kind: guided_es_facts.small(kind) for kind in guided_es_facts.KINDS},  # type: ignore[misc]
}


def fact(comm: MPI.Comm, name: str) -> dict[str, Any]:
    """The last design of one run, and how it came about."""
    (*_, last), rho = finished(RUNS[name](), comm)
    return {"objective": last.objective, "exact_solves": float(last.exact_solves), "rho": rho}


def facts(comm: MPI.Comm) -> dict[str, Any]:
    """Those of all runs."""
    return {name: fact(comm, name) for name in RUNS}


if __name__ == "__main__":
    main(facts, *sys.argv[1:])
