"""Runs with ranks that only solve: what every rank gets, and that no way out leaves a rank waiting."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from mpi4py import MPI

from helpers import main
from two_scale_problems import cantilever, two_cases

import morpho
from morpho.errors import InputError, MorphoError
from morpho.problem import Problem
from morpho.run import iterate


def problem(solver_ranks: int, iterations: int = 30, **parts: Any) -> Problem:
    given = cantilever("dni", 2, iterations, dni={"solver_ranks": solver_ranks, "max_delay": 30})
    return given.model_copy(update={name: getattr(given, name).model_copy(update=v) for name, v in parts.items()})


def whole(comm: MPI.Comm, solver_ranks: int, kind: str) -> dict[str, Any]:
    """A run to its end."""
    given = problem(solver_ranks)
    if kind == "triangles":
        flat = two_cases("dni", 15)
        own = flat.gradient.model_copy(update={"dni": given.gradient.dni})
        given = flat.model_copy(update={"gradient": own})
    steps: list[Any] = []

    def note(step: Any) -> None:
        steps.append(step)
        time.sleep(0.05)  # a design loop as short as this one would be over before the first solve

    result = morpho.solve(given, None, comm, note)
    return {
        "steps": len(steps),
        "objective": result.objective,
        "cells": [len(result.x), result.n_cells],
        "iterations": result.iterations,
        "linear": result.linear_iterations,
        "estimates": sum(s.advice.how == "estimate" for s in steps),
        "arrivals": sum(s.gradient.linear_iterations > 0 for s in steps if s.advice.how == "estimate"),
    }


def resumed(comm: MPI.Comm, solver_ranks: int) -> dict[str, Any]:
    """A run that is interrupted by its limit, and goes on with the ranks dealt out in another way."""
    folder = Path(comm.bcast(tempfile.mkdtemp() if comm.rank == 0 else None, root=0))
    first = morpho.solve(problem(solver_ranks, 12), folder, comm)
    after = morpho.resume(folder, problem(3 - solver_ranks, 24), comm)
    return {"iterations": [first.iterations, after.iterations], "objective": after.objective}


def left(comm: MPI.Comm, solver_ranks: int) -> dict[str, Any]:
    """Ways out in the middle of a run, and complaints before it."""

    def fail(step: Any) -> None:
        if step.iteration == 6:
            raise ValueError("on purpose")

    said = []
    for call in (
        lambda: morpho.solve(problem(solver_ranks), None, comm, fail),
        lambda: morpho.resume("/nowhere/at/all", problem(solver_ranks), comm),
        lambda: morpho.solve(problem(comm.size), None, comm),
        lambda: morpho.solve(problem(solver_ranks, gradient={"source": "dnj"}), None, comm),
    ):
        try:
            call()
            said.append("")
        except InputError as error:
            said.append(f"InputError: {error}")
        except (MorphoError, ValueError) as error:
            said.append(str(error))
    taken = 0
    for _ in iterate(problem(solver_ranks), comm):
        taken += 1
        if taken == 6:
            break
    failed = morpho.solve(problem(solver_ranks, solver={"max_iterations": 1}), None, comm)
    return {"said": said, "taken": taken, "status": failed.status.name}


def facts(comm: MPI.Comm, what: str, solver_ranks: str, *more: str) -> dict[str, Any]:
    """What each rank found."""
    found = {"whole": whole, "resumed": resumed, "left": left}[what](comm, int(solver_ranks), *more)
    return {"ranks": comm.gather(found)}


if __name__ == "__main__":
    main(facts, *sys.argv[1:])
