"""What the solution on blocks says about the cells, with either engine: run on any number of ranks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mpi4py import MPI

import numpy as np
from helpers import DIM, by_key, main, random_cells
from voxel_engine_facts import BOXES, problem

import morpho.fem.coarse
import morpho.fem.voxel.coarse
from morpho.fem.assembled import AssembledEquation
from morpho.fem.voxel.equation import VoxelEquation
from morpho.interfaces import Array
from morpho.mesh import Mesh, VoxelMesh, build_mesh
from morpho.mesh.voxels import voxel_mesh

BLOCKS = [("odd", 2), ("flat", 2), ("even", 4), ("odd bricks", 2), ("slender", 4)]
CELLS = {"triangle": [5, 3], "quadrilateral": [5, 3], "tetrahedron": [3, 2, 2], "hexahedron": [3, 2, 2]}


@contextmanager
def two_scales(
    comm: MPI.Comm, engine: str, part: dict[str, Any], block: int, rtol: float | None = 1e-11, **given: Any
) -> Iterator[tuple[Any, Any]]:
    """An engine and the same on blocks, these solved to rtol, if given; the mesh as in a file (collective)."""
    what = problem(part["box"], engine, mesh=part, **given)
    refine = part.get("refine", 0)
    fine: Any
    if engine == "voxel":
        fine = VoxelEquation(voxel_mesh(what.mesh.box, refine, comm, block), what)
    else:
        fine = AssembledEquation(build_mesh(what.mesh, comm), what)
    module: Any = morpho.fem.voxel.coarse if engine == "voxel" else morpho.fem.coarse
    usual, module.RTOL = module.RTOL, rtol or module.RTOL
    try:
        with fine:
            yield fine, fine.coarse(block)
    finally:
        module.RTOL = usual


def centers(mesh: Mesh | VoxelMesh) -> Array:
    """(n, dim) middle of each owned cell, relative to the box."""
    if isinstance(mesh, VoxelMesh):
        places = np.unravel_index(mesh.key, mesh.cells[::-1])[::-1]
        return (np.stack(places, axis=1) + 0.5) / mesh.cells
    low, high = (corner[: mesh.dim] for corner in mesh.corners)
    return (mesh.centers[:, : mesh.dim] - low) / (high - low)


def gentle_density(mesh: Mesh | VoxelMesh, phase: float = 0.0) -> Array:
    """(n,) a density that changes little within a block."""
    x = centers(mesh)
    return 0.5 + 0.3 * np.sin(4 * x[:, 0] + phase) * np.cos(3 * x[:, -1])


def middle_displacement(fine: Any, case: int) -> Array:
    """(n, dim) mean over what `displacement` gives of each owned cell (local)."""
    return np.asarray(fine.displacement(case).reshape(fine.mesh.n, -1, fine.mesh.dim).mean(axis=1))


def solution(fine: Any, coarse: Any) -> dict[str, Any]:
    """Everything about a solution on blocks, at a second design (collective)."""
    mesh = fine.mesh
    coarse.solve(gentle_density(mesh, phase=1.0))
    state = coarse.solve(gentle_density(mesh))
    coarse.improve()
    noise = random_cells(mesh)
    found = {
        "compliance": state.compliance,
        "mean energy": state.mean_energy,
        "smooth": by_key(mesh, coarse.smooth(noise)),
        "mean": by_key(mesh, coarse.mean(noise)[coarse.owner]),
        "smooth blocks": by_key(mesh, coarse.smooth_blocks(coarse.mean(noise))[coarse.owner]),
    }
    for i in range(len(fine.cases)):
        found[f"energy {i}"] = by_key(mesh, state.energy[i])
        found[f"displacement {i}"] = by_key(mesh, middle_displacement(fine, i))
        if fine.weight_density[i].any():
            found[f"weight work {i}"] = by_key(mesh, state.weight_work[i])
    return found


def facts(comm: MPI.Comm) -> dict[str, Any]:
    """Solutions of both engines (collective)."""
    meshes = [("voxel", name, {"box": BOXES[name]}, block) for name, block in BLOCKS]
    for cell, cells in CELLS.items():
        box = {"size": [2.0, 1.5, 1.0][: DIM[cell]], "cells": cells, "cell": cell}
        for k in (1, 2)[: 4 - DIM[cell]]:
            meshes.append(("assembled", f"{cell}s in {2**k}", {"box": box, "refine": k}, 2**k))
    found = {}
    for engine, name, part, block in meshes:
        with two_scales(comm, engine, part, block) as (fine, coarse):
            found |= {f"{name}: {what}": values for what, values in solution(fine, coarse).items()}
    return found


if __name__ == "__main__":
    main(facts)
