"""Solves whose coarse grids move to fewer ranks: run on any number of ranks; on one they stay."""

from __future__ import annotations

from typing import Any

from mpi4py import MPI

import numpy as np
from helpers import box, main, plane, random_cells
from voxel_cycle_facts import treat_as_many

from morpho.errors import SolverError
from morpho.fem.elasticity import stiffness
from morpho.fem.voxel import multigrid
from morpho.fem.voxel.coarsening import node_shape
from morpho.fem.voxel.halo import SharedPlanes
from morpho.mesh.partition import split
from morpho.parts import Parts
from morpho.problem import Problem

ELASTIC = {
    "supports": [{"region": plane("x", 0), "fix": "all"}],
    "loads": [{"name": "tip", "forces": [{"region": plane("x", 1), "total": [0, -1, 0]}]}],
}
HEAT = {
    "physics": "heat",
    "material": {"conductivity": 1},
    "supports": [],
    "convection": [{"region": plane("x", 0), "coefficient": 3, "ambient": 0}],
    "loads": [{"name": "warm", "sources": [{"total": 1}]}],
}


def solved(comm: MPI.Comm, what: dict[str, Any], cells: list[int]) -> dict[str, float]:
    """Compliance and iterations of a solve at densities that depend on the place only (collective)."""
    problem = Problem.model_validate(
        {"mesh": box(cells), "constraints": [{"volume_fraction": 0.5}], "solver": {"rtol": 1e-8}, **what}
    )
    with Parts(problem, comm) as parts:
        rho = random_cells(parts.mesh, 0.1)
        state = parts.physics.solve(rho)
        return {"compliance": float(state.compliance[0]), "iterations": state.linear_iterations}


def complaints(comm: MPI.Comm) -> int:
    """Ranks that are told that the coarsest grid cannot be solved (collective)."""
    element = multigrid.Element.of(stiffness(np.ones(3), 0.3, "stress"), 3)
    cells = (16, 12, 12)
    planes = SharedPlanes(comm, split(cells, comm.size))
    low, high = planes.partition.box(comm.rank)
    nz, ny, nx = node_shape(tuple(b - a for a, b in zip(low, high, strict=True)))
    grid = multigrid.build(element, planes, np.zeros((nz, ny, 3, nx), dtype=bool), 0, cells)
    grid.E[:] = -1
    try:
        grid.refresh()
        told = 0
    except SolverError:
        told = 1
    grid.close()
    return int(comm.allreduce(told))


def facts(comm: MPI.Comm) -> dict[str, Any]:
    treat_as_many(deep=4)
    return {
        "elastic": solved(comm, ELASTIC, [40, 20, 12]),
        "heat": solved(comm, HEAT, [40, 21, 12]),
        "told": complaints(comm),
    }


if __name__ == "__main__":
    main(facts)
