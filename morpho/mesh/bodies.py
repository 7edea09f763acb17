"""Bodies: the cells that hang together by their facets, and the nodes at which bodies touch."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from mpi4py import MPI

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from morpho.interfaces import Array
from morpho.late import common, la
from morpho.mesh.mesh import Mesh

Labels = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Bodies:
    """Each is one rigid body as long as nothing strains. All but `of_node` is equal on all ranks."""

    cells: Labels  #: (bodies,) number of cells
    low: Array  #: (bodies, 3) corners of the box around each
    high: Array
    of_node: Labels  #: (nodes,) a body that each of this rank's nodes, or of some of them, belongs to, -1 if none
    hinges: tuple[tuple[tuple[float, ...], frozenset[int]], ...] = ()  #: nodes of several bodies: place, bodies

    @property
    def count(self) -> int:
        return len(self.cells)


def find_bodies(
    mesh: Mesh, nodes: Labels, node_map: common.IndexMap, x: Array, included: Flags | None = None
) -> Bodies:
    """The bodies of a mesh, or of the included ones of its owned cells (collective).

    Args:
        nodes: (n, k) of each owned cell.
        node_map: how they are shared between ranks.
        x: (nodes, 3) their coordinates.
    """
    labels, count = _label(mesh, np.ones(mesh.n, dtype=bool) if included is None else included)
    per_node = node_map.size_local + node_map.num_ghosts
    inside = np.flatnonzero(labels >= 0)
    flat, marks = nodes[inside].ravel(), np.repeat(labels[inside] + 1.0, nodes.shape[1])
    sums = [_added(node_map, np.bincount(flat, w, per_node)) for w in (marks**0, marks, marks**2)]
    of_node, several = settle(*sums)
    shared = np.flatnonzero(several)
    entries = np.flatnonzero(several[flat])
    numbers = node_map.local_to_global(flat[entries].astype(np.int32))
    touching = [(int(n), int(m) - 1, *x[i]) for n, m, i in zip(numbers, marks[entries], flat[entries], strict=True)]
    low, high = np.full((count, 3), np.inf), np.full((count, 3), -np.inf)
    np.minimum.at(low, labels[inside], x[nodes[inside]].min(axis=1, initial=np.inf))
    np.maximum.at(high, labels[inside], x[nodes[inside]].max(axis=1, initial=-np.inf))
    shared_numbers = node_map.local_to_global(shared.astype(np.int32))
    cells = np.bincount(labels[inside], minlength=count)
    return gathered(mesh.comm, mesh.dim, cells, (low, high), of_node, (shared, shared_numbers), touching)


def gathered(
    comm: MPI.Comm,
    dim: int,
    cells: Labels,
    corners: tuple[Array, Array],
    of_node: Labels,
    shared: tuple[Labels, Labels],
    touching: list[tuple],
) -> Bodies:
    """Bodies from what each rank knows of them; those that share enough nodes become one (collective).

    Args:
        corners: of the box around each body, as far as this rank knows.
        shared: this rank's nodes that belong to several bodies, and their numbers.
        touching: (number of the node, body, x, y, z) of such nodes.
    """
    low, high = corners
    cells = np.array(comm.allreduce(cells), dtype=np.int64)
    comm.Allreduce(MPI.IN_PLACE, low, MPI.MIN)
    comm.Allreduce(MPI.IN_PLACE, high, MPI.MAX)
    places: dict[int, tuple[float, ...]] = {}
    members: dict[int, set[int]] = defaultdict(set)
    for number, body, *place in (entry for part in comm.allgather(sorted(set(touching))) for entry in part):
        places.setdefault(number, tuple(place))
        members[number].add(body)
    hinges = [(places[number], frozenset(members[number])) for number in sorted(members)]
    for at, number in zip(*shared, strict=True):
        of_node[at] = min(members[int(number)])
    merged = np.arange(len(cells))
    while (joined := _joined(hinges, len(cells), dim)) is not None:
        merged = joined[merged]
        hinges = [(x, frozenset(int(joined[b]) for b in bodies)) for x, bodies in hinges]
        hinges = [(x, bodies) for x, bodies in hinges if len(bodies) > 1]
    names, merged = np.unique(merged, return_inverse=True)
    renamed = {int(old): i for i, old in enumerate(names)}
    hinges = [(x, frozenset(renamed[b] for b in bodies)) for x, bodies in hinges]
    new_low, new_high = np.full((len(names), 3), np.inf), np.full((len(names), 3), -np.inf)
    np.minimum.at(new_low, merged, low)
    np.maximum.at(new_high, merged, high)
    of_node = np.where(of_node >= 0, merged[of_node] if len(merged) else -1, -1)
    return Bodies(np.bincount(merged, cells, len(names)).astype(np.int64), new_low, new_high, of_node, tuple(hinges))


def settle(count: Array, total: Array, squares: Array) -> tuple[Labels, Flags]:
    """From sums over the cells around nodes of 1, body + 1 and its square: the body of each, where there are several.

    Which of several it is comes later, with `gathered`.
    """
    several = count * squares - total**2 > 0.5
    return np.where(count > 0, np.round(total / np.maximum(count, 1)) - 1, -1).astype(np.int64), several


def union(comm: MPI.Comm, count: int, pairs: NDArray[np.int64]) -> tuple[Labels, int]:
    """New numbers of this rank's labels 0..count-1, after labels of all ranks have been paired (collective).

    `pairs` (p, 2) name labels of all ranks, each rank's beginning where those of the ranks before end.
    """
    counts = comm.allgather(count)
    first, total = sum(counts[: comm.rank]), sum(counts)
    table = np.concatenate(comm.allgather(np.unique(pairs.reshape(-1, 2), axis=0)))
    graph = coo_matrix((np.ones(len(table)), (table[:, 0], table[:, 1])), shape=(total, total))
    number, labels = connected_components(graph, directed=False)
    return labels[first : first + count].astype(np.int64), int(number)


def _label(mesh: Mesh, included: Flags) -> tuple[Labels, int]:
    """(n,) body of each owned cell, -1 for those left out, and the number of bodies (collective)."""
    topology, dim = mesh.domain.topology, mesh.dim
    topology.create_entities(dim - 1)
    topology.create_connectivity(dim - 1, dim)
    links, facets = topology.connectivity(dim - 1, dim), topology.index_map(dim - 1)
    size = np.diff(links.offsets)
    start = links.offsets[:-1][size == 2]
    a, b = links.array[start], links.array[start + 1]
    both = included[a] & included[b]
    graph = coo_matrix((np.ones(np.count_nonzero(both)), (a[both], b[both])), shape=(mesh.n, mesh.n))
    _, labels = connected_components(graph, directed=False)
    names, packed = np.unique(labels[included], return_inverse=True)
    labels = np.full(mesh.n, -1, dtype=np.int64)
    labels[included] = packed
    first = sum(mesh.comm.allgather(len(names))[: mesh.comm.rank])

    # What lies on the other side of a facet between two ranks, as its owner sees it.
    lone = np.flatnonzero(size == 1)
    mine = np.full(len(size), -1, dtype=np.int64)
    mine[lone] = labels[links.array[links.offsets[:-1][lone]]]
    marks = np.where(mine >= 0, mine + first + 1.0, 0.0)
    marks[: facets.size_local] = 0.0
    others = _added(facets, marks)[: facets.size_local].astype(np.int64)
    met = np.flatnonzero((others > 0) & (mine[: facets.size_local] >= 0))
    pairs = np.stack([mine[met] + first, others[met] - 1], axis=1)
    renamed, count = union(mesh.comm, len(names), pairs)
    labels[included] = renamed[packed]
    return labels, count


def _added(index_map: common.IndexMap, values: NDArray[Any]) -> Array:
    """Local values with those of the other ranks that share the entity added (collective)."""
    vector = la.vector(index_map, 1)
    vector.array[:] = values
    vector.scatter_reverse(la.InsertMode.add)
    vector.scatter_forward()
    return np.array(vector.array)


def _joined(hinges: list[tuple[tuple[float, ...], frozenset[int]]], count: int, dim: int) -> Labels | None:
    """Bodies under the number of one they cannot turn against, None if there are no such."""
    shared: dict[tuple[int, int], list[tuple[float, ...]]] = defaultdict(list)
    for x, bodies in hinges:
        ordered = sorted(bodies)
        for i, a in enumerate(ordered):
            for b in ordered[i + 1 :]:
                shared[a, b].append(x)
    pairs = [pair for pair, points in shared.items() if len(points) >= dim and _is_rigid(np.array(points), dim)]
    if not pairs:
        return None
    table = np.array(pairs)
    graph = coo_matrix((np.ones(len(table)), (table[:, 0], table[:, 1])), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)


def _is_rigid(points: Array, dim: int) -> bool:
    """Whether two bodies that share these points cannot turn against each other: two apart, in 3-D three off a line."""
    spread = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)
    return bool(spread[dim - 2] > 1e-6 * max(spread[0], 1e-300)) and spread[0] > 0
