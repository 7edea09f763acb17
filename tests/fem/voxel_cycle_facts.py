"""One multigrid cycle on boxes that are cut between ranks: run on any number of ranks."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from mpi4py import MPI

import numpy as np
from helpers import main

from morpho.fem.elasticity import stiffness
from morpho.fem.voxel import multigrid
from morpho.fem.voxel.coarsening import node_shape
from morpho.fem.voxel.halo import SharedPlanes
from morpho.interfaces import Array
from morpho.mesh import partition as cutting
from morpho.mesh.partition import Partition, split

multigrid.SMALL = multigrid.COARSEST  # so that several grids are cut


def cycle(cells: tuple[int, ...], partition: Partition, comm: MPI.Comm) -> Array:
    """What a cycle makes of random forces on random moduli, on the whole box (collective)."""
    dim = len(cells)
    element = multigrid.Element.of(stiffness(np.ones(dim), 0.3, "stress"), dim)
    nz, ny, nx = node_shape(cells)
    held = np.zeros((nz, ny, dim, nx), dtype=bool)
    held[..., 0] = True
    held[:, 0, 0, nx // 2 :] = True
    E = np.random.default_rng(0).random((*(cells[2:] or (1,)), cells[1], cells[0]))
    b = np.where(held, 0, np.random.default_rng(1).normal(size=held.shape))

    low, high = partition.box(comm.rank)
    x, y, z = (*(slice(a, e) for a, e in zip(low, high, strict=True)), slice(0, 1))[:3]
    part = z, y, x
    x, y, z = (*(slice(a, e + 1) for a, e in zip(low, high, strict=True)), slice(0, 1))[:3]
    nodes = z, y, slice(None), x
    planes = SharedPlanes(comm, partition)
    grid = multigrid.build(element, planes, held[nodes], 0, cells)
    grid.E[:] = E[part]
    grid.refresh()
    grid.b[:] = b[nodes]
    grid.cycle()
    found, own = np.zeros(b.shape), grid.x.copy()
    planes.keep_owned(own)
    found[nodes] = own
    comm.Allreduce(MPI.IN_PLACE, found)
    return found


def treat_as_many(deep: float = math.inf) -> None:
    """Let any number of ranks leave coarse grids to fewer of them, of little boxes; see `multigrid.DEEP`."""
    multigrid.FEW, multigrid.WORTH, multigrid.DEEP, cutting.EDGE = 1, 1.2, deep, {2: 6, 3: 4}


def facts(comm: MPI.Comm) -> dict[str, Any]:
    """By how much a cycle differs from the same on one rank, for every depth at which grids are made whole or moved."""
    kept = cycles(comm, "whole")
    treat_as_many()
    return kept | cycles(comm, "on fewer ranks")


def cycles(comm: MPI.Comm, way: str) -> dict[str, Any]:
    """The differences, by box and depth (collective)."""
    found = {}
    for cells in ((61, 33), (160, 7), (48, 24, 16), (37, 21, 13)):
        alone = cycle(cells, split(cells, 1), MPI.COMM_SELF)
        partition = split(cells, comm.size)
        for levels in range(partition.levels + 1):
            difference = np.abs(cycle(cells, replace(partition, levels=levels), comm) - alone).max()
            found[f"{cells} {way} from level {levels} on"] = difference / np.abs(alone).max()
    return found


if __name__ == "__main__":
    main(facts)
