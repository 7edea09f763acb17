"""Where the boundary of a voxelized part is, as exactly as its surface says. Serial."""

from __future__ import annotations

import numpy as np
import pyvista
from numpy.typing import NDArray
from scipy import ndimage

from morpho.interfaces import Array
from morpho.results.inside import INSIDE
from morpho.triangles import signed_distance

WALL = "wall"  #: point data: signed distance to the boundary in edges of a voxel, negative inside
DENSITY = "density"  #: point data: mean density of the voxels in the part around, continued to the outside
NEAR = 1e-6  #: of the size of a part, within which a triangle lies in a plane
FAR = 3.0  #: edges of a voxel beyond which distances do not matter


def with_image(corners: Array, axis: int, at: float) -> Array:
    """Triangles and their mirror image in a plane, without those that lie in it (local)."""
    size = float(np.ptp(corners.reshape(-1, 3), axis=0).max())
    half = corners[~(np.abs(corners[:, :, axis] - at) < NEAR * size).all(axis=1)]
    image = half[:, ::-1].copy()
    image[:, :, axis] = 2 * at - image[:, :, axis]
    return np.concatenate([half, image])


def add_walls(design: pyvista.ImageData, corners: Array) -> None:
    """Give the design of a voxelized part point data `wall` and `density`, from its outward triangles (local)."""
    cells = tuple(max(n - 1, 1) for n in design.dimensions[::-1])
    inside = np.asarray(design.cell_data[INSIDE]).reshape(cells) > 0
    count, around = _at_nodes(inside.astype(np.float32)), np.ones((3, 3, 3))
    near = ndimage.binary_dilation(count > 0, around) & ~ndimage.binary_erosion(count == 8, around)
    wall = np.where(count == 8, -FAR, FAR)
    z, y, x = np.nonzero(near)
    points = np.asarray(design.origin) + np.column_stack([x, y, z]) * np.asarray(design.spacing)
    wall[near] = np.clip(signed_distance(corners)(points) / min(design.spacing), -FAR, FAR)
    density = np.asarray(design.cell_data["physical_density"], np.float32).reshape(cells)
    design.point_data[WALL] = wall.ravel()
    design.point_data[DENSITY] = _continued(_at_nodes(density * inside), count).ravel()


def _at_nodes(cells: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sum over the cells around each node."""
    padded = np.pad(cells, 1)
    for axis in range(3):
        low, high = [slice(None)] * 3, [slice(None)] * 3
        low[axis], high[axis] = slice(None, -1), slice(1, None)
        padded = padded[tuple(low)] + padded[tuple(high)]
    return np.asarray(padded)


def _continued(sums: NDArray[np.float32], count: NDArray[np.float32]) -> NDArray[np.float32]:
    """Means at nodes, and beside them, as far as the boundary can be, the mean of those around."""
    known = count > 0
    mean = np.divide(sums, count, out=np.zeros_like(sums), where=known)
    for _ in range(2):
        weights = ndimage.uniform_filter(known.astype(np.float32), 3, mode="constant")
        values = ndimage.uniform_filter(mean, 3, mode="constant")
        new = ~known & (weights > 1e-3)
        mean[new] = values[new] / weights[new]
        known |= new
    return mean
