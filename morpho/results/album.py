"""Draws the pictures of a report and its turning part, in a process of its own; started by `morpho.results.render`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pyvista

from morpho.errors import InputError
from morpho.results.designs import Design, written_steps
from morpho.results.scene import VIEWS, exit_status, picture, save
from morpho.results.surface import is_planar, no_planes, part_surface, whole_design

LEVEL = 0.5  #: density at the surface
LARGE, SMALL = (960, 720), (480, 360)  #: pixels
STAGES = 6  #: designs on the way
MOST = 40_000  #: triangles of the part that turns
CREASE = 35.0  #: degrees


def draw(run_dir: Path, folder: Path, symmetric: bool) -> None:
    """Write view_NAME.png, stage_ITERATION.png and of a 3-D design part.npz; local.

    Raises InputError if there is no design or it is empty, OSError if a file cannot be written.
    """
    held = pyvista.Plotter(off_screen=True, window_size=[8, 8])
    held.screenshot()  # a virtual display of our own goes with its last window
    planes = (lambda _, __: [(0, False)]) if symmetric else no_planes
    design = whole_design(run_dir, planes)
    if is_planar(design):
        save(folder / "view_plane.png", picture(design, None, fitting(design, 1200)))
    else:
        part = part_surface(design, LEVEL)
        for view in VIEWS:
            save(folder / f"view_{view}.png", picture(design, part, LARGE, view, clear=True))
        points, triangles = simplified(part)
        np.savez(folder / "part.npz", points=points, triangles=triangles)
    iterations = written_steps(run_dir)
    for step in chosen(iterations):
        earlier = whole_design(run_dir, planes, step)
        try:
            solid = None if is_planar(earlier) else part_surface(earlier, LEVEL)
        except InputError:  # nothing is as dense yet
            continue
        size = fitting(earlier, SMALL[0]) if solid is None else SMALL
        image = picture(earlier, solid, size, clear=solid is not None)
        save(folder / f"stage_{iterations[step]:06d}.png", image)
    held.close()


def fitting(design: Design, width: int) -> tuple[int, int]:
    """Pixels of a picture with the proportions of a flat design, at most three times as high as wide (local)."""
    low_x, high_x, low_y, high_y = design.bounds[:4]
    return width, int(np.clip(width * (high_y - low_y) / (high_x - low_x), width / 8, 3 * width))


def chosen(iterations: list[int]) -> list[int]:
    """Which designs show how it came about: the first, the last, and some between, closer at first (local)."""
    last = len(iterations) - 1
    wanted = np.geomspace(1, max(iterations[-1], 2), STAGES)
    near = {min(range(last + 1), key=lambda i: abs(iterations[i] - target)) for target in wanted}
    return sorted(near | {last})


def simplified(part: pyvista.PolyData) -> tuple[np.ndarray, np.ndarray]:
    """Points (p, 3) and at most about MOST triangles, points apart where an edge is sharp (local)."""
    if part.n_cells > MOST:
        part = part.decimate(1 - MOST / part.n_cells)
    part = part.compute_normals(split_vertices=True, feature_angle=CREASE, cell_normals=False)
    return np.asarray(part.points, np.float64), np.asarray(part.regular_faces, np.uint32)


def _main(run_dir: str, folder: str, symmetric: str) -> int:
    return exit_status(lambda: draw(Path(run_dir), Path(folder), symmetric == "True"), folder)


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
