"""A voxelized part on any number of ranks: what should not depend on them."""

import sys
from pathlib import Path

from mpi4py import MPI

import numpy as np
from helpers import main

import morpho
from morpho.parallel import global_dot
from morpho.parts import Parts
from morpho.problem.load import parse_problem


def problem(path: Path, **parts):
    """A plate with a hole whose left end is held; its hole is pulled."""
    given = {
        "mesh": {"voxelize": str(path), "spacing": 1.25},
        "supports": [{"region": {"plane": {"axis": "x", "at": 40}}}],
        "loads": [
            {"name": "pull", "forces": [{"region": {"near": {"region": HOLE, "distance": 0.9}}, "total": [0, 3, 1]}]}
        ],
        "constraints": [{"volume_fraction": 0.4}],
        "design": {"filter": {"kind": "cone", "radius": 3.0}},
        "solver": {"rtol": 1e-10},
        "optimizer": {"max_iterations": 5},
    }
    return parse_problem(given | parts, "plate", path.parent)


HOLE = {"cylinder": {"center": [10, 10, 0], "radius": 4}}


def facts(comm: MPI.Comm, path: str, kind: str = "cone") -> dict[str, float]:
    given = problem(Path(path), design={"filter": {"kind": kind, "radius": 3.0}})
    with Parts(given, comm) as parts:
        mesh = parts.mesh
        x = 0.3 + 0.4 * np.cos(0.7 * mesh.key) ** 2
        rho, pull = parts.design.at(1).apply(x)
        state = parts.physics.solve(rho)
        d = pull(state.d_compliance[0])
        cells, nodes = mesh.n_global, parts.physics.n_dofs
        slope = global_dot(comm, d, np.sin(mesh.key))
    result = morpho.solve(given, comm=comm)
    return {
        "cells": cells,
        "dofs": nodes,
        "compliance": float(state.compliance[0]),
        "slope": float(slope),
        "objective": result.objective,
        "volume": result.volume,
    }


if __name__ == "__main__":
    main(facts, *sys.argv[1:])
