"""Draws a design in a process of its own; started by `morpho.results.render`, which finds it a display."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyvista
from PIL import Image

from morpho.errors import InputError
from morpho.results.designs import Design
from morpho.results.surface import is_planar, no_planes, part_surface, skin, whole_design

_INPUT_ERROR, _STORAGE_ERROR = 2, 3  #: exit statuses that morpho.results.render knows

_PART, _LINES = "#a9c4d6", "#6a6a6a"
_MARGIN = 1.06
#: where the viewer is, and what is up
VIEWS = {
    "corner": ((1.0, -1.0, 1.0), (0.0, 0.0, 1.0)),
    "front": ((0.0, -1.0, 0.0), (0.0, 0.0, 1.0)),
    "side": ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0)),
    "top": ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0)),
}
#: position relative to the viewer (right, up, towards) and intensity: key, fill and head light
_LIGHTS = (((-1.0, 0.9, 1.0), 0.58), ((1.5, 0.2, 0.8), 0.32), ((0.0, 0.0, 1.0), 0.35))


def draw(run_dir: Path, output: Path, level: float, size: tuple[int, int], symmetric: bool) -> None:
    """Write a PNG of the last design; local.

    Raises InputError if there is none or it is empty at this level, OSError if the PNG cannot be written.
    """
    design = whole_design(run_dir, (lambda _, __: [(0, False)]) if symmetric else no_planes)
    part = None if is_planar(design) else part_surface(design, level)
    save(output, picture(design, part, size))


def save(output: Path, image: np.ndarray) -> None:
    """Write pixels as a PNG; local."""
    Image.fromarray(image).save(output, format="PNG", optimize=True)


def picture(
    design: Design, part: pyvista.PolyData | None, size: tuple[int, int], view: str = "corner", clear: bool = False
) -> np.ndarray:
    """Pixels of a design; of a 3-D one of its part, from one of VIEWS; local.

    Args:
        clear: whether nothing is behind it, for pages that are light or dark.
    """
    plotter = pyvista.Plotter(off_screen=True, window_size=list(size), lighting=None)
    plotter.background_color = "white"
    if part is None:
        _add_planar(plotter, design)
    else:
        _add_solid(plotter, design, part, VIEWS[view])
    image = plotter.screenshot(return_img=True, transparent_background=clear)
    plotter.close()
    return np.asarray(image)


def _add_planar(plotter: pyvista.Plotter, design: Design) -> None:
    plotter.add_mesh(
        design,
        scalars="physical_density",
        cmap="gray_r",
        clim=(0.0, 1.0),
        lighting=False,
        show_scalar_bar=False,
    )
    outline = _outline(design)
    outline.translate((0.0, 0.0, 1e-3 * design.length), inplace=True)
    plotter.add_mesh(outline, color=_LINES, line_width=2, lighting=False)
    _look_along(plotter, np.array([0.0, 0.0, 1.0]), np.array([0.0, 1.0, 0.0]))


def _add_solid(
    plotter: pyvista.Plotter, design: Design, part: pyvista.PolyData, view: tuple[tuple[float, ...], tuple[float, ...]]
) -> None:
    plotter.add_mesh(
        part,
        color=_PART,
        smooth_shading=True,
        split_sharp_edges=True,
        feature_angle=40.0,
        ambient=0.18,
        diffuse=0.9,
        specular=0.15,
        specular_power=15.0,
    )
    plotter.add_mesh(_outline(design), color=_LINES, line_width=1.5, lighting=False)
    for position, intensity in _LIGHTS:
        plotter.add_light(pyvista.Light(position=position, intensity=intensity, light_type="camera light"))
    plotter.enable_anti_aliasing("ssaa")
    _look_along(plotter, *map(np.array, view))


def _outline(design: Design) -> pyvista.PolyData:
    """The edges of the domain."""
    if isinstance(design, pyvista.ImageData):
        return design.outline()
    if is_planar(design):
        return skin(design).extract_feature_edges(
            boundary_edges=True, feature_edges=False, manifold_edges=False, non_manifold_edges=False
        )
    # The cells of a mirror image are inside out, which would count as an edge.
    faces = skin(design).compute_normals(split_vertices=False, consistent_normals=True)
    return faces.extract_feature_edges(30.0, boundary_edges=False, manifold_edges=False)


def _look_along(plotter: pyvista.Plotter, towards_viewer: np.ndarray, up: np.ndarray) -> None:
    """Parallel projection in which the bounding box of the scene fills the picture."""
    bounds = np.array(plotter.bounds).reshape(3, 2)
    middle, length = bounds.mean(axis=1), np.linalg.norm(np.ptp(bounds, axis=1))
    normal = towards_viewer / np.linalg.norm(towards_viewer)
    right = np.cross(up, normal)
    right /= np.linalg.norm(right)
    # Half the extent of a box along a direction.
    half_width, half_height = (0.5 * np.abs(axis) @ np.ptp(bounds, axis=1) for axis in (right, np.cross(normal, right)))
    width, height = plotter.window_size
    plotter.camera_position = [tuple(middle + 2.0 * length * normal), tuple(middle), tuple(up)]
    plotter.camera.parallel_projection = True
    plotter.camera.parallel_scale = _MARGIN * max(half_height, half_width * height / width)
    plotter.camera.clipping_range = (0.5 * length, 3.5 * length)


def exit_status(work: Callable[[], None], target: str) -> int:
    """Of a process that draws, as morpho.results.render knows it; says what went wrong (local)."""
    try:
        work()
    except InputError as error:
        print(error)
        return _INPUT_ERROR
    except OSError as error:
        print(f"Could not write {target}: {error.strerror or error}.")
        return _STORAGE_ERROR
    return 0


def _main(run_dir: str, output: str, level: str, width: str, height: str, symmetric: str) -> int:
    size = int(width), int(height)
    return exit_status(lambda: draw(Path(run_dir), Path(output), float(level), size, symmetric == "True"), output)


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
