"""Held displacement components of a box of equal cells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from morpho.fem.mechanisms import Points, find_mechanisms, judge
from morpho.fem.supports import contradiction, held_components, nothing_held
from morpho.fem.voxel.bodies import places, whole
from morpho.fem.voxel.halo import SharedPlanes
from morpho.interfaces import Array
from morpho.mesh.voxels import VoxelMesh
from morpho.parallel import any_rank
from morpho.problem.spec import Support

Dofs = NDArray[np.int64]


@dataclass(frozen=True)
class Held:
    """Components with a prescribed value; those of shared nodes are on every rank that has the node."""

    dofs: Dofs  #: sorted, into the flat nodal array (z, y, component, x) of this rank
    values: Array  #: prescribed displacement of each


def hold(mesh: VoxelMesh, supports: tuple[Support, ...]) -> tuple[Held, list[str], list[int]]:
    """Held components, complaints, and the number of nodes each support holds (collective)."""
    held = Held(np.empty(0, dtype=np.int64), np.empty(0))
    said: list[str] = []
    counts: list[int] = []
    planes = SharedPlanes(mesh.comm, mesh.partition)
    for i, support in enumerate(supports):
        inside = mesh.nodes_in(support.region)
        counts.append(int(mesh.comm.allreduce(np.count_nonzero(planes.owned(inside[:, :, None])))))
        if counts[-1] == 0:
            said.append(nothing_held(mesh, i, support.region))
        nodes = np.flatnonzero(inside)
        for component, value in held_components(support, mesh.dim):
            dofs = _dofs(mesh, nodes, component)
            earlier = held.values[np.isin(held.dofs, dofs, assume_unique=True)]
            if any_rank(mesh.comm, bool((earlier != value).any())):
                said.append(contradiction(i, component, value))
            held = _with(held, dofs, value)
    if not said:
        bodies = whole(mesh, np.zeros(0, dtype=np.int64))
        _, x, values = by_node(mesh, held.dofs, held.values)
        points = Points(x, np.zeros(len(x), dtype=np.int64), (~np.isnan(values)).astype(float))
        said += judge(mesh, bodies, find_mechanisms(mesh.comm, mesh.dim, bodies, points, [], False))[0]
    return held, said, counts


def _dofs(mesh: VoxelMesh, nodes: Dofs, component: int) -> Dofs:
    """Flat indices of a component at nodes with flat indices into (z, y, x)."""
    row, x = np.divmod(nodes, mesh.node_shape[2])
    return np.asarray((row * mesh.dim + component) * mesh.node_shape[2] + x)


def _with(held: Held, dofs: Dofs, value: float) -> Held:
    """Hold more components; a later value replaces an earlier one."""
    merged, first = np.unique(np.concatenate([dofs, held.dofs]), return_index=True)
    return Held(merged, np.concatenate([np.full(len(dofs), value), held.values])[first])


def by_node(mesh: VoxelMesh, dofs: Dofs, given: Array) -> tuple[Dofs, Array, Array]:
    """Nodes with some of these dofs, by flat number, their coordinates (nodes, 3), and what is given of each component
    (nodes, dim), nan where nothing is (local)."""
    row, x = np.divmod(dofs, mesh.node_shape[2])
    nodes, at = np.unique(row // mesh.dim * mesh.node_shape[2] + x, return_inverse=True)
    values = np.full((len(nodes), mesh.dim), np.nan)
    values[at, row % mesh.dim] = given
    return nodes, places(mesh, nodes), values
