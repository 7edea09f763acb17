"""Displacement, compliance and derivative of the voxel engine beside the assembled one: run on any number of ranks."""

from __future__ import annotations

from typing import Any

from mpi4py import MPI

import numpy as np
from helpers import main, make_problem, plane

from morpho.interfaces import Array
from morpho.mesh import Mesh, VoxelMesh
from morpho.parts import Parts

BOXES: dict[str, dict[str, Any]] = {
    "odd": {"size": [3.0, 1.5], "cells": [23, 11], "origin": [-1.0, 0.5]},
    "flat": {"size": [4.0, 0.5], "cells": [40, 3]},
    "even": {"size": [2.0, 1.0, 1.0], "cells": [16, 8, 8]},
    "odd bricks": {"size": [2.0, 1.5, 0.7], "cells": [13, 7, 5], "origin": [0.0, 1.0, -2.0]},
    "slender": {"size": [3.0, 0.25, 0.25], "cells": [37, 3, 2]},
}
#: large enough for several ranks to have a finest grid each, cut across z and across x
LARGE: dict[str, dict[str, Any]] = {
    "deep": {"size": [1.2, 1.0, 2.4], "cells": [12, 10, 24]},
    "long": {"size": [40.0, 1.2], "cells": [400, 12]},
}


def problem(box: dict[str, Any], engine: str, **parts: Any) -> Any:
    """Two load cases, with self weight, a body force and moving supports, on a box."""
    dim, low = len(box["size"]), box.get("origin", [0.0] * len(box["size"]))
    right = low[0] + box["size"][0]
    forces = [{"region": plane("x", right), "total": [0.1, -1.0, 0.4][:dim]}]
    weight = [{"self_weight": [0.0, -0.3, 0.2][:dim]}, {"body": [0.2, 0.0, 0.1][:dim]}]
    given = {
        "supports": [
            {"region": plane("x", low[0])},
            {"region": {"points": [[right, *low[1:]]]}, "fix": "y", "value": 0.02},
        ],
        "loads": [{"name": "tip", "forces": forces}, {"name": "own", "weight": 0.5, "forces": weight}],
        "solver": {"rtol": 1e-11},
        "engine": engine,
    }
    return make_problem(**{"mesh": {"box": box}} | given | parts)


def voxel_key(mesh: Mesh | VoxelMesh, box: dict[str, Any]) -> Array:
    """(n,) number of each owned cell with x fastest, whatever the mesh calls it."""
    if isinstance(mesh, VoxelMesh):
        return mesh.key
    low, high = mesh.corners
    at = (mesh.centers - low)[:, : mesh.dim] / (high - low)[: mesh.dim] * box["cells"]
    strides = np.cumprod([1, *box["cells"][:-1]])
    return at.astype(int) @ strides


def smooth_density(box: dict[str, Any]) -> Array:
    """A density for every cell of the box, from void to solid within a few cells."""
    grids = np.meshgrid(*[np.arange(n) for n in reversed(box["cells"])], indexing="ij")
    wave = sum(np.sin(0.9 * g + i) for i, g in enumerate(grids))
    return np.clip(0.5 + wave, 0.0, 1.0).ravel()


def solution(comm: MPI.Comm, box: dict[str, Any], engine: str, **given: Any) -> dict[str, Array]:
    """Compliance, derivative by cell and displacement at the lowest corner of each cell (collective)."""
    with Parts(problem(box, engine, **given), comm) as parts:
        key = voxel_key(parts.mesh, box)
        state = parts.physics.solve(smooth_density(box)[key])
        dim, n = parts.mesh.dim, parts.mesh.n_global
        found = {"compliance": state.compliance}
        for i in range(len(state.compliance)):
            found[f"derivative {i}"] = whole(comm, key, state.d_compliance[i], n)
            lowest = parts.physics.displacement(i)[:, :dim]
            found[f"displacement {i}"] = whole(comm, key, lowest, n)
    return found


def strut_density(box: dict[str, Any]) -> Array:
    """A strut along x in the lower corner, grey at its sides, and a loose lump far from it."""
    *_, y, x = grids = np.meshgrid(*[np.arange(n) for n in reversed(box["cells"])], indexing="ij")
    rho = np.clip(2.5 - sum(grids[:-1]) / 2, 0.0, 1.0)
    rho[(y == box["cells"][1] - 1) & (x == box["cells"][0] // 2 + 1)] = 0.7
    return np.asarray(rho.ravel())


def without_void(comm: MPI.Comm, box: dict[str, Any]) -> dict[str, Any]:
    """How a solve without void differs from one with it, and the share of the cells it leaves out (collective)."""
    low = box.get("origin", [0.0] * len(box["size"]))
    tip = {"points": [[low[0] + box["size"][0], *low[1:]]]}
    loads = [{"forces": [{"region": tip, "total": [0.1, -1.0, 0.4][: len(low)]}]}]
    given = problem(box, "voxel", loads=loads, supports=[{"region": plane("x", low[0])}])
    with Parts(given, comm) as parts, np.errstate(invalid="raise"):  # what is left out has to be numbers, too
        physics, n = parts.physics, parts.mesh.n_global
        rho = strut_density(box)[parts.mesh.key]
        physics.void_matters = True
        with_void = physics.solve(rho)
        physics.void_matters = False
        found = physics.solve(rho)
        left_out = int(np.count_nonzero(physics.cg.operator.E == 0))
        slopes = [whole(comm, parts.mesh.key, state.d_compliance[0], n) for state in (with_void, found)]
        return {
            "left out": comm.allreduce(left_out) / n,
            "compliance": float(abs(found.compliance[0] / with_void.compliance[0] - 1)),
            "derivative": float(np.abs(slopes[1] - slopes[0]).max() / np.abs(slopes[0]).max()),
        }


def whole(comm: MPI.Comm, key: Array, values: Array, n: int) -> Array:
    """Values of all ranks in the order of the key (collective)."""
    gathered = np.zeros((n, *values.shape[1:]))
    gathered[key] = values
    comm.Allreduce(MPI.IN_PLACE, gathered)
    return gathered


def facts(comm: MPI.Comm) -> dict[str, Any]:
    """The relative differences between the engines, and the compliances (collective)."""
    found: dict[str, Any] = {}
    for name, box in BOXES.items():
        voxel, assembled = (solution(comm, box, engine) for engine in ("voxel", "assembled"))
        for what, values in assembled.items():
            found[f"{name}: {what} differs by"] = np.abs(voxel[what] - values).max() / np.abs(values).max()
        found[f"{name}: compliance"] = voxel["compliance"]
    for name, box in (BOXES | LARGE).items():
        found |= {f"{name} without void: {what}": value for what, value in without_void(comm, box).items()}
    return found


if __name__ == "__main__":
    main(facts)
