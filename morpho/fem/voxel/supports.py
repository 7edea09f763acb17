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
from morpho.problem.acting import Support

Dofs = NDArray[np.int64]


@dataclass(frozen=True)
class Held:
    """Components with a prescribed value; those of shared nodes are on every rank that has the node."""

    dofs: Dofs  #: sorted, into the flat nodal array (z, y, component, x) of this rank
    values: Array  #: prescribed displacement of each


def hold(
    mesh: VoxelMesh, supports: tuple[Support, ...], components: int, anchors: Dofs
) -> tuple[Held, list[str], list[int], list[str]]:
    """Held components, complaints, the number of nodes each support holds, and notes (collective).

    Args:
        components: of the state at a node.
        anchors: other dofs that keep the body from moving.
    """
    held = Held(np.empty(0, dtype=np.int64), np.empty(0))
    said: list[str] = []
    counts: list[int] = []
    notes: list[str] = []
    planes = SharedPlanes(mesh.comm, mesh.partition)
    for i, support in enumerate(supports):
        inside = mesh.nodes_in(support.region)
        counts.append(int(mesh.comm.allreduce(np.count_nonzero(planes.owned(inside[:, :, None])))))
        if counts[-1] == 0:
            said.append(nothing_held(mesh, i, support.region))
        nodes = np.flatnonzero(inside)
        for component, value in held_components(support, components):
            dofs = component_dofs(mesh, nodes, component, components)
            earlier = held.values[np.isin(held.dofs, dofs, assume_unique=True)]
            if any_rank(mesh.comm, bool((earlier != value).any())):
                said.append(contradiction(i, component, value, components))
            held = _with(held, dofs, value)
    if not said:
        nodes, x, which = held_nodes(mesh, held, components, anchors)
        bodies = whole(mesh, nodes)
        points = Points(x, bodies.of_node, which)
        said, notes = judge(mesh, bodies, find_mechanisms(mesh.comm, components, bodies, points, [], False))
    return held, said, counts, notes


def held_nodes(mesh: VoxelMesh, held: Held, components: int, anchors: Dofs) -> tuple[Dofs, Array, Array]:
    """The nodes with a component that supports or anchors hold, by flat number, their coordinates (nodes, 3), and
    which (nodes, components) are held (local)."""
    dofs = np.union1d(held.dofs, anchors)
    nodes, x, values = by_node(mesh, dofs, np.zeros(len(dofs)), components)
    return nodes, x, (~np.isnan(values)).astype(float)


def component_dofs(mesh: VoxelMesh, nodes: Dofs, component: int, components: int) -> Dofs:
    """Flat indices of a component at nodes with flat indices into (z, y, x) (local)."""
    row, x = np.divmod(nodes, mesh.node_shape[2])
    return np.asarray((row * components + component) * mesh.node_shape[2] + x)


def _with(held: Held, dofs: Dofs, value: float) -> Held:
    """Hold more components; a later value replaces an earlier one."""
    merged, first = np.unique(np.concatenate([dofs, held.dofs]), return_index=True)
    return Held(merged, np.concatenate([np.full(len(dofs), value), held.values])[first])


def by_node(mesh: VoxelMesh, dofs: Dofs, given: Array, components: int) -> tuple[Dofs, Array, Array]:
    """Nodes with some of these dofs, by flat number, their coordinates (nodes, 3), and what is given of each component
    (nodes, components), nan where nothing is (local)."""
    row, x = np.divmod(dofs, mesh.node_shape[2])
    nodes, at = np.unique(row // components * mesh.node_shape[2] + x, return_inverse=True)
    values = np.full((len(nodes), components), np.nan)
    values[at, row % components] = given
    return nodes, places(mesh, nodes), values
