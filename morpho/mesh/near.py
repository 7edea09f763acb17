"""How far points are from a region, also from a named surface of the mesh, or one of a file."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from morpho.errors import InputError
from morpho.interfaces import Array
from morpho.late import dmesh, spatial
from morpho.mesh.mesh import Mesh
from morpho.problem.regions import Near, Region
from morpho.triangles import corners_in, signed_distance

Distance = Callable[[Array], Array]
Corners = Callable[[str], Array]  #: (e, vertices, 3) of the group of a name, on every rank
QUAD = ([0, 1, 2], [1, 3, 2])  #: triangles of a quadrilateral, vertices in dolfinx order


def neighbourhood(near: Near, corners: Corners, tolerance: float) -> Distance:
    """A local function: how far points (n, 3) are from the region, inf where it is surely more than asked for
    (collective as `corners` is).

    Raises:
        InputError: a surface cannot be read, or what `corners` raises.
    """
    return _distance(near.region, corners, near.distance + tolerance)


def _distance(region: Region, corners: Corners, most: float) -> Distance:
    if region.any_of:
        parts = [_distance(part, corners, most) for part in region.any_of]
        return lambda points: np.asarray(np.min([part(points) for part in parts], axis=0))
    if region.surface is not None:
        return distance_to(corners_in(region.surface), most)
    if region.tag is not None:
        return distance_to(corners(region.tag), most)
    return region.distance


def distance_to(corners: Array, most: float) -> Distance:
    """The distance to points, segments or triangles (e, 1 to 3, 3) on every rank, inf beyond `most` (local)."""
    if corners.shape[1] == 1:
        tree = spatial.cKDTree(corners[:, 0])
        return lambda points: np.asarray(tree.query(points)[0])
    measure = _to_segments(corners) if corners.shape[1] == 2 else _to_triangles(corners)
    x = corners.reshape(-1, 3)
    low, high = x.min(axis=0) - most, x.max(axis=0) + most

    def distance(points: Array) -> Array:
        inside = np.all((points >= low) & (points <= high), axis=1)
        found = np.full(len(points), np.inf)
        if inside.any():
            found[inside] = measure(points[inside])
        return found

    return distance


def corners_of(mesh: Mesh, tag: str) -> Array:
    """(e, vertices, 3) corners of the entities below the cells that a group marks, on every rank (collective).

    Raises:
        InputError: the group has no surface to be near to.
    """
    dims = sorted(dim for dim in mesh.tags.get(tag, {}) if dim < mesh.dim)
    if not dims:
        raise InputError(
            f"near: {tag!r} is no group of {mesh.entity_name(mesh.dim - 1)} or points of the mesh; give a surface"
        )
    dim, topology = dims[-1], mesh.domain.topology
    topology.create_connectivity(dim, mesh.dim)
    entities = mesh.tags[tag][dim]
    owned = entities[entities < topology.index_map(dim).size_local]
    x = mesh.domain.geometry.x
    own = x[dmesh.entities_to_geometry(mesh.domain, dim, owned)] if len(owned) else None
    corners = np.concatenate([part for part in mesh.comm.allgather(own) if part is not None])
    if corners.shape[1] == 4:
        corners = np.concatenate([corners[:, triangle] for triangle in QUAD])
    return corners


def _to_triangles(corners: Array) -> Distance:
    signed = signed_distance(corners)
    return lambda points: np.abs(signed(points))


def _to_segments(corners: Array) -> Distance:
    def distance(points: Array) -> Array:
        found = np.full(len(points), np.inf)
        for a, b in corners:
            along = np.clip((points - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1)
            found = np.minimum(found, np.linalg.norm(points - a - along[:, None] * (b - a), axis=1))
        return found

    return distance
