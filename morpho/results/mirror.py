"""The whole of a part of which a half, a quarter or an eighth was designed. Serial."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyvista

from morpho.errors import InputError
from morpho.results.designs import Design
from morpho.results.inside import INSIDE

Plane = tuple[int, bool]  #: axis, and whether it is the face where that coordinate is largest


def symmetry_planes(run_dir: Path, design: Design) -> list[Plane]:
    """The faces of the bounding box that the problem of a run holds across only, as symmetry does (local).

    Raises:
        InputError: there is none, or the run folder has no problem.
    """
    from morpho.problem import load_problem  # starts MPI, which a process that draws must not

    problem = load_problem(run_dir / "problem.yaml", allow_code=True)
    bounds = np.reshape(design.bounds, (3, 2))
    tolerance = 1e-6 * float(np.ptp(bounds, axis=1).max())
    found = []
    for support in problem.supports:
        plane = support.region.plane
        if plane is None or support.moves or support.components != ("xyz".index(plane.axis),):
            continue
        axis = "xyz".index(plane.axis)
        found += [(axis, bool(side)) for side in (0, 1) if abs(bounds[axis, side] - plane.at) <= tolerance]
    if not found:
        raise InputError(
            f"{run_dir}: the problem has no plane of symmetry, a face of the box where a support holds nothing but the "
            "component across it ({region: {plane: {axis: x, at: 0}}, fix: x}); leave --symmetric out."
        )
    return sorted(set(found))


def mirrored(design: Design, plane: Plane) -> Design:
    """The design and its mirror image in a face of its bounding box, as one mesh (local)."""
    axis, high = plane
    if isinstance(design, pyvista.ImageData):
        return _image(design, axis, high)
    at, tolerance = design.bounds[2 * axis + high], 1e-9 * design.length
    mirror = design.copy()
    mirror.points[:, axis] = 2.0 * at - mirror.points[:, axis]
    for half in (design, mirror):
        x = np.asarray(half.points)[:, axis]
        x[np.abs(x - at) < tolerance] = at
    return design.merge(mirror, merge_points=True)


def _image(design: pyvista.ImageData, axis: int, high: bool) -> pyvista.ImageData:
    points, origin = list(design.dimensions), list(design.origin)
    cells = [max(n - 1, 1) for n in points]
    origin[axis] -= 0.0 if high else design.spacing[axis] * cells[axis]
    points[axis] = 2 * cells[axis] + 1
    whole = pyvista.ImageData(dimensions=tuple(points), spacing=design.spacing, origin=tuple(origin))
    for name in {"physical_density", INSIDE} & set(design.cell_data):
        half = np.asarray(design.cell_data[name]).reshape(cells[::-1])
        image = np.flip(half, axis=2 - axis)
        whole.cell_data[name] = np.concatenate((half, image) if high else (image, half), axis=2 - axis).ravel()
    return whole
