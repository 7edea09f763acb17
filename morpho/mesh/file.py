"""Mesh files with their named groups. Rank 0 reads, dolfinx distributes."""

from __future__ import annotations

from pathlib import Path

from mpi4py import MPI

import numpy as np
from numpy.typing import NDArray

from morpho import compat
from morpho.errors import InputError
from morpho.late import basix, dio, dmesh, graph
from morpho.mesh.abaqus import read_abaqus
from morpho.mesh.cad import read_cad
from morpho.mesh.contents import CELLS, Contents, tidy
from morpho.mesh.gmsh_file import read_gmsh
from morpho.mesh.mesh import Mesh, entity_name
from morpho.mesh.meshio_file import read_meshio
from morpho.mesh.raw import Cells, Raw
from morpho.mesh.universal import read_universal
from morpho.parallel import on_root
from morpho.problem.spec import CAD
from morpho.triangles import SURFACES

FOREIGN = (".x_t", ".x_b", ".sat", ".fcstd", ".ipt", ".sldprt", ".3dm", ".dxf")
READ = "save it as gmsh .msh, Abaqus .inp, .unv, .bdf, .vtu, .vtk, .med, .xdmf, .mesh or .su2"
NASTRAN = (".bdf", ".BDF", ".nas", ".NAS")


def read_mesh(path: str, comm: MPI.Comm, size: float | None = None) -> Mesh:
    """Read and distribute a mesh file (collective); a CAD file is meshed with edges of `size`.

    Raises:
        InputError: the file cannot be read, or holds no mesh morpho can use.
    """
    contents: list[Contents] = []
    kind, gdim, names, coincident, notes = on_root(comm, lambda: _describe(contents, path, size))
    cell, order = CELLS[kind]
    if comm.rank == 0:
        cells, x = contents[0].cells, contents[0].points[:, :gdim]
    else:
        cells, x = np.empty((0, len(order)), dtype=np.int64), np.empty((0, gdim))
    element = basix.ufl.element("Lagrange", cell, 1, shape=(gdim,))
    domain = compat.create_mesh(comm, cells, np.ascontiguousarray(x), element)

    tags: dict[str, dict[int, NDArray[np.int32]]] = {}
    for name, dim, given in names:
        entities = contents[0].groups[name][dim] if comm.rank == 0 else None
        found = find_entities(domain, dim, entities)
        owned = int(comm.allreduce(np.count_nonzero(found < domain.topology.index_map(dim).size_local)))
        if owned:
            tags.setdefault(name, {})[dim] = found
        if owned < given:
            what = f"{given - owned} of {given} {entity_name(dim, gdim)}"
            notes += (f"{what} of the group {name!r} are none of the mesh: left out",)
    key = np.asarray(domain.topology.original_cell_index, dtype=np.int64)
    mesh = Mesh(domain, key, tags, coincident=coincident, notes=notes)
    flat = int(comm.allreduce(int(np.sum(mesh.volumes <= 1e-12 * mesh.cell_size**mesh.dim))))
    if flat:
        raise InputError(f"mesh.file: {flat} cells of {path} have no {'area' if mesh.dim == 2 else 'volume'}")
    return mesh


def find_entities(domain: dmesh.Mesh, dim: int, entities: Cells | None) -> NDArray[np.int32]:
    """Local numbers of entities given anywhere by their input vertex numbers (collective)."""
    domain.topology.create_entities(dim)
    domain.topology.create_connectivity(dim, 0)
    domain.topology.create_connectivity(dim, domain.topology.dim)
    if entities is None:
        entities = np.empty((0, _vertices(domain, dim)), dtype=np.int64)
    values = np.zeros(len(entities), dtype=np.int32)
    local, values = dio.distribute_entity_data(domain, dim, np.ascontiguousarray(entities), values)
    links = graph.adjacencylist(np.asarray(local, dtype=np.int32))
    found = dmesh.meshtags_from_entities(domain, dim, links, np.asarray(values, dtype=np.int32))
    return np.asarray(found.indices)


def _vertices(domain: dmesh.Mesh, dim: int) -> int:
    if dim == domain.topology.dim:
        return int(domain.geometry.dofmap.shape[1])
    return dim + 1 if dim < 2 else 4 if domain.topology.cell_name() == "hexahedron" else 3


def _describe(
    contents: list[Contents], path: str, size: float | None
) -> tuple[str, int, list[tuple[str, int, int]], int, tuple[str, ...]]:
    """Read on rank 0; what the other ranks need to know: cell kind, space dimension, groups, what there is to say."""
    contents.append(tidy(_read(path, size), path))
    found = contents[0]
    names = sorted((name, dim, len(dims[dim])) for name, dims in found.groups.items() for dim in dims)
    return found.kind, found.dim, names, found.coincident, found.notes


def _read(path: str, size: float | None) -> Raw:
    """With the reader that suits the file; a CAD part is meshed.

    Raises:
        InputError: it cannot be read.
    """
    ending = Path(path).suffix.lower()
    if not Path(path).is_file():
        raise InputError(f"mesh.file: there is no file {path}")
    if ending in FOREIGN:
        raise InputError(
            f"mesh.file: {path} is a file of one CAD program; save the part as STEP (.step) and give mesh.size"
        )
    if ending == ".geo" or path.lower().endswith(".geo_unrolled"):
        raise InputError(f"mesh.file: {path} is a geometry, not a mesh; mesh it first: 'gmsh {Path(path).name} -3'")
    if ending in SURFACES:
        raise InputError(
            f"mesh.file: {path} is a surface, without a mesh of the volume inside; fill it with voxels instead: "
            f"mesh: {{voxelize: {Path(path).name}, spacing: the edge of a voxel}}"
        )
    try:
        if ending in CAD:
            assert size is not None
            return read_cad(path, size)
        if ending == ".inp":
            return read_abaqus(path)
        if ending == ".unv":
            return read_universal(path)
        if ending == ".msh" and _msh_version(path) >= 3:
            return read_gmsh(path)
        if ending == ".msh" and _msh_version(path) == 1:
            raise ValueError("it is of version 1; save it as 4.1 ('gmsh FILE -save -format msh41 -o mesh.msh')")
        return read_gmsh(path, by_entity=True) if path.endswith(NASTRAN) else read_meshio(path)
    except InputError:
        raise
    except Exception as error:  # the readers raise all sorts
        reason = " ".join(str(error).split()) or type(error).__name__
        if "Could not deduce file format" in reason:
            reason = f"{ending or 'a file without an ending'} is no format that is read here; {READ}"
        raise InputError(f"mesh.file: cannot read {path}: {reason}") from None


def _msh_version(path: str) -> float:
    """Version in the header of a gmsh file; 0 for what is none.

    Only from version 4 on gmsh keeps the groups of each cell; before, it gives them to whole entities.
    """
    with open(path, "rb") as file:
        header = file.read(4096).decode("ascii", errors="replace").split()
    if header[:1] == ["$NOD"]:
        return 1.0
    if "$MeshFormat" not in header[:-1] or not header[0].startswith("$"):
        return 0.0
    try:
        return float(header[header.index("$MeshFormat") + 1])
    except ValueError:
        return 0.0
