"""Which cells, facets, edges and vertices of a mesh belong to a region."""

from __future__ import annotations

from functools import reduce

import numpy as np
from dolfinx import mesh as dmesh

from morpho.interfaces import Array
from morpho.mesh.mesh import Indices, Mesh
from morpho.mesh.voxels import VoxelMesh
from morpho.problem.regions import Region

NOTHING = np.empty(0, dtype=np.int32)


def select(mesh: Mesh, region: Region, dim: int) -> Indices:
    """Local entities of a dimension in a region, sorted (collective).

    Facets are those of the boundary only. A facet, edge or vertex belongs to a geometric region when all its
    vertices do, a cell when its centre does.
    """
    if region.parts:
        found = [select(mesh, part, dim) for part in region.parts]
        join = np.intersect1d if region.all_of else np.union1d
        return np.asarray(reduce(join, found), dtype=np.int32)
    topology = mesh.domain.topology
    topology.create_entities(dim)
    topology.create_connectivity(dim, mesh.dim)
    topology.create_connectivity(mesh.dim, dim)
    if region.tag is not None:
        if region.tag in mesh.points:
            return nearest_vertices(mesh, mesh.points[region.tag]) if dim == 0 else NOTHING
        found_tag = mesh.tags.get(region.tag, {}).get(dim, NOTHING)
        return _boundary(mesh, found_tag) if dim == mesh.dim - 1 else found_tag
    if region.points is not None:
        wanted = np.array([np.pad(p, (0, 3 - len(p))) for p in region.points])
        return nearest_vertices(mesh, wanted) if dim == 0 else NOTHING
    shape = region.shape
    assert shape is not None
    if dim == mesh.dim:
        return np.flatnonzero(shape.contains(mesh.centers, mesh.tolerance)).astype(np.int32)
    tolerance = mesh.tolerance
    found_shape = dmesh.locate_entities(mesh.domain, dim, lambda x: shape.contains(x.T, tolerance))
    return _boundary(mesh, found_shape) if dim == mesh.dim - 1 else np.asarray(found_shape, dtype=np.int32)


def cells_in(mesh: Mesh | VoxelMesh, region: Region) -> Indices:
    """Owned cells whose centre lies in a region, sorted (collective)."""
    return mesh.cells_in(region) if isinstance(mesh, VoxelMesh) else select(mesh, region, mesh.dim)


def advice(mesh: Mesh | VoxelMesh, region: Region) -> str:
    """What to do about a region that selects nothing (local)."""
    used, known = _tags(region), sorted({*mesh.tags, *mesh.points})
    missing = [tag for tag in used if tag not in known]
    if missing:
        return f"the mesh has no tag {missing[0]!r}; its tags are {', '.join(known) or '(none)'}"
    if used:
        kinds = ("points", "edges" if mesh.dim == 3 else "facets", "facets" if mesh.dim == 3 else "cells", "cells")
        dims = [0] if used[0] in mesh.points else sorted(mesh.tags[used[0]])
        return f"the tag {used[0]!r} marks {' and '.join(kinds[d] for d in dims)}"
    return "move or enlarge it"


def _tags(region: Region) -> list[str]:
    own = [region.tag] if region.tag is not None else []
    return own + [tag for part in region.parts for tag in _tags(part)]


def nearest_vertices(mesh: Mesh, points: Array) -> Indices:
    """Local numbers of the mesh vertices nearest to (p, 3) points, owned or shared (collective).

    A point more than two cells away from every vertex selects nothing.
    A tie goes to the vertex with the smaller coordinates, so that the choice does not depend on the ranks.
    """
    topology = mesh.domain.topology
    topology.create_connectivity(0, mesh.dim)
    count = topology.index_map(0).size_local + topology.index_map(0).num_ghosts
    vertices = np.arange(count, dtype=np.int32)
    nodes = dmesh.entities_to_geometry(mesh.domain, 0, vertices)[:, 0] if count else vertices
    x = mesh.domain.geometry.x[nodes]
    chosen = []
    for point in points:
        distance = np.round(np.linalg.norm(x - point, axis=1) / mesh.tolerance) * mesh.tolerance
        candidates = np.lexsort((x[:, 2], x[:, 1], x[:, 0], distance))[:1]
        best = min(
            (found for found in mesh.comm.allgather([(distance[i], *x[i]) for i in candidates]) if found),
            default=None,
        )
        if best and best[0][0] <= 2 * mesh.cell_size:
            chosen.append(np.flatnonzero(np.linalg.norm(x - best[0][1:], axis=1) < mesh.tolerance))
    return np.unique(np.concatenate(chosen)).astype(np.int32) if chosen else NOTHING


def _boundary(mesh: Mesh, facets: Indices) -> Indices:
    mesh.domain.topology.create_connectivity(mesh.dim - 1, mesh.dim)
    return np.intersect1d(facets, dmesh.exterior_facet_indices(mesh.domain.topology)).astype(np.int32)
