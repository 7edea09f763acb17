"""Heat conduction on any number of ranks; one start of mpirun for all of it."""

from __future__ import annotations

import sys
from typing import Any

from mpi4py import MPI

from heat_problems import cube, warm
from helpers import by_key, evaluate, main, random_cells

from morpho import solve
from morpho.parts import Parts

PROBLEMS = [(dim, engine) for dim in (2, 3) for engine in ("voxel", "assembled")]


def values(comm: MPI.Comm, dim: int, engine: str) -> dict[str, Any]:
    """Objective, constraints and all derivatives at a random design."""
    with Parts(warm(dim, engine), comm) as parts:
        found = evaluate(parts, random_cells(parts.mesh, 0.3, 0.7))
        d = [by_key(parts.mesh, row) for row in (found.d_objective, *found.d_constraints)]
    return {
        "objective": found.objective,
        "constraints": found.constraints.tolist(),
        "derivatives": [row.tolist() for row in d],
    }


def facts(comm: MPI.Comm) -> dict[str, Any]:
    """Those of all problems, and what runs of a cube come to."""
    found = {f"{dim} {engine}": values(comm, dim, engine) for dim, engine in PROBLEMS}
    limits = {"max_iterations": 25, "objective_tolerance": 0}
    runs = {source: solve(cube(source, optimizer=limits), comm=comm) for source in ("exact", "secant")}
    return found | {source: {"objective": result.objective} for source, result in runs.items()}


if __name__ == "__main__":
    main(facts, *sys.argv[1:])
