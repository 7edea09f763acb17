"""Displacements and their derivatives on any number of ranks; one start of mpirun for all of them."""

from __future__ import annotations

import sys
from typing import Any

from mpi4py import MPI

from displacement_problems import inverter, two_probes
from helpers import by_key, evaluate, main, random_cells

from morpho import solve
from morpho.parts import Parts

PROBLEMS = [(dim, engine, weighs) for dim in (2, 3) for engine in ("voxel", "assembled") for weighs in (False, True)]


def values(comm: MPI.Comm, dim: int, engine: str, weighs: bool) -> dict[str, Any]:
    """Objective, constraints and all derivatives at a random design."""
    with Parts(two_probes(dim, engine, weighs), comm) as parts:
        found = evaluate(parts, random_cells(parts.mesh, 0.3, 0.7))
        d = [by_key(parts.mesh, row) for row in (found.d_objective, *found.d_constraints)]
    return {
        "objective": found.objective,
        "constraints": found.constraints.tolist(),
        "derivatives": [row.tolist() for row in d],
    }


def facts(comm: MPI.Comm) -> dict[str, Any]:
    """Those of all problems, and what runs of the inverter come to."""
    found = {f"{dim} {engine} {weighs}": values(comm, dim, engine, weighs) for dim, engine, weighs in PROBLEMS}
    runs = {source: solve(inverter(source, iterations=25), comm=comm) for source in ("exact", "secant")}
    return found | {source: {"objective": result.objective} for source, result in runs.items()}


if __name__ == "__main__":
    main(facts, *sys.argv[1:])
