"""What the files of a run say of the part that was filled with voxels."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from morpho.interfaces import Array

FILE = "part.stl"  #: in the folder of a run: the surface that was voxelized
INSIDE = "inside"  #: cell data: which voxels are in the part


def save_surface(folder: Path, corners: Array) -> None:
    """Keep the triangles (t, 3, 3) of a part with its run (local)."""
    import trimesh

    mesh = trimesh.Trimesh(corners.reshape(-1, 3), np.arange(3 * len(corners)).reshape(-1, 3), process=False)
    (folder / FILE).write_bytes(mesh.export(file_type="stl"))


def surface_in(folder: Path) -> Array | None:
    """The triangles that were voxelized in a run, None where none were (local)."""
    from morpho.triangles import corners_in

    return corners_in(str(folder / FILE)) if (folder / FILE).is_file() else None
