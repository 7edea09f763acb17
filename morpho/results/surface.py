"""The finished part as a closed triangle surface. Serial, on request, from the files of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyvista
from numpy.typing import NDArray

from morpho.errors import InputError, StorageError
from morpho.interfaces import Array
from morpho.results.designs import Design, load_design
from morpho.results.image import solid_surface
from morpho.results.run_folder import check_target

_PLANAR_CELLS = {5, 9}
_CLEARANCE = 0.01  #: least distance between the density of a point and the level
_SUFFIXES = (".stl", ".ply")


def export_stl(run_dir: Path, output: Path, level: float = 0.5, smooth: bool = True) -> dict[str, Any]:
    """Write the surface of the part of the last design to a .stl or .ply file; local.

    Returns n_triangles, volume and watertight. Raises InputError for a 2-D design, another suffix, a folder or link
    of that name, or a part that is empty at this level, StorageError if the file could not be written.
    """
    output = Path(output)
    if output.suffix.lower() not in _SUFFIXES:
        raise InputError(f"{output}: the suffix should be .stl or .ply, got {output.suffix!r}.")
    check_target(output)
    surface = part_surface(load_design(run_dir), level, smooth)
    points = np.asarray(surface.points, dtype=np.float64)
    triangles = np.asarray(surface.regular_faces, dtype=np.int64)
    content = _stl(points, triangles) if output.suffix.lower() == ".stl" else _ply(points, triangles)
    try:
        output.write_bytes(content)
    except OSError as error:
        raise StorageError(f"Could not write {output}: {error.strerror}.") from error
    return {
        "n_triangles": len(triangles),
        "volume": _volume(points, triangles),
        "watertight": surface.n_open_edges == 0 and bool(surface.is_manifold),
    }


def part_surface(design: Design, level: float = 0.5, smooth: bool = True) -> pyvista.PolyData:
    """Closed, outward oriented triangles around the cells' physical density >= level; local.

    Smoothing keeps what lies in a face of the bounding box there. Raises InputError as `export_stl`.
    """
    if is_planar(design):
        raise InputError("The design is two-dimensional and has no surface; only 3-D designs can be exported.")
    if not 0.0 < level < 1.0:
        raise InputError(f"The density level should lie between 0 and 1, got {level}.")
    excess = np.asarray(design.cell_data_to_point_data().point_data["physical_density"]) - level
    # A point exactly on the level would be cut twice, and the surface would not be closed there.
    excess = np.where(np.abs(excess) < _CLEARANCE, np.copysign(_CLEARANCE, excess), excess)
    if excess.max() < 0.0:
        raise InputError(f"No part of the design has a density above the level {level}; choose a lower one.")
    image = isinstance(design, pyvista.ImageData)
    surface = solid_surface(design, excess) if image else _clipped(design, excess)
    return _smoothed(surface, np.asarray(design.bounds).reshape(3, 2)) if smooth else surface


def skin(grid: pyvista.UnstructuredGrid) -> pyvista.PolyData:
    """Outer faces of a grid, by VTK itself: pyvista's way to them differs between its versions; local."""
    import pyvista
    from vtkmodules.vtkFiltersGeometry import vtkDataSetSurfaceFilter

    surface = vtkDataSetSurfaceFilter()
    surface.SetInputData(grid)
    surface.Update()
    return pyvista.PolyData(surface.GetOutput())


def is_planar(design: Design) -> bool:
    """Whether the design is two-dimensional; local."""
    if isinstance(design, pyvista.ImageData):
        return bool(design.dimensions[2] == 1)
    return set(np.unique(design.celltypes)) <= _PLANAR_CELLS


def _clipped(design: pyvista.UnstructuredGrid, excess: Array) -> pyvista.PolyData:
    field = pyvista.UnstructuredGrid()
    field.copy_structure(design)
    field.point_data["excess"] = excess
    surface = skin(field.clip_scalar(scalars="excess", invert=False, value=0.0)).triangulate().clean()
    surface.clear_data()
    return surface.compute_normals(
        cell_normals=False, split_vertices=False, consistent_normals=True, auto_orient_normals=True
    )


def _smoothed(surface: pyvista.PolyData, bounds: Array) -> pyvista.PolyData:
    smooth = surface.smooth_taubin(n_iter=20, pass_band=0.1)
    before, points = np.asarray(surface.points), np.array(smooth.points, dtype=np.float64)
    tolerance = 1e-6 * np.ptp(bounds, axis=1).max()
    for axis in range(3):
        points[:, axis] = points[:, axis].clip(*bounds[axis])
        for bound in bounds[axis]:
            points[np.abs(before[:, axis] - bound) < tolerance, axis] = bound
    smooth.points = points
    return smooth


def _volume(points: Array, triangles: NDArray[np.int64]) -> float:
    """Sum of the signed tetrahedra between the triangles and the middle of the part."""
    a, b, c = ((points - points.mean(axis=0))[triangles[:, corner]] for corner in range(3))
    return float(np.einsum("ij,ij", a, np.cross(b, c)) / 6.0)


def _stl(points: Array, triangles: NDArray[np.int64]) -> bytes:
    corners = points[triangles]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    facets = np.zeros(len(triangles), dtype=[("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("unused", "<u2")])
    facets["normal"] = normals / np.where(lengths > 0.0, lengths, 1.0)
    facets["corners"] = corners
    return b"morpho".ljust(80) + np.array(len(triangles), dtype="<u4").tobytes() + facets.tobytes()


def _ply(points: Array, triangles: NDArray[np.int64]) -> bytes:
    head = (
        "ply\nformat binary_little_endian 1.0\n"
        f"element vertex {len(points)}\nproperty float x\nproperty float y\nproperty float z\n"
        f"element face {len(triangles)}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    faces = np.empty(len(triangles), dtype=[("count", "u1"), ("corners", "<i4", 3)])
    faces["count"], faces["corners"] = 3, triangles
    return head.encode() + points.astype("<f4").tobytes() + faces.tobytes()
