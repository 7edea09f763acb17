"""Which cells, facets, edges and vertices of a mesh belong to a region."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from functools import partial, reduce

import numpy as np
from numpy.typing import NDArray

from morpho.interfaces import Array
from morpho.late import dmesh
from morpho.mesh.mesh import NOTHING, Indices, Mesh
from morpho.mesh.near import corners_of, neighbourhood
from morpho.mesh.voxels import VoxelMesh
from morpho.parallel import any_rank
from morpho.problem.regions import Region
from morpho.triangles import corners_in


def select(mesh: Mesh, region: Region, dim: int) -> Indices:
    """Local entities of a dimension in a region, sorted (collective).

    Facets are those of the boundary. Only where a region that is a surface (a plane, a group, a flat box) has none,
    they are those inside the body. A facet, edge or vertex belongs to a geometric region when all its vertices do, a
    cell when its centre does.
    """
    found = _within(mesh, region, dim)
    if dim != mesh.dim - 1:
        return found
    outer = on_boundary(mesh, found)
    if region.is_surface and not any_rank(mesh.comm, len(outer) > 0):
        return found
    return found[outer]


def left_inside(mesh: Mesh, region: Region) -> int:
    """Facets of the groups of a region that lie inside the body, where a load on its boundary leaves them (collective).

    Geometric regions have such facets at every turn, which nobody means.
    """
    if not region.tags:
        return 0
    found = _within(mesh, region, mesh.dim - 1)
    inner = np.delete(found, on_boundary(mesh, found))
    owned = np.count_nonzero(inner < mesh.domain.topology.index_map(mesh.dim - 1).size_local)
    return int(mesh.comm.allreduce(int(owned)))


def on_boundary(mesh: Mesh, facets: Indices) -> Indices:
    """Which of some facets are on the boundary: positions among them (collective)."""
    mesh.domain.topology.create_connectivity(mesh.dim - 1, mesh.dim)
    return np.flatnonzero(np.isin(facets, dmesh.exterior_facet_indices(mesh.domain.topology))).astype(np.int32)


def _within(mesh: Mesh, region: Region, dim: int) -> Indices:
    """Local entities of a dimension in a region, sorted, facets inside the body as well (collective)."""
    if region.parts:
        found = [_within(mesh, part, dim) for part in region.parts]
        join = np.intersect1d if region.all_of else np.union1d
        return np.asarray(reduce(join, found), dtype=np.int32)
    topology = mesh.domain.topology
    topology.create_entities(dim)
    topology.create_connectivity(dim, mesh.dim)
    topology.create_connectivity(mesh.dim, dim)
    if region.tag is not None:
        return mesh.tags.get(region.tag, {}).get(dim, NOTHING)
    if region.points is not None:
        wanted = np.array([np.pad(p, (0, 3 - len(p))) for p in region.points])
        return nearest_vertices(mesh, wanted) if dim == 0 else NOTHING
    contains = _test(mesh, region)
    if dim == mesh.dim:
        return np.flatnonzero(contains(mesh.centers)).astype(np.int32)
    found = dmesh.locate_entities(mesh.domain, dim, lambda x: contains(x.T))
    return np.asarray(found, dtype=np.int32)


def _test(mesh: Mesh, region: Region) -> Callable[[Array], NDArray[np.bool_]]:
    """Which of some points (n, 3) a shape, or a neighbourhood, contains (collective; the function is local)."""
    if region.near is not None:
        distance = neighbourhood(region.near, partial(corners_of, mesh), mesh.tolerance)
        most = region.near.distance + mesh.tolerance
        return lambda points: distance(points) <= most
    shape, tolerance = region.shape, mesh.tolerance
    assert shape is not None
    return lambda points: shape.contains(points, tolerance)


def cells_in(mesh: Mesh | VoxelMesh, region: Region) -> Indices:
    """Owned cells whose centre lies in a region, sorted (collective)."""
    return mesh.cells_in(region) if isinstance(mesh, VoxelMesh) else select(mesh, region, mesh.dim)


def node_dimension(mesh: Mesh, tag: str) -> int | None:
    """Which entities of a group mark the nodes that it holds: the highest dimension below the cells, else these."""
    dims = sorted(mesh.tags.get(tag, {}))
    below = [dim for dim in dims if dim < mesh.dim]
    return max(below or dims, default=None)


def ambiguous(mesh: Mesh | VoxelMesh, regions: Iterable[Region]) -> list[str]:
    """What is to be said of groups that mark entities of several dimensions (local)."""
    said = []
    for tag in sorted({tag for region in regions for tag in region.tags}):
        dims = sorted(mesh.tags.get(tag, {}), reverse=True)
        if len(dims) > 1:
            marked = " and ".join(mesh.entity_name(dim) for dim in dims)
            said.append(
                f"the group {tag!r} marks {marked}: passive regions and constraints take the cells; supports and loads "
                "the highest dimension below them that serves"
            )
    return said


def advice(mesh: Mesh | VoxelMesh, region: Region, cells: bool = False) -> str:
    """What to do about a region in which no node, or no cell, lies (collective)."""
    known = sorted(mesh.tags)
    missing = [tag for tag in region.tags if tag not in known]
    if missing:
        lost = "".join(f" ({note})" for note in mesh.notes if f"group {missing[0]!r}" in note)
        alike = _alike(missing[0], known)
        its = f"did you mean {alike!r}? Its" if alike else "its"
        return f"the mesh has no tag {missing[0]!r}{lost}; {its} tags are {', '.join(known) or '(none)'}"
    if region.tags:
        tag = region.tags[0]
        return f"the tag {tag!r} marks {' and '.join(mesh.entity_name(dim) for dim in sorted(mesh.tags[tag]))}"
    low, high = (_coordinates(corner, mesh.dim) for corner in mesh.corners)
    bounds = f"the mesh reaches from {low} to {high}"
    if region.surfaces:
        corners = corners_in(region.surfaces[0]).reshape(-1, 3)
        ends = " to ".join(_coordinates(end, mesh.dim) for end in (corners.min(axis=0), corners.max(axis=0)))
        return f"the surface reaches from {ends}, {bounds}; check its units and its place"
    best: tuple[float, ...] | None = None
    for x in mesh.places(cells):
        distance = region.distance(x)
        first = np.lexsort((*x.T[::-1], np.round(distance / mesh.tolerance)))[:1]
        best = min([candidate for candidate in (best, *((float(distance[i]), *x[i]) for i in first)) if candidate])
    nearest = min(found for found in mesh.comm.allgather(best) if found is not None)
    if nearest[0] <= mesh.tolerance:
        return f"nodes lie in it, such as {_coordinates(np.array(nearest[1:]), mesh.dim)}; {bounds}; move or enlarge it"
    what = "centre of a cell" if cells else "node"
    at = _coordinates(np.array(nearest[1:]), mesh.dim)
    return f"the nearest {what}, {at}, is {nearest[0]:.4g} away; {bounds}; move or enlarge it"


def _alike(tag: str, known: list[str]) -> str | None:
    """The tag that was meant, apart from capitals or a slip."""
    small = {name.casefold(): name for name in known}
    return next((small[name] for name in get_close_matches(tag.casefold(), small, n=1, cutoff=0.7)), None)


def _coordinates(x: Array, dim: int) -> str:
    return "(" + ", ".join(f"{c:.6g}" for c in x[:dim]) + ")"


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
