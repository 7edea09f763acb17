"""What has to be the same on any number of ranks about local volumes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mpi4py import MPI

import numpy as np
from helpers import by_key, main, random_cells

import morpho
from morpho.parts import Parts
from morpho.problem import Problem
from morpho.problem.load import parse_problem


def porous(engine: str = "voxel", **parts: Any) -> Problem:
    """A beam with a skin that is kept and a void corner, at most half full around every cell."""
    given = {
        "engine": engine,
        "mesh": {"box": {"size": [16, 8, 5], "cells": [16, 8, 5]}},
        "supports": [{"region": {"plane": {"axis": "x", "at": 0}}}],
        "loads": [{"forces": [{"region": {"plane": {"axis": "x", "at": 16}}, "total": [0.2, 0, -1]}]}],
        "constraints": [{"volume_fraction": 0.6}, {"kind": "local_volume", "radius": 2.5, "max": 0.5}],
        "design": {
            "filter": {"kind": "cone", "radius": 1.6},
            "projection": {"beta": 4},
            "passive": {
                "solid": [{"box": {"min": [0, 0, 4], "max": [16, 8, 5]}}],
                "void": [{"box": {"min": [8, 0, 0], "max": [10, 2, 2]}}],
            },
        },
        "solver": {"rtol": 1e-10},
        "optimizer": {"max_iterations": 8, "tolerance": 0, "objective_tolerance": 0},
    }
    return parse_problem(given | parts, "porous", Path())


def facts(comm: MPI.Comm) -> dict[str, Any]:
    """Its value and derivative on both engines, and a run, flat by name (collective)."""
    found: dict[str, Any] = {}
    for engine in ("voxel", "assembled"):
        with Parts(porous(engine), comm) as parts:
            rho = random_cells(parts.mesh)
            response = parts.responses.bounds[1].response
            value = response.at(rho, None)  # type: ignore[arg-type]
            found[f"value, {engine}"] = value.value
            if engine == "voxel":
                found["derivative"] = by_key(parts.mesh, value.d_rho)
                means, _ = parts.design.local_mean(2.5, "constraints[1]").apply(rho)
                found["means"] = by_key(parts.mesh, means)
    steps = list(morpho.iterate(porous(), comm=comm))
    found["values"] = np.array([0.5 * (1 + step.constraints[1]) for step in steps])
    return found


if __name__ == "__main__":
    main(facts)
