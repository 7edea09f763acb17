"""A design on a box of equal cells, handled as the image it is, without a mesh."""

from __future__ import annotations

import numpy as np
import pyvista
from numpy.typing import NDArray


def solid_surface(design: pyvista.ImageData, excess: NDArray[np.floating]) -> pyvista.PolyData:
    """Closed, outward oriented triangles around the points with excess > 0, cut off at the faces of the box; local.

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
    points = np.asarray(design.origin) + np.asarray(design.spacing) * np.asarray(surface.points)
    triangles = np.asarray(surface.regular_faces)[:, ::-1]
    return pyvista.PolyData(points, np.insert(triangles, 0, 3, axis=1))


def with_mirror_image(design: pyvista.ImageData) -> pyvista.ImageData:
    """The physical density of the design and of its mirror image in the plane of its lowest x; local."""
    nx, *others = design.dimensions
    length = design.spacing[0] * (nx - 1)
    whole = pyvista.ImageData(
        dimensions=(2 * nx - 1, *others),
        spacing=design.spacing,
        origin=(design.origin[0] - length, *design.origin[1:]),
    )
    half = np.asarray(design.cell_data["physical_density"]).reshape(-1, nx - 1)
    whole.cell_data["physical_density"] = np.hstack([half[:, ::-1], half]).ravel()
    return whole
