"""Uniform refinement of any mesh: every cell is cut into 2^dim children that stay on its rank.

The points of the refined mesh are the nodes of a degree-2 Lagrange element on the coarse one, so that the global
numbering of that space is the numbering of the new points. Tetrahedra are cut as in Bey (1995), "Tetrahedral grid
refinement", with the shortest of the three inner diagonals.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from morpho import compat
from morpho.late import basix, dmesh, fem
from morpho.mesh.file import find_entities
from morpho.mesh.mesh import Mesh

Table = NDArray[np.int64]


def refine(mesh: Mesh) -> Mesh:
    """Cut every cell into 2^dim children, keeping parents, tags and stable cell numbers (collective)."""
    domain = mesh.domain
    name = domain.topology.cell_name()
    space = fem.functionspace(domain, ("Lagrange", 2))
    nodes = space.dofmap.list
    numbers = space.dofmap.index_map.local_to_global(nodes.ravel().astype(np.int32)).reshape(nodes.shape)

    corners = domain.geometry.x[domain.geometry.dofmap][:, :, : mesh.dim]
    x_nodes = np.einsum("nv,cvd->cnd", _shape_at_nodes(name), corners)
    x = np.empty((space.dofmap.index_map.size_local + space.dofmap.index_map.num_ghosts, mesh.dim))
    x[nodes] = x_nodes
    x = x[: space.dofmap.index_map.size_local]

    children = _children(name, x_nodes)  # (n, 2^dim, vertices), local nodes of the parent
    cells = np.take_along_axis(numbers[:, None, :], children, axis=2)
    per_cell = cells.shape[1]
    element = basix.ufl.element("Lagrange", name, 1, shape=(mesh.dim,))
    fine = compat.create_mesh(mesh.comm, cells.reshape(-1, cells.shape[2]), x, element, stay=True)

    first = sum(mesh.comm.allgather(mesh.n)[: mesh.comm.rank])
    given = np.asarray(fine.topology.original_cell_index, dtype=np.int64) - first * per_cell
    parent = given // per_cell
    tags = {
        tag: {dim: _refine_tag(mesh, fine, dim, entities, numbers, parent) for dim, entities in dims.items()}
        for tag, dims in mesh.tags.items()
    }
    key = mesh.key[parent] * per_cell + given % per_cell
    return Mesh(fine, key, tags, mesh, parent.astype(np.int32), mesh.coincident, mesh.notes)


def _refine_tag(
    mesh: Mesh, fine: dmesh.Mesh, dim: int, entities: NDArray[np.int32], numbers: Table, parent: Table
) -> NDArray[np.int32]:
    """Local entities of the fine mesh that lie on tagged entities of the coarse one (collective)."""
    if dim == mesh.dim:
        return np.flatnonzero(np.isin(parent, entities)).astype(np.int32)
    topology = mesh.domain.topology
    topology.create_connectivity(dim, mesh.dim)
    topology.create_connectivity(mesh.dim, dim)
    to_cell, to_entity = topology.connectivity(dim, mesh.dim), topology.connectivity(mesh.dim, dim)
    parts = _entity_children(topology.cell_name(), dim)
    found = []
    for entity in entities:
        for cell in to_cell.links(entity)[:1]:
            local = int(np.flatnonzero(to_entity.links(cell) == entity)[0])
            found.append(numbers[cell][parts[local]])
    return find_entities(fine, dim, np.concatenate(found) if found else None)


def nodes_of_parent(parent: Mesh, cells: NDArray[np.int32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where the vertices of the children of cells can be, (cells, places, 3), and the parent's weights there (local).

    Returns:
        also (places, vertices): the degree-1 shape functions of the parent at each place.
    """
    table = _shape_at_nodes(parent.cell_name)
    x = parent.domain.geometry.x[parent.domain.geometry.dofmap[cells]]
    return np.einsum("nv,cvd->cnd", table, x), table


@cache
def _reference_nodes(name: str) -> NDArray[np.float64]:
    return np.asarray(basix.ufl.element("Lagrange", name, 2).basix_element.points)


@cache
def _shape_at_nodes(name: str) -> NDArray[np.float64]:
    """(nodes, vertices) degree-1 shape functions at the degree-2 nodes; exact multiples of 1/8."""
    values = basix.ufl.element("Lagrange", name, 1).tabulate(0, _reference_nodes(name))[0]
    return np.round(values * 8) / 8


@cache
def _node_at(name: str) -> dict[tuple[float, ...], int]:
    points = np.round(_reference_nodes(name), 6)
    return {tuple(float(c) for c in points[i]): i for i in range(len(points))}


TRIANGLE = np.array([[0, 5, 4], [5, 1, 3], [4, 3, 2], [3, 4, 5]])
CORNER_TETS = np.array([[0, 9, 8, 7], [9, 1, 6, 5], [8, 6, 2, 4], [7, 5, 4, 3]])
#: inner diagonal -> the ring of the other four nodes of the inner octahedron
OCTAHEDRON = {(4, 9): (5, 6, 8, 7), (5, 8): (4, 6, 9, 7), (6, 7): (4, 5, 9, 8)}


@cache
def _fixed_children(name: str) -> Table:
    """(variants, 2^dim, vertices) nodes of the children; tetrahedra have one variant per inner diagonal."""
    if name == "triangle":
        return TRIANGLE[None]
    if name == "tetrahedron":
        variants = []
        for (a, b), ring in OCTAHEDRON.items():
            inner = [[a, b, ring[i], ring[(i + 1) % 4]] for i in range(4)]
            variants.append(np.concatenate([CORNER_TETS, inner]))
        return np.stack(variants)
    dim = 2 if name == "quadrilateral" else 3
    grid = np.stack(np.meshgrid(*[[0, 1]] * dim, indexing="ij"), -1).reshape(-1, dim)[:, ::-1]  # x runs fastest
    node = _node_at(name)
    return np.array([[[node[tuple((child + corner) / 2)] for corner in grid] for child in grid]])


def _children(name: str, x: NDArray[np.float64]) -> Table:
    """(n, 2^dim, vertices) nodes of the children of every cell."""
    variants = _fixed_children(name)
    if len(variants) == 1:
        return np.broadcast_to(variants[0], (len(x), *variants[0].shape))
    lengths = np.stack([np.linalg.norm(x[:, a] - x[:, b], axis=1) for a, b in OCTAHEDRON], axis=1)
    shortest = np.argmax(lengths <= lengths.min(axis=1, keepdims=True) * (1 + 1e-9), axis=1)
    return variants[shortest]


@cache
def _entity_children(name: str, dim: int) -> Table:
    """(entities, parts, vertices) nodes of the pieces of every edge or facet of the reference cell."""
    element = basix.ufl.element("Lagrange", name, 2).basix_element
    flat = {"triangle": basix.CellType.triangle, "quadrilateral": basix.CellType.quadrilateral,
            "tetrahedron": basix.CellType.tetrahedron, "hexahedron": basix.CellType.hexahedron}[name]  # fmt: skip
    sides = [set(closure) for closure in element.entity_closure_dofs[dim]]
    child = _fixed_children(name)[0]
    pieces = basix.topology(flat)[dim]
    result = []
    for side in sides:
        found = {tuple(nodes[piece]) for nodes in child for piece in pieces if side.issuperset(nodes[piece])}
        by_set = {frozenset(f): f for f in sorted(found)}
        result.append(list(by_set.values()))
    return np.array(result)
