"""A design on a box of equal cells, handled as the image it is, without a mesh."""

from __future__ import annotations

import numpy as np
import pyvista
from numpy.typing import NDArray


def solid_surface(
    design: pyvista.ImageData, excess: NDArray[np.floating]
) -> tuple[pyvista.PolyData, NDArray[np.bool_]]:
    """Closed, outward oriented triangles around the points with excess > 0, cut off at the faces of the box, and which
    of them do not lie in such a face; local.

    excess has one value per point, none of them near zero.
    """
    n_points = np.array(design.dimensions)
    # The void around the box closes the surface. Void is positive, as VTK separates what is positive where two parts
    # of a cell touch at an edge or a corner only, and the design should not fall apart there.
    deficit = np.pad(-excess.reshape(n_points[::-1]), 1, constant_values=1.0)
    padded = pyvista.ImageData(dimensions=tuple(n_points + 2), origin=(-1.0, -1.0, -1.0))
    padded.point_data["deficit"] = deficit.ravel()
    surface = padded.contour(isosurfaces=[0.0], scalars="deficit", method="flying_edges")
    surface.clear_data()
    # What lies outside falls on a point of the box; the triangles without area that this leaves are cleaned away.
    surface.points = np.asarray(surface.points, dtype=np.float64).clip(0.0, n_points - 1.0)
    surface = surface.clean(tolerance=0.0)
    steps = np.asarray(surface.points)
    corners = steps[np.asarray(surface.regular_faces)]  # (t, 3, 3)
    flat = ((corners == 0.0) | (corners == n_points - 1.0)) & (corners == corners[:, :1])
    points = np.asarray(design.origin) + np.asarray(design.spacing) * steps
    triangles = np.asarray(surface.regular_faces)[:, ::-1]
    return pyvista.PolyData(points, np.insert(triangles, 0, 3, axis=1)), ~flat.all(axis=1).any(axis=1)
