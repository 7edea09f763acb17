"""Surfaces of triangles in files: STL and what else trimesh reads."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from morpho.errors import InputError
from morpho.interfaces import Array

SURFACES = (".stl", ".obj", ".ply", ".off", ".3mf")  #: of their names, in any case
PLACES = 3  #: that are named


def read_triangles(path: str) -> Any:
    """The triangles of a file as a `trimesh.Trimesh`, equal corners joined (local).

    Raises:
        InputError: it cannot be read, or holds no triangles.
    """
    import trimesh

    try:
        mesh: Any = trimesh.load(path, force="mesh")
        mesh = trimesh.Trimesh(mesh.vertices, mesh.faces, process=True)
        mesh.update_faces(mesh.nondegenerate_faces())
    except Exception as error:  # of a stranger's file trimesh raises whatever it meets
        raise InputError(f"{path} cannot be read as a surface of triangles ({str(error)[:200]})") from None
    if len(mesh.faces) == 0:
        raise InputError(f"{path} holds no triangles; export the surface again")
    if not np.isfinite(mesh.vertices).all():
        raise InputError(f"{path} has corners that are no numbers; export the surface again")
    return mesh


def corners_in(path: str) -> Array:
    """(t, 3, 3) corners of the triangles of a file, read again when it has changed (local).

    Raises as `read_triangles`.
    """
    try:
        found = os.stat(path)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})") from None
    return _corners(path, found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=16)
def _corners(path: str, _changed: int, _size: int) -> Array:
    return np.asarray(read_triangles(path).triangles, dtype=np.float64)


def gaps(mesh: Any) -> list[tuple[Array, float]]:
    """The holes of a surface: the middle of each and how far it reaches, the largest first (local)."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    edges, count = np.unique(mesh.edges_sorted, axis=0, return_counts=True)
    a, b = edges[count == 1].T
    if len(a) == 0:
        return []
    n = len(mesh.vertices)
    label = connected_components(coo_matrix((np.ones(len(a)), (a, b)), (n, n)), directed=False)[1]
    ends = np.concatenate([a, b])
    ends = ends[np.argsort(label[ends], kind="stable")]
    first = np.flatnonzero(np.diff(label[ends], prepend=-1))
    x = mesh.vertices[ends]
    low, high = np.minimum.reduceat(x, first), np.maximum.reduceat(x, first)
    size = np.linalg.norm(high - low, axis=1)
    return [((low[i] + high[i]) / 2, float(size[i])) for i in np.argsort(-size)]


def crossings(mesh: Any) -> NDArray[np.float64]:
    """(c, 3) middles of the triangles that cross another one without a common corner (local)."""
    from vtkmodules.util.numpy_support import vtk_to_numpy
    from vtkmodules.vtkCommonMath import vtkMatrix4x4
    from vtkmodules.vtkFiltersModeling import vtkCollisionDetectionFilter

    surface, collisions, unmoved = poly_data(mesh.triangles), vtkCollisionDetectionFilter(), vtkMatrix4x4()
    for side in (0, 1):
        collisions.SetInputData(side, surface)
        collisions.SetMatrix(side, unmoved)
    collisions.SetCollisionModeToAllContacts()
    collisions.SetBoxTolerance(0.0)
    collisions.SetCellTolerance(0.0)
    collisions.Update()
    if collisions.GetNumberOfContacts() == 0:
        return np.zeros((0, 3))
    i, j = (vtk_to_numpy(collisions.GetContactCells(side)) for side in (0, 1))
    apart = ~(mesh.faces[i][:, :, None] == mesh.faces[j][:, None, :]).any(axis=(1, 2))
    return np.asarray(mesh.triangles[np.unique(i[apart])].mean(axis=1))


def poly_data(corners: Array) -> Any:
    """Triangles (t, 3, 3) for VTK, equal corners joined (local)."""
    from vtkmodules.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray
    from vtkmodules.vtkCommonCore import vtkPoints
    from vtkmodules.vtkCommonDataModel import vtkCellArray, vtkPolyData

    x, at = np.unique(corners.reshape(-1, 3), axis=0, return_inverse=True)
    places, rows, surface = vtkPoints(), vtkCellArray(), vtkPolyData()
    places.SetData(numpy_to_vtk(np.ascontiguousarray(x, dtype=np.float64), deep=True))
    rows.SetData(3, numpy_to_vtkIdTypeArray(np.ascontiguousarray(at.reshape(-1), dtype=np.int64), deep=True))
    surface.SetPoints(places)
    surface.SetPolys(rows)
    return surface


def signed_distance(corners: Array) -> Callable[[Array], Array]:
    """A function of points (n, 3): how far they are from triangles (t, 3, 3), negative behind these (local)."""
    from vtkmodules.util.numpy_support import numpy_to_vtk, vtk_to_numpy
    from vtkmodules.vtkCommonCore import vtkDoubleArray
    from vtkmodules.vtkFiltersCore import vtkImplicitPolyDataDistance

    function = vtkImplicitPolyDataDistance()
    function.SetInput(poly_data(corners))

    def distance(points: Array) -> Array:
        found = vtkDoubleArray()
        function.FunctionValue(numpy_to_vtk(np.ascontiguousarray(points), deep=True), found)
        return np.asarray(vtk_to_numpy(found))

    return distance
