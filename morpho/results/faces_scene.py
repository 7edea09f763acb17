"""Draws the numbered faces of a CAD part in a process of its own; started by `morpho.results.render`.

It takes triangles from a file, as the mesh package would start MPI here.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pyvista
from PIL import Image

_STORAGE_ERROR = 3  #: exit status that morpho.results.render knows
_COLOURS = (
    "#a6cee3",
    "#b2df8a",
    "#fdbf6f",
    "#cab2d6",
    "#fb9a99",
    "#ffff99",
    "#d9d9d9",
    "#8dd3c7",
    "#bebada",
    "#ccebc5",
)
_SIDES = ((1.0, -1.3, 0.9), (-1.0, 1.3, -0.9))  #: towards the viewer
_SIZE = (2400, 1000)

Faces = dict[str, np.ndarray]


def draw(faces: Faces, output: Path) -> None:
    """Write a PNG of triangles (t, 3, 3) by the number of their face, from two opposite sides (local)."""
    plotter = pyvista.Plotter(off_screen=True, window_size=list(_SIZE), shape=(1, len(_SIDES)), border=False)
    plotter.background_color = "white"
    for column, side in enumerate(_SIDES):
        plotter.subplot(0, column)
        _add(plotter, faces, np.array(side))
    picture = plotter.screenshot(return_img=True)
    plotter.close()
    Image.fromarray(np.asarray(picture)).save(output, format="PNG")


def _add(plotter: pyvista.Plotter, faces: Faces, side: np.ndarray) -> None:
    """The part with the numbers of the faces that are seen from a side."""
    for i, triangles in enumerate(faces.values()):
        corners = triangles.reshape(-1, 3)
        rows = np.insert(np.arange(len(corners)).reshape(-1, 3), 0, 3, axis=1)
        plotter.add_mesh(pyvista.PolyData(corners, rows.ravel()), color=_COLOURS[i % len(_COLOURS)], ambient=0.3)
    places = np.array([_foremost(triangles, side) for triangles in faces.values()])
    plotter.add_point_labels(
        places, list(faces), always_visible=False, font_size=22, point_size=8, shape_opacity=0.6, tolerance=1e-3
    )
    plotter.view_vector(side, viewup=(0, 0, 1))  # type: ignore[arg-type]
    plotter.camera.parallel_projection = True


def _foremost(triangles: np.ndarray, side: np.ndarray) -> np.ndarray:
    """The middle of a triangle that faces the viewer, if one does, and is in the middle of those."""
    normals = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    facing = normals @ side > 0.3 * np.linalg.norm(normals, axis=1) * np.linalg.norm(side)
    x = triangles[facing if facing.any() else slice(None)].mean(axis=1)
    return np.asarray(x[np.argmin(np.linalg.norm(x - x.mean(axis=0), axis=1))])


if __name__ == "__main__":
    try:
        with np.load(sys.argv[1]) as stored:
            draw(dict(stored), Path(sys.argv[2]))
    except OSError as error:
        print(f"Could not write {sys.argv[2]}: {error.strerror or error}.")
        sys.exit(_STORAGE_ERROR)
