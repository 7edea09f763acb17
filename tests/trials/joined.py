"""Two blocks that share some of the nodes between them, and what a state equation says of them: FOLDER CELL..."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import Any

from mpi4py import MPI

import meshio
import numpy as np
from helpers import CELLS, DIM, main, make_mesh, make_problem, plane
from numpy.typing import NDArray

from morpho.fem.assembled import AssembledEquation

MESHIO = {"triangle": "triangle", "quadrilateral": "quad", "tetrahedron": "tetra", "hexahedron": "hexahedron"}
N = 3

Points = NDArray[np.float64]


def block(cell: str, corner: float, n: int = N) -> tuple[Points, NDArray[np.int64]]:
    """Points and cells, meshio's order, of a unit square or cube whose lowest x is `corner`."""
    dim = DIM[cell]
    number = np.arange((n + 1) ** dim).reshape([n + 1] * dim)
    points = np.pad(np.stack(np.unravel_index(number.ravel(), number.shape), axis=1) / n, ((0, 0), (0, 3 - dim)))
    points[:, 0] += corner
    ring = [(0, 0), (1, 0), (1, 1), (0, 1)]
    if cell == "quadrilateral":
        ways = [ring]
    elif cell == "triangle":
        ways = [[ring[0], ring[1], ring[2]], [ring[0], ring[2], ring[3]]]
    elif cell == "hexahedron":
        ways = [[(*r, z) for z in (0, 1) for r in ring]]
    else:  # Kuhn: along the axes in every order
        ways = [[tuple(np.isin(range(3), order[:k]).astype(int)) for k in range(4)] for order in permutations(range(3))]
    lowest = np.stack(np.unravel_index(np.arange(n**dim), [n] * dim), axis=1)
    cells = np.concatenate([np.stack([number[tuple((lowest + step).T)] for step in way], axis=1) for way in ways])
    return points, cells


def two_blocks(path: Path, cell: str, shared: Callable[[Points], NDArray[np.bool_]], gap: float = 0.0) -> Path:
    """A file with two blocks side by side that share those nodes of the plane between them that `shared` says."""
    (first, low), (second, high) = block(cell, 0.0), block(cell, 1.0 + gap)
    number = len(first) + np.arange(len(second))
    between = np.flatnonzero(np.isclose(second[:, 0], 1.0))
    between = between[shared(second[between])]
    for i in between:
        number[i] = np.argmin(np.linalg.norm(first - second[i], axis=1))
    cells = np.concatenate([low, number[high]])
    meshio.Mesh(np.concatenate([first, second]), [(MESHIO[cell], cells)]).write(path)
    return path


def _corner(x: Points) -> NDArray[np.bool_]:
    return np.asarray((x[:, 1] < 1e-9) & (x[:, 2] < 1e-9))


def _edge(x: Points) -> NDArray[np.bool_]:
    return np.asarray(x[:, 1] < 1e-9)


def _corners(x: Points) -> NDArray[np.bool_]:
    return np.asarray(np.isin(np.round(x[:, 1:], 9), [0, 1]).all(axis=1))


#: how the blocks are joined -> which nodes they share, whether that carries a moment in 2-D, in 3-D
JOINTS = {
    "all": (lambda x: np.ones(len(x), dtype=bool), True, True),
    "none": (lambda x: np.zeros(len(x), dtype=bool), False, False),
    "corner": (_corner, False, False),
    "edge": (_edge, False, False),
    "corners": (_corners, True, True),
}


#: cells that are looked at on several ranks
PARALLEL = ("triangle", "tetrahedron")


def complaints(mesh, **parts) -> list[str]:
    return AssembledEquation(mesh, make_problem({"file": "mesh"}, **parts)).complaints


def facts(comm: MPI.Comm, folder: str, *cells: str) -> dict[str, Any]:
    """Complaints, notes, pins and compliances, flat by name (collective)."""
    found: dict[str, Any] = {}
    for cell in cells or CELLS:
        for joint in JOINTS:
            part = {"file": str(Path(folder) / f"{cell}_{joint}.vtu")}
            mesh = make_mesh(part, comm)
            for loaded, x in (("loaded", 2.0), ("unloaded", 1.0 / 3)):
                force = [{"region": plane("x", x), "total": [0.1, -1.0, 0.3][: mesh.dim]}]
                problem = make_problem(part, loads=[{"forces": force}], solver={"preset": "direct"})
                with AssembledEquation(mesh, problem) as physics:
                    name = f"{cell} {joint} {loaded}"
                    found[f"{name}: complaints"] = "\n".join(physics.complaints)
                    found[f"{name}: notes"] = "\n".join(note for note in physics.notes)
                    found[f"{name}: pinned"] = physics.pinned
                    if not physics.complaints:
                        found[f"{name}: compliance"] = physics.solve(np.full(mesh.n, 0.5)).compliance
    return found


if __name__ == "__main__":
    import sys

    main(facts, *sys.argv[1:])
