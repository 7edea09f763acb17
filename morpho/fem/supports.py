"""Held displacement components or temperatures."""

from __future__ import annotations

from functools import reduce

from mpi4py import MPI

import numpy as np

from morpho.interfaces import Array
from morpho.late import fem
from morpho.mesh import Mesh
from morpho.mesh.mesh import Indices
from morpho.mesh.select import NOTHING, advice, node_dimension, select
from morpho.mesh.voxels import VoxelMesh
from morpho.problem.acting import Support
from morpho.problem.regions import Region


def nodes_in(mesh: Mesh, V: fem.FunctionSpace, region: Region) -> Indices:
    """Nodes of the space in a region, owned and ghosted (collective)."""
    if region.parts:
        found = [nodes_in(mesh, V, part) for part in region.parts]
        return np.asarray(reduce(np.intersect1d if region.all_of else np.union1d, found), dtype=np.int32)
    if region.shape is not None:
        shape, tolerance = region.shape, mesh.tolerance
        return np.unique(fem.locate_dofs_geometrical(V, lambda x: shape.contains(x.T, tolerance))).astype(np.int32)
    dim = 0 if region.tag is None else node_dimension(mesh, region.tag)
    if dim is None:
        return NOTHING
    entities = mesh.tags[region.tag][dim] if region.tag is not None else select(mesh, region, 0)
    mesh.domain.topology.create_connectivity(dim, mesh.dim)
    return np.unique(np.asarray(fem.locate_dofs_topological(V, dim, entities), dtype=np.int32))


def held_components(support: Support, count: int) -> list[tuple[int, float]]:
    """(component, prescribed value) pairs of a support of a state with so many components (local)."""
    if support.temperature is not None:
        return [(0, support.temperature)]
    components = support.components or tuple(range(count))
    values = support.value if isinstance(support.value, tuple) else (support.value,) * len(components)
    return list(zip(components, values, strict=True))


def boundary_conditions(
    mesh: Mesh, V: fem.FunctionSpace, supports: tuple[Support, ...]
) -> tuple[list[fem.DirichletBC], list[str], list[int], Array]:
    """Dirichlet conditions, complaints, the number of nodes each support holds, and the value (nodes, components) of
    each, nan where it is free (collective)."""
    conditions, said, counts = [], [], []
    components = V.dofmap.index_map_bs
    held = np.full((node_count(V), components), np.nan)
    for i, support in enumerate(supports):
        nodes = nodes_in(mesh, V, support.region)
        owned = nodes[nodes < V.dofmap.index_map.size_local]
        counts.append(int(mesh.comm.allreduce(len(owned))))
        if counts[-1] == 0:
            said.append(nothing_held(mesh, i, support.region))
        for component, value in held_components(support, components):
            clash = np.abs(held[nodes, component] - value) > 0
            if mesh.comm.allreduce(bool(clash.any()), MPI.LOR):
                said.append(contradiction(i, component, value, components))
            held[nodes, component] = value
    for component in range(components):
        for value in sorted(set(mesh.comm.allreduce(_values(held[:, component])))):
            nodes = np.flatnonzero(held[:, component] == value).astype(np.int32)
            dofs = nodes * components + component
            conditions.append(held_component(V, component, dofs, value))
    return conditions, said, counts, held


def held_component(V: fem.FunctionSpace, component: int, dofs: Indices, value: float) -> fem.DirichletBC:
    """A held component at dofs of the unrolled space (local)."""
    dofs = dofs.astype(np.int32)
    if V.dofmap.index_map_bs == 1:
        return fem.dirichletbc(np.array([value]), dofs, V)
    return fem.dirichletbc(np.float64(value), dofs, V.sub(component))


def _values(column: Array) -> list[float]:
    return [float(v) for v in np.unique(column[~np.isnan(column)])]


def node_count(V: fem.FunctionSpace) -> int:
    """Owned and ghosted nodes of a blocked space (local)."""
    return int(V.dofmap.index_map.size_local + V.dofmap.index_map.num_ghosts)


def nothing_held(mesh: Mesh | VoxelMesh, i: int, region: Region) -> str:
    """Complaint about a support without a node (collective)."""
    return f"supports[{i}].region: no node of the mesh lies in {region}; {advice(mesh, region)}"


def contradiction(i: int, component: int, value: float, components: int) -> str:
    """Complaint about a second value for a held component (local)."""
    key, what = ("temperature", "") if components == 1 else ("value", f"{'xyz'[component]} = ")
    return (
        f"supports[{i}].{key}: {what}{value:g} contradicts an earlier support on the "
        "same node; let each node have one value"
    )
