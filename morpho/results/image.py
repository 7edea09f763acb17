"""A design on a box of equal cells, handled as the image it is, without a mesh."""

from __future__ import annotations

import numpy as np
import pyvista
from numpy.typing import NDArray
from vtkmodules.vtkFiltersCore import vtkFlyingEdges3D

from morpho.results.body import FAR, WALL

ON_WALL = 0.02  #: edges of a voxel from the boundary of a part, where a point of the surface lies on it


def solid_surface(
    design: pyvista.ImageData, excess: NDArray[np.floating]
) -> tuple[pyvista.PolyData, NDArray[np.bool_]]:
    """Closed, outward oriented triangles around the points with excess > 0, cut off at the faces of the box and at the
    walls of the part, and which of them do not lie there; local.

    excess has one value per point, none of them near zero.
    """
    n_points = np.array(design.dimensions)
    # The void around the box closes the surface. Void is positive, as VTK separates what is positive where two parts
    # of a cell touch at an edge or a corner only, and the design should not fall apart there.
    deficit = np.pad(-excess.reshape(n_points[::-1]), 1, constant_values=1.0)
    padded = pyvista.ImageData(dimensions=tuple(n_points + 2), origin=(-1.0, -1.0, -1.0))
    padded.point_data["deficit"] = deficit.ravel()
    wall = np.asarray(design.point_data[WALL] if WALL in design.point_data else np.full(design.n_points, -FAR))
    padded.point_data[WALL] = np.pad(wall.reshape(n_points[::-1]), 1, mode="edge").ravel()
    surface = _contour(padded)
    on_wall = np.abs(np.asarray(surface.point_data[WALL])) < ON_WALL
    # What lies outside falls on a point of the box; the triangles without area that this leaves are cleaned away.
    surface.points = np.asarray(surface.points, dtype=np.float64).clip(0.0, n_points - 1.0)  # type: ignore[assignment]
    surface.clear_data()
    surface.point_data["on_wall"] = on_wall.astype(np.uint8)
    surface = surface.clean(tolerance=0.0)
    steps, walls = np.asarray(surface.points), np.asarray(surface.point_data["on_wall"]) > 0
    corners = steps[np.asarray(surface.regular_faces)]  # (t, 3, 3)
    flat = ((corners == 0.0) | (corners == n_points - 1.0)) & (corners == corners[:, :1])
    points = np.asarray(design.origin) + np.asarray(design.spacing) * steps
    triangles = np.asarray(surface.regular_faces)[:, ::-1]
    cut = ~flat.all(axis=1).any(axis=1) & ~walls[triangles].all(axis=1)
    return pyvista.PolyData(points, np.insert(triangles, 0, 3, axis=1)), cut


def _contour(padded: pyvista.ImageData) -> pyvista.PolyData:
    """Where the deficit is zero, with the distance to the wall."""
    padded.set_active_scalars("deficit")
    edges = vtkFlyingEdges3D()
    edges.SetInputData(padded)
    edges.SetValue(0, 0.0)
    edges.ComputeNormalsOff()
    edges.ComputeScalarsOff()
    edges.InterpolateAttributesOn()
    edges.Update()
    return pyvista.PolyData(edges.GetOutput())
