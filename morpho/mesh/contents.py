"""One kind of cell, its points and its groups, out of whatever a mesh file holds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from morpho.errors import InputError
from morpho.late import basix
from morpho.mesh.raw import DIMENSIONS, ORDERS, Cells, Raw
from morpho.mesh.shapes import check_shapes

#: meshio name -> (dolfinx cell, its vertices among the nodes of the file, in dolfinx order)
CELLS = {
    "vertex": ("point", [0]),
    "line": ("interval", [0, 1]),
    "triangle": ("triangle", [0, 1, 2]),
    "quad": ("quadrilateral", [0, 1, 3, 2]),
    "tetra": ("tetrahedron", [0, 1, 2, 3]),
    "hexahedron": ("hexahedron", [0, 1, 3, 2, 4, 5, 7, 6]),
}
TAKEN = "triangles, quadrilaterals, tetrahedra or hexahedra"
PLURAL = {"vertex": "points", "line": "lines", "triangle": "triangles", "quad": "quadrilaterals",
          "tetra": "tetrahedra", "hexahedron": "hexahedra"}  # fmt: skip
FLAT = 1e-6  #: how far from its plane a flat mesh may lie, relative to its size
BETWEEN = 0.381966  #: keeps round coordinates off the bounds of a step, where rounding would part coinciding points


@dataclass(frozen=True)
class Contents:
    """Straight-sided cells of one kind. Groups: name -> dimension -> (e, vertices) entities by point number."""

    kind: str
    points: NDArray[np.float64]  #: (p, 3), every one used by a cell; in 2-D with z = 0
    cells: Cells
    groups: dict[str, dict[int, Cells]]
    coincident: int  #: points that lie where another one lies
    notes: tuple[str, ...]

    @property
    def dim(self) -> int:
        return DIMENSIONS[self.kind]


def tidy(raw: Raw, path: str) -> Contents:
    """Vertices of the cells of the highest dimension, each cell once, points that no cell uses left out (local).

    Raises:
        InputError: the file holds no mesh morpho can use; all that is wrong with it at once.
    """
    notes = list(raw.notes)
    blocks = [(ORDERS.get(kind, kind), nodes) for kind, nodes in raw.blocks]
    kind = _kind([kind for kind, nodes in blocks if len(nodes)], path)
    dim = DIMENSIONS[kind]
    corners = [(k, nodes[:, CELLS[k][1]]) for k, nodes in blocks]
    cells = np.concatenate([nodes for k, nodes in corners if k == kind])
    used, inverse = np.unique(cells, return_inverse=True)
    if used[0] < 0 or used[-1] >= len(raw.points):
        raise InputError(f"mesh.file: a cell of {path} has a point that the file does not have")
    if not np.isfinite(raw.points[used]).all():
        raise InputError(f"mesh.file: {path} has points whose coordinates are not finite")
    number = np.full(len(raw.points), -1, dtype=np.int64)
    number[used] = np.arange(len(used))
    cells = inverse.reshape(cells.shape)
    cells = _each_once(cells, path, notes)
    branched = "cells overlap, or the surface branches; mesh it so that every place belongs to one cell"
    _check_facets(kind, cells, path, branched)
    points = np.pad(raw.points[used], ((0, 0), (0, 3 - raw.points.shape[1])))
    if dim == 2:
        points = _in_its_plane(points, path, notes)
    if kind in ("quad", "hexahedron"):
        notes += check_shapes(points[cells], path)
    groups = _groups(raw, [(k, number[nodes]) for k, nodes in corners], kind, notes)
    place, coincident = _places(points)
    if coincident:
        _check_places(kind, place[cells], path)
        notes.append(
            f"{coincident} nodes of {path} lie where another one lies, and the cells there are not joined: a crack, or "
            "parts to be merged in the mesher"
        )
    return Contents(kind, points, cells, groups, coincident, tuple(notes))


def _kind(kinds: list[str], path: str) -> str:
    """The one kind of cell of the highest dimension."""
    unknown = sorted({kind for kind in kinds if kind not in CELLS})
    if unknown:
        raise InputError(f"mesh.file: {path} has cells of type {', '.join(unknown)}; morpho takes {TAKEN}")
    dim = max((DIMENSIONS[kind] for kind in kinds), default=0)
    highest = sorted({kind for kind in kinds if DIMENSIONS[kind] == dim})
    if dim < 2:
        raise InputError(f"mesh.file: {path} has no {TAKEN}; mesh a surface or a volume, and save its cells")
    if len(highest) > 1:
        raise InputError(f"mesh.file: {path} mixes {' and '.join(highest)}; morpho takes one kind of cell")
    return highest[0]


def _each_once(cells: Cells, path: str, notes: list[str]) -> Cells:
    """The cells without repetitions, in their order.

    Raises:
        InputError: a cell has a node twice.
    """
    ordered = np.sort(cells, axis=1)
    broken = int(np.count_nonzero((np.diff(ordered, axis=1) == 0).any(axis=1)))
    if broken:
        raise InputError(f"mesh.file: {_count(broken, 'cell')} of {path} {_have(broken)} a node twice; mesh it anew")
    _, first = np.unique(_hashed(ordered), return_index=True)
    repeated = len(cells) - len(first)
    if not repeated:
        return cells
    notes.append(
        f"{_count(repeated, 'cell')} of {path} {'is' if repeated == 1 else 'are'} listed again (with the same nodes as "
        "an earlier one); each is taken once, with all its groups"
    )
    return cells[np.sort(first)]


def _check_facets(kind: str, cells: Cells, path: str, cause: str) -> None:
    """A facet belongs to two cells at most.

    Raises:
        InputError: more cells than that meet at a facet, for this cause.
    """
    facets = np.concatenate([cells[:, facet] for facet in basix.topology(basix.CellType[CELLS[kind][0]])[-2]])
    _, times = np.unique(_hashed(facets), return_counts=True)
    over = int(np.count_nonzero(times > 2))
    if over:
        where = _count(over, "edge" if DIMENSIONS[kind] == 2 else "face")
        raise InputError(f"mesh.file: more than two cells of {path} meet at {where}: {cause}")


def _check_places(kind: str, cells: Cells, path: str) -> None:
    """The same of cells given by the places of their corners: at a crack two cells meet, never more.

    Raises:
        InputError: cells lie on top of others, with nodes of their own.
    """
    again = len(cells) - len(np.unique(_hashed(cells)))
    if again:
        lie, own = ("lies on top of another", "its") if again == 1 else ("lie on top of others", "their")
        raise InputError(
            f"mesh.file: {_count(again, 'cell')} of {path} {lie}, with nodes of {own} own; delete one of them"
        )
    _check_facets(kind, cells, path, "parts with nodes of their own overlap; delete one, or cut it to fit")


def _hashed(entities: Cells) -> NDArray[np.uint64]:
    """A number for each set of nodes, whatever their order.

    Two of n sets share one with a chance of about n^2 / 2^65: 3e-8 among a million.
    """
    count = int(entities.max(initial=0)) + 1
    word = np.random.default_rng(0).integers(0, 2**63, count, dtype=np.uint64)
    return np.asarray(word[entities].sum(axis=1, dtype=np.uint64))


def _in_its_plane(points: NDArray[np.float64], path: str, notes: list[str]) -> NDArray[np.float64]:
    """Coordinates in the plane of a flat mesh: those left over where one is constant, else along axes that are said."""
    extent = np.ptp(points, axis=0)
    size = float(np.linalg.norm(extent))
    constant = [i for i in (2, 1, 0) if extent[i] <= FLAT * size]
    if constant:
        rest = [i for i in range(3) if i != constant[0]]
        if constant[0] != 2:
            names = ["xyz"[i] for i in rest]
            notes.append(
                f"{path} lies in the plane {'xyz'[constant[0]]} = {points[0, constant[0]]:g}: its {names[0]} is x "
                f"here, its {names[1]} is y"
            )
        return np.pad(points[:, rest], ((0, 0), (0, 1)))
    normal = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)[2][2]
    off = np.abs((points - points.mean(axis=0)) @ normal).max()
    if off > FLAT * size:
        raise InputError(
            f"mesh.file: {path} is a surface that is not flat (up to {off:.3g} off a plane, of a size of {size:.3g}); "
            "morpho takes volumes and flat meshes: fill the surface with tetrahedra, for instance in gmsh"
        )
    along = np.eye(3)[np.argmin(np.abs(normal))]
    first = along - (along @ normal) * normal
    first /= np.linalg.norm(first)
    second = np.cross(normal, first)
    second *= np.sign(second[np.argmax(np.abs(second))])
    notes.append(
        f"{path} lies in a plane with the normal {_vector(normal)}: x here is along {_vector(first)}, y along "
        f"{_vector(second)}, both from the origin of the file"
    )
    return np.pad(points @ np.stack([first, second], axis=1), ((0, 0), (0, 1)))


def _groups(raw: Raw, blocks: list[tuple[str, Cells]], kind: str, notes: list[str]) -> dict[str, dict[int, Cells]]:
    """Entities of each group by dimension, each once; those whose points no cell has are left out."""
    found: dict[str, dict[int, list[Cells]]] = {}
    fits = {"triangle": ("line",), "quad": ("line",), "tetra": ("line", "triangle"), "hexahedron": ("line", "quad")}
    for name, block, rows in raw.groups:
        own, nodes = blocks[block]
        entities = nodes[rows]
        entities = entities[(entities >= 0).all(axis=1)]
        if own not in ("vertex", kind, *fits[kind]):
            entities = entities[:0]
        if len(entities) < len(rows) and (own != "vertex" or not len(entities)):  # middle nodes of edges go unsaid
            lost = f"{len(rows) - len(entities)} of {len(rows)} {PLURAL[own]} of the group {name!r}"
            notes.append(f"{lost} are no part of the {PLURAL[kind]}: left out")
        if len(entities):
            found.setdefault(name, {}).setdefault(DIMENSIONS[own], []).append(entities)
    return {
        name: {dim: np.unique(np.concatenate(parts), axis=0) for dim, parts in dims.items()}
        for name, dims in found.items()
    }


def _places(points: NDArray[np.float64]) -> tuple[Cells, int]:
    """A number for the place of each point, the same for those that coincide; how many lie where another one does."""
    step = max(1e-9 * float(np.ptp(points, axis=0).max()), 1e-300)
    steps = np.floor(points / step + BETWEEN).astype(np.int64)
    order = np.lexsort(steps.T)
    same = (np.diff(steps[order], axis=0) == 0).all(axis=1)
    alike = np.zeros(len(points), dtype=bool)
    alike[1:], alike[:-1] = same, alike[:-1] | same
    place = np.empty(len(points), dtype=np.int64)
    place[order] = np.concatenate([[0], np.cumsum(~same)])
    return place, int(np.count_nonzero(alike))


def _vector(v: NDArray[np.float64]) -> str:
    return "(" + ", ".join(f"{c:.4g}" for c in np.where(np.abs(v) < 1e-12, 0, v)) + ")"


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'s' * (n != 1)}"


def _have(n: int) -> str:
    return "has" if n == 1 else "have"
