"""The mesh as the rest of morpho sees it: a dolfinx mesh, stable cell numbers, named tags, its parent."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from mpi4py import MPI

import numpy as np
from numpy.typing import NDArray

from morpho.interfaces import Array
from morpho.late import dmesh
from morpho.parallel import global_sum

Indices = NDArray[np.int32]
NOTHING: Indices = np.empty(0, dtype=np.int32)


@dataclass(frozen=True)
class Mesh:
    """A distributed mesh of one cell type without ghost cells.

    `key` numbers the owned cells 0..n_global-1 in a way that does not depend on the number of ranks: it is what
    checkpoints and comparisons between runs are sorted by.
    """

    domain: dmesh.Mesh
    key: NDArray[np.int64]  #: (n,) owned cells
    tags: dict[str, dict[int, Indices]] = field(default_factory=dict)  #: name -> dimension -> local entities
    parent: Mesh | None = None  #: the mesh this one was refined from
    parent_cell: Indices | None = None  #: (n,) local cell of `parent`, always on the same rank
    coincident: int = 0  #: nodes of the file that lie where another one lies
    notes: tuple[str, ...] = ()  #: what the user should know of how the file was read

    @property
    def comm(self) -> MPI.Comm:
        return self.domain.comm

    @property
    def dim(self) -> int:
        """Topological (and geometric) dimension."""
        return int(self.domain.topology.dim)

    @property
    def cell_name(self) -> str:
        return str(self.domain.topology.cell_name())

    @property
    def n(self) -> int:
        """Owned cells."""
        return len(self.key)

    def entity_name(self, dim: int) -> str:
        """What entities of a dimension are called, in the plural (local)."""
        return entity_name(dim, self.dim)

    def places(self, cells: bool) -> Iterator[Array]:
        """Coordinates (p, 3) of this rank's vertices, or centres of its cells, in portions (local)."""
        yield self.centers if cells else self.domain.geometry.x

    @cached_property
    def n_global(self) -> int:
        return int(self.domain.topology.index_map(self.dim).size_global)

    @cached_property
    def centers(self) -> Array:
        """(n, 3) centres of the owned cells."""
        x = self.domain.geometry.x[self.domain.geometry.dofmap]
        return np.asarray(x.mean(axis=1))

    @cached_property
    def corners(self) -> tuple[Array, Array]:
        """Lowest and highest corner of the bounding box, (3,) each (first use is collective)."""
        x = self.domain.geometry.x
        low, high = np.min(x, axis=0, initial=np.inf), np.max(x, axis=0, initial=-np.inf)
        self.comm.Allreduce(MPI.IN_PLACE, low, MPI.MIN)
        self.comm.Allreduce(MPI.IN_PLACE, high, MPI.MAX)
        return low, high

    @cached_property
    def tolerance(self) -> float:
        """How far from a plane a vertex may lie and still be on it (first use is collective)."""
        low, high = self.corners
        return 1e-6 * float(np.linalg.norm(high - low))

    @cached_property
    def cell_size(self) -> float:
        """Edge of a regular cell with the mean cell measure (first use is collective)."""
        mean = self.total_volume / self.n_global
        regular = {"triangle": math.sqrt(3) / 4, "tetrahedron": math.sqrt(2) / 12}
        return float(mean / regular.get(self.cell_name, 1.0)) ** (1 / self.dim)

    @cached_property
    def total_volume(self) -> float:
        """Area or volume of the whole mesh (first use is collective)."""
        return global_sum(self.comm, self.volumes)

    @cached_property
    def volumes(self) -> Array:
        """(n,) areas or volumes of the owned cells, from signed straight-sided simplices (exact where concave)."""
        x = self.domain.geometry.x[self.domain.geometry.dofmap]
        total = np.zeros(len(x))
        for simplex in SIMPLICES[self.cell_name]:
            edges = x[:, simplex[1:]] - x[:, simplex[:1]]
            if self.dim == 2:
                total += 0.5 * np.cross(edges[:, 0], edges[:, 1])[:, 2]
            else:
                total += np.einsum("ni,ni->n", np.cross(edges[:, 0], edges[:, 1]), edges[:, 2]) / 6
        return np.abs(total)


def entity_name(dim: int, of: int) -> str:
    """What entities of a dimension are called in a mesh of another one, in the plural."""
    return {0: "points", of: "cells", of - 1: "facets"}.get(dim, "edges")


#: Every cell as simplices of its vertices in dolfinx order.
SIMPLICES = {
    "triangle": np.array([[0, 1, 2]]),
    "quadrilateral": np.array([[0, 1, 2], [1, 3, 2]]),
    "tetrahedron": np.array([[0, 1, 2, 3]]),
    "hexahedron": np.array([[0, 1, 3, 7], [0, 1, 7, 5], [0, 5, 7, 4], [0, 3, 2, 7], [0, 6, 4, 7], [0, 2, 6, 7]]),
}
