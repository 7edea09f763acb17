"""Functionals on any number of ranks; one start of mpirun for all of them."""

from __future__ import annotations

import sys
from typing import Any

from mpi4py import MPI

from functional_problems import Mixed, beam, limited, mixed, tower, used
from helpers import by_key, evaluate, main, random_cells

import morpho
from morpho.parts import Parts
from morpho.problem import Problem

MAKERS = (mixed, beam, tower, limited, used)
PROBLEMS = [(dim, engine, make) for dim in (2, 3) for engine in ("voxel", "assembled") for make in MAKERS]


def values(comm: MPI.Comm, problem: Problem) -> dict[str, Any]:
    """Objective, constraints, all derivatives and the stress at a random design."""
    with Parts(problem, comm) as parts:
        found = evaluate(parts, random_cells(parts.mesh, 0.3, 0.7))
        d = [by_key(parts.mesh, row) for row in (found.d_objective, *found.d_constraints)]
        vm = by_key(parts.mesh, parts.physics.von_mises(0))
    return {
        "objective": found.objective,
        "constraints": found.constraints.tolist(),
        "derivatives": [row.tolist() for row in d],
        "von_mises": vm.tolist(),
    }


def facts(comm: MPI.Comm) -> dict[str, Any]:
    """Those of all problems."""
    morpho.responses.register("mixed", Mixed)
    return {f"{make.__name__} {dim} {engine}": values(comm, make(dim, engine)) for dim, engine, make in PROBLEMS}


if __name__ == "__main__":
    main(facts, *sys.argv[1:])
