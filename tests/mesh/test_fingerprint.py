"""Meshes have the same fingerprint on any number of ranks, and others have another one."""

import json
import sys
from pathlib import Path

from mpi4py import MPI

from helpers import main, write_gmsh

from morpho.mesh import build_mesh, voxel_mesh
from morpho.mesh.fingerprint import fingerprint
from morpho.problem import spec


def facts(comm: MPI.Comm, folder: str) -> dict:
    """Fingerprints of a file, of its refinement, of another file, and of boxes by both engines."""
    found = {}
    for name, file, refine in (("coarse", "a", 0), ("fine", "a", 1), ("other", "b", 0)):
        description = spec.Mesh(file=f"{folder}/{file}.msh", refine=refine)
        found[name] = fingerprint(description, build_mesh(description, comm))
    for name, cells in (("box", (12, 4)), ("turned", (4, 12))):
        description = spec.Mesh(box=spec.BoxMesh(size=(12, 4), cells=cells))
        found[name] = fingerprint(description, build_mesh(description, comm))
        found[f"{name} of voxels"] = fingerprint(description, voxel_mesh(description.box, 0, comm))
    return found


def test_fingerprints(tmp_path: Path, mpirun) -> None:
    write_gmsh(tmp_path / "a.msh", "triangle", 0.3)
    write_gmsh(tmp_path / "b.msh", "triangle", 0.29)
    alone = facts(MPI.COMM_SELF, str(tmp_path))
    assert json.loads(mpirun(3, Path(__file__), tmp_path)) == alone
    assert alone["box"] == alone["box of voxels"] and alone["turned"] == alone["turned of voxels"]
    assert len({json.dumps(value) for value in alone.values()}) == 5


if __name__ == "__main__":
    main(facts, *sys.argv[1:])
