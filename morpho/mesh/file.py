"""Mesh files: whatever meshio reads, with its named groups. Rank 0 reads, dolfinx distributes."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from typing import Any

from mpi4py import MPI

import basix.ufl
import numpy as np
from dolfinx import graph
from dolfinx import io as dio
from dolfinx import mesh as dmesh
from numpy.typing import NDArray

from morpho import compat
from morpho.errors import InputError
from morpho.mesh.mesh import Mesh
from morpho.parallel import on_root

Cells = NDArray[np.int64]

#: meshio name -> (dolfinx cell, its vertices among the nodes of the file, in dolfinx order)
CELLS = {
    "vertex": ("point", [0]),
    "line": ("interval", [0, 1]),
    "triangle": ("triangle", [0, 1, 2]),
    "quad": ("quadrilateral", [0, 1, 3, 2]),
    "tetra": ("tetrahedron", [0, 1, 2, 3]),
    "hexahedron": ("hexahedron", [0, 1, 3, 2, 4, 5, 7, 6]),
}
#: Higher-order cells are read by their vertices, as straight-sided ones.
ORDERS = {"line3": "line", "triangle6": "triangle", "quad8": "quad", "quad9": "quad", "tetra10": "tetra",
          "hexahedron20": "hexahedron", "hexahedron27": "hexahedron"}  # fmt: skip
DIMENSIONS = {"vertex": 0, "line": 1, "triangle": 2, "quad": 2, "tetra": 3, "hexahedron": 3}


@dataclass(frozen=True)
class _Contents:
    """What rank 0 read. Groups: name -> dimension -> (e, vertices) entities by point number."""

    kind: str
    points: NDArray[np.float64]
    cells: Cells
    groups: dict[str, dict[int, Cells]]


def read_mesh(path: str, comm: MPI.Comm) -> Mesh:
    """Read and distribute a mesh file (collective).

    Raises:
        InputError: the file cannot be read, or holds no triangles, quadrilaterals, tetrahedra or hexahedra, or
            several kinds of them.
    """
    contents: list[_Contents] = []
    kind, gdim, names = on_root(comm, lambda: _describe(contents, path))
    empty = np.empty((0, 0))
    cell, order = CELLS[kind]
    if comm.rank == 0:
        cells, x = contents[0].cells, contents[0].points[:, :gdim]
    else:
        cells, x = np.empty((0, len(order)), dtype=np.int64), empty.reshape(0, gdim)
    element = basix.ufl.element("Lagrange", cell, 1, shape=(gdim,))
    domain = compat.create_mesh(comm, cells, np.ascontiguousarray(x), element)

    tags: dict[str, dict[int, NDArray[np.int32]]] = {}
    points: dict[str, NDArray[np.float64]] = {}
    for name, dim in names:
        entities = contents[0].groups[name][dim] if comm.rank == 0 else None
        if dim == 0:
            corners = None if entities is None else contents[0].points[entities[:, 0]]
            points[name] = np.atleast_2d(comm.bcast(corners, root=0))
        else:
            tags.setdefault(name, {})[dim] = find_entities(domain, dim, entities)
    mesh = Mesh(domain, np.asarray(domain.topology.original_cell_index, dtype=np.int64), tags, points)
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
    return 2 if dim == 1 else 4 if domain.topology.cell_name() == "hexahedron" else 3


def _describe(contents: list[_Contents], path: str) -> tuple[str, int, list[tuple[str, int]]]:
    """Read on rank 0; what the other ranks need to know: cell kind, space dimension, groups."""
    contents.append(_read(path))
    kind = contents[0].kind
    names = [(name, dim) for name, dims in contents[0].groups.items() for dim in dims]
    return kind, DIMENSIONS[kind], sorted(names)


def _read(path: str) -> _Contents:
    import meshio

    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            data = meshio.read(path)
    except (Exception, SystemExit) as error:  # meshio raises all sorts, or prints the reason and exits
        reason = " ".join(printed.getvalue().split()) if isinstance(error, SystemExit) else str(error)
        raise InputError(f"mesh.file: meshio cannot read {path}: {reason or 'unknown format'}") from None

    blocks = [(ORDERS.get(b.type, b.type), np.asarray(b.data, dtype=np.int64)) for b in data.cells]
    unknown = sorted({kind for kind, _ in blocks if kind not in CELLS})
    if unknown:
        raise InputError(
            f"mesh.file: {path} has cells of type {', '.join(unknown)}; morpho takes {', '.join(list(CELLS)[2:])}"
        )
    dim = max((DIMENSIONS[kind] for kind, _ in blocks), default=0)
    kinds = sorted({kind for kind, _ in blocks if DIMENSIONS[kind] == dim})
    if dim < 2:
        raise InputError(f"mesh.file: {path} has no {', '.join(list(CELLS)[2:])} cells; mesh a surface or a volume")
    if len(kinds) > 1:
        raise InputError(f"mesh.file: {path} mixes {' and '.join(kinds)}; morpho takes one kind of cell")

    # Straight-sided cells: vertices only, points that no cell uses left out.
    corners = [block[:, CELLS[kind][1]] for kind, block in blocks]
    cells = np.concatenate([c for c, (kind, _) in zip(corners, blocks, strict=True) if DIMENSIONS[kind] == dim])
    used = np.unique(cells)
    if used[0] < 0 or used[-1] >= len(data.points):
        raise InputError(f"mesh.file: a cell of {path} has a point that the file does not have")
    if not np.isfinite(data.points[used]).all():
        raise InputError(f"mesh.file: {path} has points whose coordinates are not finite")
    number = np.full(len(data.points), -1, dtype=np.int64)
    number[used] = np.arange(len(used))
    points = np.pad(np.asarray(data.points, dtype=float)[used], ((0, 0), (0, 3 - data.points.shape[1])))
    if dim == 2 and np.ptp(points[:, 2]) > 1e-9 * max(np.ptp(points, axis=0)):
        raise InputError(f"mesh.file: {path} is a curved surface; a 2-D mesh has to lie in the plane z = 0")
    groups = _groups(data, [(kind, number[c]) for c, (kind, _) in zip(corners, blocks, strict=True)])
    return _Contents(kinds[0], points, number[cells], groups)


def _groups(data: Any, blocks: list[tuple[str, Cells]]) -> dict[str, dict[int, Cells]]:
    """Named groups: gmsh physical groups, or the cell sets of other formats."""
    found: dict[str, dict[int, list[Cells]]] = {}

    def add(name: str, kind: str, entities: Cells) -> None:
        entities = entities[(entities >= 0).all(axis=1)]
        if len(entities):
            found.setdefault(name, {}).setdefault(DIMENSIONS[kind], []).append(entities)

    physical = data.cell_data.get("gmsh:physical")
    if physical is not None:
        names = {(int(dim), int(tag)): name for name, (tag, dim) in data.field_data.items()}
        for (kind, block), tags in zip(blocks, physical, strict=True):
            for tag in np.unique(tags):
                name = names.get((DIMENSIONS[kind], int(tag)), str(tag))
                add(name, kind, block[np.asarray(tags) == tag])
    for name, parts in data.cell_sets.items():
        if not name.startswith("gmsh:"):
            for (kind, block), part in zip(blocks, parts, strict=True):
                if part is not None:
                    add(name, kind, block[np.asarray(part, dtype=np.int64)])
    # A gmsh group comes both as cell data and as a cell set: every entity once.
    return {n: {d: np.unique(np.concatenate(parts), axis=0) for d, parts in dims.items()} for n, dims in found.items()}
