"""Held displacement components, and whether they hold the structure at all."""

from __future__ import annotations

from functools import reduce

from mpi4py import MPI

import numpy as np
from dolfinx import fem
from scipy.linalg import qr

from morpho.interfaces import Array
from morpho.mesh import Mesh
from morpho.mesh.mesh import Indices
from morpho.mesh.select import NOTHING, advice, node_dimension, select
from morpho.mesh.voxels import Mask, VoxelMesh
from morpho.problem.regions import Region
from morpho.problem.spec import Support


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


def held_components(support: Support, dim: int) -> list[tuple[int, float]]:
    """(component, prescribed value) pairs of a support (local)."""
    components = support.components or tuple(range(dim))
    values = support.value if isinstance(support.value, tuple) else (support.value,) * len(components)
    return list(zip(components, values, strict=True))


def boundary_conditions(
    mesh: Mesh, V: fem.FunctionSpace, supports: tuple[Support, ...]
) -> tuple[list[fem.DirichletBC], list[str], list[int]]:
    """Dirichlet conditions, complaints, and the number of nodes each support holds (collective)."""
    conditions, said, counts = [], [], []
    held = np.full((node_count(V), mesh.dim), np.nan)
    for i, support in enumerate(supports):
        nodes = nodes_in(mesh, V, support.region)
        owned = nodes[nodes < V.dofmap.index_map.size_local]
        counts.append(int(mesh.comm.allreduce(len(owned))))
        if counts[-1] == 0:
            said.append(nothing_held(mesh, i, support.region))
        for component, value in held_components(support, mesh.dim):
            clash = np.abs(held[nodes, component] - value) > 0
            if mesh.comm.allreduce(bool(clash.any()), MPI.LOR):
                said.append(contradiction(i, component, value))
            held[nodes, component] = value
    for component in range(mesh.dim):
        for value in sorted(set(mesh.comm.allreduce(_values(held[:, component])))):
            nodes = np.flatnonzero(held[:, component] == value).astype(np.int32)
            dofs = nodes * mesh.dim + component
            conditions.append(fem.dirichletbc(np.float64(value), dofs.astype(np.int32), V.sub(component)))
    if not said:
        said += floating(mesh, V.tabulate_dof_coordinates(), ~np.isnan(held))
    return conditions, said, counts


def _values(column: Array) -> list[float]:
    return [float(v) for v in np.unique(column[~np.isnan(column)])]


def node_count(V: fem.FunctionSpace) -> int:
    """Owned and ghosted nodes of a blocked space (local)."""
    return int(V.dofmap.index_map.size_local + V.dofmap.index_map.num_ghosts)


def nothing_held(mesh: Mesh | VoxelMesh, i: int, region: Region) -> str:
    """Complaint about a support without a node (collective)."""
    return f"supports[{i}].region: no node of the mesh lies in {region}; {advice(mesh, region)}"


def contradiction(i: int, component: int, value: float) -> str:
    """Complaint about a second value for a held component (local)."""
    return (
        f"supports[{i}].value: {'xyz'[component]} = {value:g} contradicts an earlier support on the "
        "same node; let each node have one value"
    )


def floating(mesh: Mesh | VoxelMesh, x: Array, held: Mask) -> list[str]:
    """Complaint if a rigid motion is left free (collective).

    `held` (nodes, dim) says which components are held at x (nodes, 3); nodes without any may be left out.
    """
    low, high = mesh.corners
    modes = rigid_modes((x - (low + high) / 2) / np.linalg.norm(high - low), mesh.dim)  # (modes, nodes, dim)
    rows = modes[:, held]
    gram = mesh.comm.allreduce(rows @ rows.T)
    values, vectors = np.linalg.eigh(gram)
    if values[0] > 1e-8 * max(values[-1], 1e-300):
        return []
    turns = ["rotate"] if mesh.dim == 2 else [f"rotate about {axis}" for axis in "xyz"]
    names = [f"move along {axis}" for axis in "xyz"[: mesh.dim]] + turns
    loose = vectors[:, values <= 1e-8 * max(values[-1], 1e-300)]
    # The named motions that span the free ones best: as many as there are, whatever basis eigh found. Of equally good
    # ones the first, whatever the rounding.
    span = loose @ loose.T * (1 - 1e-6 * np.arange(len(names)))
    best = qr(span, mode="r", pivoting=True)[1][: loose.shape[1]]
    motions = " and to ".join(names[i] for i in sorted(best))
    return [f"supports: the structure is free to {motions}; hold more components or nodes"]


def rigid_modes(x: Array, dim: int) -> Array:
    """(modes, nodes, dim) translations and infinitesimal rotations at points x (nodes, 3) (local)."""
    count = len(x)
    modes = np.zeros((3 * (dim - 1), count, dim))
    for i in range(dim):
        modes[i, :, i] = 1
    if dim == 2:
        modes[2] = np.stack([-x[:, 1], x[:, 0]], axis=1)
    else:
        for i in range(3):
            j, k = (i + 1) % 3, (i + 2) % 3
            modes[3 + i, :, j], modes[3 + i, :, k] = -x[:, k], x[:, j]
    return modes
