"""Meshes have the same fingerprint on any number of ranks, and others have another one."""

import json
import sys
from pathlib import Path

from mpi4py import MPI

import meshio
import numpy as np
from helpers import main, write_gmsh

from morpho.mesh import build_mesh, voxel_mesh
from morpho.mesh.fingerprint import fingerprint
from morpho.problem import spec


def facts(comm: MPI.Comm, folder: str) -> dict:
    """Fingerprints of a file, of its refinement, of another file, and of boxes by both engines."""
    found = {}
    files = [("coarse", "a.msh", 0), ("fine", "a.msh", 1), ("other", "b.msh", 0)]
    for name, file, refine in [*files, ("bricks", "c.vtu", 0), ("fine bricks", "c.vtu", 1)]:
        description = spec.Mesh(file=f"{folder}/{file}", refine=refine)
        found[name] = fingerprint(description, build_mesh(description, comm))
    for name, cells in (("box", (12, 4)), ("turned", (4, 12))):
        description = spec.Mesh(box=spec.BoxMesh(size=(12, 4), cells=cells))
        found[name] = fingerprint(description, build_mesh(description, comm))
        found[f"{name} of voxels"] = fingerprint(description, voxel_mesh(description.box, 0, comm))
    return found


def uneven_bricks(path: Path) -> None:
    """Hexahedra whose middles are no round numbers, so that they depend on the order in which corners are added."""
    steps = np.stack(np.meshgrid(*[np.arange(5)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    corner = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 1], [1, 0, 1], [1, 1, 1], [0, 1, 1]])
    first = steps[(steps < 4).all(axis=1)]
    cells = (first[:, None] + corner) @ [25, 5, 1]
    points = steps + np.random.default_rng(0).uniform(-0.2, 0.2, steps.shape)
    meshio.Mesh(points, [("hexahedron", cells)]).write(path)


def test_fingerprints(tmp_path: Path, mpirun) -> None:
    write_gmsh(tmp_path / "a.msh", "triangle", 0.3)
    write_gmsh(tmp_path / "b.msh", "triangle", 0.29)
    uneven_bricks(tmp_path / "c.vtu")
    alone = facts(MPI.COMM_SELF, str(tmp_path))
    assert json.loads(mpirun(3, Path(__file__), tmp_path)) == alone
    assert alone["box"] == alone["box of voxels"] and alone["turned"] == alone["turned of voxels"]
    assert len({json.dumps(value) for value in alone.values()}) == 7


if __name__ == "__main__":
    main(facts, *sys.argv[1:])
