"""Telling one mesh from another: what a checkpoint was made on, and what it is to go on with."""

from __future__ import annotations

from typing import Any

from mpi4py import MPI

import numpy as np
from numpy.typing import NDArray

from morpho.mesh.mesh import Mesh
from morpho.mesh.voxels import VoxelMesh
from morpho.problem import spec

Words = NDArray[np.uint64]


def fingerprint(description: spec.Mesh, mesh: Mesh | VoxelMesh) -> dict[str, Any]:
    """JSON values that are equal for equal meshes, on any number of ranks and by either engine (collective)."""
    box = description.box
    if box is not None:
        origin = box.origin or (0.0,) * len(box.size)
        where = {"size": list(box.size), "cells": list(box.cells), "origin": list(origin)}
        return {"cell": mesh.cell_name, "refine": description.refine} | where
    if isinstance(mesh, VoxelMesh):
        assert mesh.filled is not None
        keys = _mixed(mesh.places_in_box.astype(np.uint64)[:, None])
        where = {"cells": list(mesh.cells), "spacing": mesh.spacing.tolist(), "origin": mesh.origin.tolist()}
        return {"cell": mesh.cell_name, "hash": f"{_total(mesh.comm, keys):016x}"} | where
    return {"cell": mesh.cell_name, "cells": mesh.n_global, "hash": f"{_hash(mesh):016x}"}


def _hash(mesh: Mesh) -> int:
    """Of the corners of every cell with its key; the order of cells and of corners does not matter (collective)."""
    geometry = mesh.domain.geometry
    points = _mixed(np.ascontiguousarray(geometry.x + 0.0).view(np.uint64))  # + 0.0: there is one zero only
    corners = points[geometry.dofmap[: mesh.n]].sum(axis=1, dtype=np.uint64)
    cells = _mixed(np.column_stack([corners, mesh.key.astype(np.uint64)]))
    return _total(mesh.comm, cells)


def _total(comm: MPI.Comm, hashes: Words) -> int:
    """Their sum over all ranks (collective)."""
    total = np.array([hashes.sum(dtype=np.uint64)], dtype=np.uint64)
    comm.Allreduce(MPI.IN_PLACE, total, MPI.SUM)
    return int(total[0])


def _mixed(columns: Words) -> Words:
    """(n,) hash of each row of (n, c), by the finaliser of MurmurHash3."""
    mixed: Words = np.zeros(len(columns), dtype=np.uint64)
    for column in columns.T:
        mixed = (mixed * np.uint64(31)) ^ column
        for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
            mixed = (mixed ^ (mixed >> np.uint64(33))) * np.uint64(factor)
        mixed ^= mixed >> np.uint64(33)
    return mixed
