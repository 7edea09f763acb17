"""How far points are from a region, also from a named surface of the mesh."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from dolfinx import mesh as dmesh
from scipy.spatial import cKDTree

from morpho.errors import InputError
from morpho.interfaces import Array
from morpho.mesh.mesh import Mesh
from morpho.problem.regions import Near, Region

Distance = Callable[[Array], Array]
QUAD = ([0, 1, 2], [1, 3, 2])  #: triangles of a quadrilateral, vertices in dolfinx order


def neighbourhood(mesh: Mesh, near: Near) -> Distance:
    """A local function: how far points (n, 3) are from the region, inf where it is surely more than asked for
    (collective).

    Named surfaces are gathered on every rank, without the rest of the mesh.

    Raises:
        InputError: a group has no surface to be near to.
    """
    return _distance(mesh, near.region, near.distance + mesh.tolerance)


def _distance(mesh: Mesh, region: Region, most: float) -> Distance:
    if region.any_of:
        parts = [_distance(mesh, part, most) for part in region.any_of]
        return lambda points: np.asarray(np.min([part(points) for part in parts], axis=0))
    if region.tag is None:
        return region.distance
    corners = _corners(mesh, region.tag)
    if corners.shape[1] == 1:
        tree = cKDTree(corners[:, 0])
        return lambda points: np.asarray(tree.query(points)[0])
    measure = _to_segments if corners.shape[1] == 2 else _to_triangles
    return lambda points: _where_near(points, corners, most, measure)


def _corners(mesh: Mesh, tag: str) -> Array:
    """(e, vertices, 3) corners of the entities below the cells that a group marks, on every rank (collective)."""
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


def _where_near(points: Array, corners: Array, most: float, measure: Callable[[Array, Array], Array]) -> Array:
    """Distances of the points in the bounding box of a surface, grown by what counts."""
    x = corners.reshape(-1, 3)
    inside = np.all((points >= x.min(axis=0) - most) & (points <= x.max(axis=0) + most), axis=1)
    found = np.full(len(points), np.inf)
    if inside.any():
        found[inside] = measure(points[inside], corners)
    return found


def _to_triangles(points: Array, corners: Array) -> Array:
    from vtkmodules.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray, vtk_to_numpy
    from vtkmodules.vtkCommonCore import vtkDoubleArray, vtkPoints
    from vtkmodules.vtkCommonDataModel import vtkCellArray, vtkPolyData
    from vtkmodules.vtkFiltersCore import vtkImplicitPolyDataDistance

    x, at = np.unique(corners.reshape(-1, 3), axis=0, return_inverse=True)
    places, rows = vtkPoints(), vtkCellArray()
    places.SetData(numpy_to_vtk(x, deep=True))
    rows.SetData(3, numpy_to_vtkIdTypeArray(at.astype(np.int64).reshape(-1), deep=True))
    surface, function = vtkPolyData(), vtkImplicitPolyDataDistance()
    surface.SetPoints(places)
    surface.SetPolys(rows)
    function.SetInput(surface)
    found = vtkDoubleArray()
    function.FunctionValue(numpy_to_vtk(np.ascontiguousarray(points), deep=True), found)
    return np.abs(vtk_to_numpy(found))


def _to_segments(points: Array, corners: Array) -> Array:
    found = np.full(len(points), np.inf)
    for a, b in corners:
        along = np.clip((points - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1)
        found = np.minimum(found, np.linalg.norm(points - a - along[:, None] * (b - a), axis=1))
    return found
