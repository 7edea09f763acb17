"""The finished part as a closed triangle surface. Serial, on request, from the files of a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyvista
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from morpho.errors import InputError, StorageError
from morpho.interfaces import Array
from morpho.results.body import DENSITY, WALL, add_walls, with_image
from morpho.results.designs import Design, load_design
from morpho.results.image import solid_surface
from morpho.results.inside import INSIDE, surface_in
from morpho.results.mirror import Plane, mirrored, symmetry_planes
from morpho.results.run_folder import check_target

_PLANAR_CELLS = {5, 9}
_CLEARANCE = 1e-3  #: least distance between the density of a point and the level
_SUFFIXES = (".stl", ".3mf", ".ply", ".vtu")
_UNITS = {"um": 1e-3, "mm": 1.0, "cm": 10.0, "m": 1000.0, "in": 25.4, "ft": 304.8}  #: in the millimetres of a 3MF file
_TRIALS = 40  #: levels that are tried
_SMOOTHED = 3  #: of them with smoothing
_VOXEL, _HEXAHEDRON = 11, 12  #: VTK's types of cells
_STEEP = 20.0  #: of the density beside the distance to the wall, in voxels, which is to be cut at its own zero
_FAR = 0.005  #: that is said
_NEAR = 1e-3  #: relative difference of volumes that counts as equal
#: pairs of corners that an edge joins, by VTK's type of cell
_EDGES = {
    10: [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)],
    12: [(0, 1), (1, 2), (2, 3), (3, 0), (4, 5), (5, 6), (6, 7), (7, 4), (0, 4), (1, 5), (2, 6), (3, 7)],
}
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Part:
    """A part with its figures."""

    surface: pyvista.PolyData
    level: float  #: of the density at the surface
    volume: float
    pieces: int
    loose: float  #: share of the smaller pieces


def export(
    run_dir: Path,
    output: Path,
    level: float | None = None,
    smooth: bool = True,
    largest: bool = False,
    symmetric: bool = False,
    units: str = "mm",
) -> dict[str, Any]:
    """Write the part of the last design: its surface as .stl, .3mf or .ply, or the cells of the solid as .vtu; local.

    Args:
        level: density at the surface; default: where the part has the volume of the design.
        largest: whether pieces that do not hang together with the largest one are dropped.
        symmetric: whether it is completed by its images in the planes of symmetry of the problem.
        units: of lengths, for a 3MF file, which is in millimetres.

    Returns level, volume, design_volume, pieces, loose, and of surfaces n_triangles, cavities and watertight.

    Raises:
        InputError: a 2-D design, another suffix, a folder or link of that name, or a part that is empty.
        StorageError: the file could not be written.
    """
    output = Path(output)
    suffix = output.suffix.lower()
    if suffix not in _SUFFIXES:
        raise InputError(f"{output}: the suffix should be {', '.join(_SUFFIXES[:-1])} or .vtu, got {output.suffix!r}.")
    if units not in _UNITS:
        raise InputError(f"units: got {units}; a 3MF file takes {', '.join(_UNITS)}.")
    check_target(output)
    design = whole_design(run_dir, symmetry_planes if symmetric else no_planes)
    wanted = volume_of(design)
    if suffix == ".vtu":
        content, figures = _cells(design, level, wanted)
    else:
        part = find_part(design, level, smooth, largest)
        content, figures = _surface(part, suffix[1:], units)
    try:
        output.write_bytes(content)
    except OSError as error:
        raise StorageError(f"Could not write {output}: {error.strerror}.") from error
    return figures | {"design_volume": wanted}


def no_planes(_: Path, __: Design) -> list[Plane]:
    """For a part that is whole."""
    return []


def whole_design(run_dir: Path, planes: Callable[[Path, Design], list[Plane]] = no_planes, step: int = -1) -> Design:
    """A written design, by default the last, with its images in some faces of the box, and that of a voxelized part
    with its walls; local.

    Raises:
        InputError: there is none, or what `planes` raises.
    """
    design = load_design(run_dir, step)
    walls = surface_in(run_dir) if INSIDE in design.cell_data else None
    for axis, high in planes(run_dir, design):
        if walls is not None:
            walls = with_image(walls, axis, design.bounds[2 * axis + high])
        design = mirrored(design, (axis, high))
    if walls is not None and isinstance(design, pyvista.ImageData):
        add_walls(design, walls)
    return design


def said(output: Path, figures: dict[str, Any]) -> list[str]:
    """What `export` has written, in lines, and what is not as it should be."""
    volume, wanted = figures["volume"], figures["design_volume"]
    count = f"{figures['cells']} cells" if "cells" in figures else f"{figures['n_triangles']} triangles"
    lines = [f"{output}: level {figures['level']:.4g}, volume {volume:.6g} of the design's {wanted:.6g}, {count}"]
    if abs(volume / wanted - 1) > _FAR:
        lines.append(f"warning: the volume of the part is {100 * (volume / wanted - 1):+.1f} % off that of the design")
    if figures.get("pieces", 1) > 1:
        lines.append(
            f"warning: the part is {figures['pieces']} pieces, the smaller ones {100 * figures['loose']:.2g} % of it; "
            "--largest drops them"
        )
    if figures.get("cavities", 0):
        lines.append(f"warning: it has {figures['cavities']} closed cavities inside, which no powder leaves")
    if not figures.get("watertight", True):
        lines.append("warning: the surface is not closed")
    return lines


def find_part(design: Design, level: float | None = None, smooth: bool = True, largest: bool = False) -> Part:
    """The closed surface of the part of a 3-D design; local, raises as `export`.

    The volume that the default level aims at is that of the design, sum of density times volume of the cells.
    """
    _check_level(design, level)
    if level is None:
        level = _level_of(design, smooth)
    return _part(design, level, smooth, largest)


def part_surface(design: Design, level: float = 0.5, smooth: bool = True) -> pyvista.PolyData:
    """Closed, outward oriented triangles around the cells' physical density >= level; local.

    Points in the boundary of the body stay where they are: only what the design has cut is smoothed. Raises InputError
    as `export`.
    """
    return find_part(design, level, smooth).surface


def volume_of(design: Design) -> float:
    """Volume of the design, its density at each cell times the volume of that; local."""
    density = np.asarray(design.cell_data["physical_density"], np.float64)
    if isinstance(design, pyvista.ImageData):
        return float(density.sum() * np.prod(design.spacing))
    sizes = design.compute_cell_sizes(length=False, area=False, volume=True)
    return float(density @ np.abs(np.asarray(sizes.cell_data["Volume"])))


def _check_level(design: Design, level: float | None) -> None:
    if is_planar(design):
        raise InputError("The design is two-dimensional and has no surface; only 3-D designs can be exported.")
    if level is not None and not 0.0 < level < 1.0:
        raise InputError(f"The density level should lie between 0 and 1, got {level}.")


def _level_of(design: Design, smooth: bool) -> float:
    """The level at which the part has the volume of the design.

    Found on rough surfaces, and then for what smoothing takes or adds.
    """
    wanted = volume_of(design)
    found = _with_volume(partial(_part, design, smooth=False, largest=False), wanted)
    tried = {found.level: found.volume}
    for _ in range(_SMOOTHED if smooth else 0):
        volume = _part(design, found.level, smooth=True, largest=False).volume
        tried[found.level] = volume
        if abs(volume - wanted) <= _NEAR * wanted:
            break
        rough = found.volume * wanted / volume
        found = _with_volume(partial(_part, design, smooth=False, largest=False), rough)
    return min(tried, key=lambda level: abs(tried[level] - wanted))


def _with_volume(make: Callable[[float], Part], wanted: float) -> Part:
    """The part whose volume is the wanted one, by halving the range of levels."""
    low, high = 0.0, 1.0
    best: Part | None = None
    for _ in range(_TRIALS):
        level = (low + high) / 2
        try:
            part = make(level)
        except InputError:  # nothing is as dense
            high = level
            continue
        if best is None or abs(part.volume - wanted) < abs(best.volume - wanted):
            best = part
        if abs(part.volume - wanted) <= _NEAR * wanted or high - low < 1e-6:
            break
        low, high = (level, high) if part.volume > wanted else (low, level)
    if best is None:
        raise InputError("No part of the design has a density above any level: it is empty.")
    return best


def _part(design: Design, level: float, smooth: bool, largest: bool) -> Part:
    if WALL in design.point_data:
        density, wall = (np.asarray(design.point_data[name], np.float64) for name in (DENSITY, WALL))
        excess = np.minimum(_STEEP * (density - level), -wall)
    else:
        excess = np.asarray(design.cell_data_to_point_data().point_data["physical_density"], np.float64) - level
    # A point exactly on the level would be cut twice, and the surface would not be closed there.
    excess = np.where(np.abs(excess) < _CLEARANCE, np.copysign(_CLEARANCE, excess), excess)
    if excess.max() < 0.0:
        raise InputError(f"No part of the design has a density above the level {level}; choose a lower one.")
    sizes, labels = _bodies(design, excess > 0)
    if largest:
        excess[(labels != np.argmax(sizes) + 1) & (excess > 0)] = -_CLEARANCE
    image = isinstance(design, pyvista.ImageData)
    surface, cut = solid_surface(design, excess) if image else _clipped(design, excess)
    if smooth:
        surface = _smoothed(surface, cut)
    pieces = 1 if largest else len(sizes)
    return Part(surface, level, _volume(surface), pieces, 0.0 if largest else 1 - float(sizes.max() / sizes.sum()))


def _bodies(design: Design, solid: Mask) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Points in each body, and the number of the body of each point, from 1 on; of void ones 0."""
    if isinstance(design, pyvista.ImageData):
        labels, count = ndimage.label(solid.reshape(design.dimensions[::-1]))
        labels = labels.ravel()
    else:
        pairs = np.concatenate([cells[:, _EDGES[kind]].reshape(-1, 2) for kind, cells in design.cells_dict.items()])
        a, b = pairs[solid[pairs].all(axis=1)].T
        graph = coo_matrix((np.ones(len(a), bool), (a, b)), (len(solid), len(solid)))
        _, label = connected_components(graph, directed=False)
        _, label = np.unique(label[solid], return_inverse=True)
        labels, count = np.zeros(len(solid), np.int64), int(label.max()) + 1
        labels[solid] = label + 1
    return np.bincount(labels, minlength=count + 1)[1:], labels


