"""From the mesh part of a problem file to a distributed mesh."""

from __future__ import annotations

from mpi4py import MPI

import numpy as np

from morpho import compat
from morpho.late import dmesh
from morpho.mesh.file import read_mesh
from morpho.mesh.mesh import Mesh
from morpho.mesh.refine import refine
from morpho.problem import spec


def build_mesh(description: spec.Mesh, comm: MPI.Comm) -> Mesh:
    """Make the mesh, refined as often as asked for (collective).

    Raises:
        InputError: the file holds no mesh morpho can use.
    """
    if description.box is not None:
        mesh = _box(description.box, comm)
    else:
        assert description.file is not None
        mesh = read_mesh(description.file, comm, description.size)
    for _ in range(description.refine):
        mesh = refine(mesh)
    return mesh


def _box(box: spec.BoxMesh, comm: MPI.Comm) -> Mesh:
    dim = len(box.size)
    low = np.array(box.origin or (0.0,) * dim)
    corners = [low, low + np.array(box.size)]
    kind = dmesh.CellType[box.cell or ("quadrilateral" if dim == 2 else "hexahedron")]
    make = dmesh.create_rectangle if dim == 2 else dmesh.create_box
    domain = make(comm, corners, list(box.cells), kind, partitioner=compat.default_partitioner())
    key = np.asarray(domain.topology.original_cell_index, dtype=np.int64)
    if kind == dmesh.CellType.quadrilateral:  # dolfinx numbers these with y fastest, hexahedra with x fastest
        column, row = np.divmod(key, box.cells[1])
        key = row * box.cells[0] + column
    return Mesh(domain, key)
