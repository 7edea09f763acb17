"""The differences between dolfinx 0.9, 0.10 and 0.11, in one place."""

from __future__ import annotations

from typing import Any

from mpi4py import MPI

import numpy as np
from numpy.typing import NDArray

from morpho.late import dmesh, dolfinx, graph


def version() -> tuple[int, ...]:
    """Of dolfinx (local)."""
    return tuple(int(part) for part in dolfinx.__version__.split(".")[:2])


def create_mesh(
    comm: MPI.Comm, cells: NDArray[np.int64], x: NDArray[np.float64], element: Any, stay: bool = False
) -> dmesh.Mesh:
    """Distributed mesh without ghost cells from this rank's cells and points (collective).

    With `stay`, every cell stays on the rank that gives it; otherwise the graph partitioner decides.
    """

    def keep(comm: MPI.Comm, parts: int, *cells: Any) -> Any:
        return _stay(comm.rank, cells)

    partitioner = keep if stay else default_partitioner()
    if version() < (0, 10):
        return dmesh.create_mesh(comm, cells, x, element, partitioner)
    return dmesh.create_mesh(comm, cells, element, x, partitioner)


def default_partitioner() -> Any:
    """Graph partitioner that makes no ghost cells."""
    if version() < (0, 11):
        return dmesh.create_cell_partitioner(dmesh.GhostMode.none)
    return dmesh.create_cell_partitioner(graph.partitioner(), dmesh.GhostMode.none, 2)


def _stay(rank: int, arguments: tuple[Any, ...]) -> Any:
    """Destination `rank` for every cell that dolfinx hands to a partitioner."""
    kinds, lists = arguments[-2:]
    corners = {"triangle": 3, "quadrilateral": 4, "tetrahedron": 4, "hexahedron": 8}
    count = sum(len(c) // corners[kind.name] for kind, c in zip(kinds, lists, strict=True))
    links = graph.adjacencylist(np.full(count, rank, dtype=np.int32), np.arange(count + 1, dtype=np.int32))
    return getattr(links, "_cpp_object", links)