def skin(grid: pyvista.UnstructuredGrid) -> pyvista.PolyData:
    """Outer faces of a grid, by VTK itself: pyvista's way to them differs between its versions; local."""
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


def _clipped(design: pyvista.UnstructuredGrid, excess: Array) -> tuple[pyvista.PolyData, Mask]:
    """The surface, and which of its triangles are cut: those without a corner of the mesh."""
    field = pyvista.UnstructuredGrid()
    field.copy_structure(design)
    field.point_data["excess"] = excess
    surface = skin(field.clip_scalar(scalars="excess", invert=False, value=0.0)).triangulate().clean()
    surface = surface.compute_normals(
        cell_normals=False, split_vertices=False, consistent_normals=True, auto_orient_normals=True
    )
    at_level = np.asarray(surface.point_data["excess"]) < _CLEARANCE / 2
    cut = at_level[np.asarray(surface.regular_faces)].all(axis=1)
    surface.clear_data()
    return surface, cut


def _smoothed(surface: pyvista.PolyData, cut: Mask) -> pyvista.PolyData:
    """The triangles that are cut, smoothed between their edges with the others, which stay."""
    if not cut.any():
        return surface
    faces = np.asarray(surface.regular_faces)
    inner = np.ones(surface.n_points, dtype=bool)
    inner[faces[~cut]] = False
    used, rows = np.unique(faces[cut], return_inverse=True)
    patch = pyvista.PolyData(surface.points[used], np.insert(rows.reshape(-1, 3), 0, 3, axis=1).ravel())
    smooth = patch.smooth_taubin(n_iter=20, pass_band=0.1, boundary_smoothing=False)
    points = np.array(surface.points, dtype=np.float64)
    points[used[inner[used]]] = np.asarray(smooth.points)[inner[used]]
    result = surface.copy()
    result.points = points
    return result


def _volume(surface: pyvista.PolyData) -> float:
    """Sum of the signed tetrahedra between the triangles and the middle of the part."""
    points = np.asarray(surface.points, dtype=np.float64)
    corners = (points - points.mean(axis=0))[np.asarray(surface.regular_faces)]
    a, b, c = corners.swapaxes(0, 1)
    return float(np.einsum("ij,ij", a, np.cross(b, c)) / 6.0)


def _surface(part: Part, kind: str, units: str) -> tuple[bytes, dict[str, Any]]:
    """Content of a file, and what there is to say."""
    import trimesh

    points = np.asarray(part.surface.points, dtype=np.float64)
    mesh = trimesh.Trimesh(points, np.asarray(part.surface.regular_faces, dtype=np.int64), process=False)
    if kind == "3mf":
        mesh.apply_scale(_UNITS[units])
    content = mesh.export(file_type=kind)
    return content if isinstance(content, bytes) else content.encode(), {
        "level": part.level,
        "volume": part.volume,
        "pieces": part.pieces,
        "loose": part.loose,
        "n_triangles": len(mesh.faces),
        "cavities": max(0, int(mesh.body_count) - part.pieces),
        "watertight": bool(mesh.is_watertight and mesh.is_winding_consistent),
    }


def _cells(design: Design, level: float | None, wanted: float) -> tuple[bytes, dict[str, Any]]:
    """The densest cells, as many as make up the volume of the design, or those above a level, as a mesh."""
    from mpi4py import MPI  # a process that draws must not start it

    from morpho.results.grid import Grid
    from morpho.results.mesh_pieces import MeshPieces

    _check_level(design, level)
    density = np.asarray(design.cell_data["physical_density"], np.float64)
    grid = design.cast_to_unstructured_grid() if isinstance(design, pyvista.ImageData) else design
    volumes = np.abs(np.asarray(grid.compute_cell_sizes(length=False, area=False).cell_data["Volume"]))
    if level is None:
        order = np.argsort(-density, kind="stable")
        ends = np.flatnonzero(np.diff(density[order], append=-1.0))  # equally dense ones are all in, or all out
        reached = np.cumsum(volumes[order])[ends]
        level = float(density[order[ends[np.argmin(np.abs(reached - wanted))]]])
    solid = density >= level
    if not solid.any():
        raise InputError(f"No part of the design has a density above the level {level}; choose a lower one.")
    (kind, corners), *_ = grid.cells_dict.items()
    if kind == _VOXEL:
        kind, corners = _HEXAHEDRON, corners[:, [0, 1, 3, 2, 4, 5, 7, 6]]
    used, nodes = np.unique(corners[solid], return_inverse=True)
    part = Grid(
        np.asarray(grid.points)[used], nodes.reshape(-1, corners.shape[1]), kind, np.flatnonzero(solid), MPI.COMM_SELF
    )
    content = MeshPieces(part).piece({"physical_density": density[solid]}, {})
    return content, {"level": level, "volume": float(volumes[solid].sum()), "cells": int(solid.sum())}
