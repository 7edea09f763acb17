"""What has to be the same on any number of ranks about the maps from x to rho: FILE_2D FILE_3D."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mpi4py import MPI

import numpy as np
from helpers import box, by_key, distort, main, make_mesh, make_problem, random_cells, unit_box

from morpho.design.build import Design
from morpho.design.chain import Chain
from morpho.interfaces import Array, DesignMap
from morpho.mesh import Mesh
from morpho.parallel import global_dot

#: 8th-order central difference, exact to rounding for the smooth maps here
STENCIL = {1: 4 / 5, 2: -1 / 5, 3: 4 / 105, 4: -1 / 280}
RADIUS = 0.35
KINDS = ["cone", "helmholtz", "projection", "passive", "chain cone", "chain helmholtz", "chain none"]


def part(place: str) -> dict[str, Any]:
    """Mesh part by name: box quadrilateral, distorted hexahedron, or the path of a file."""
    kind, _, cell = place.partition(" ")
    return unit_box(cell, {"triangle": 8, "quadrilateral": 9}.get(cell, 4)) if cell else {"file": kind}


def mesh_of(place: str, comm: MPI.Comm) -> Mesh:
    """The mesh of a name (collective)."""
    mesh = make_mesh(part(place), comm)
    return distort(mesh, 0.03) if place.startswith("distorted") else mesh


def design_of(mesh: Mesh, place: str, rule: str, **parts: Any) -> Design:
    """Design map with a filter of the given kind, a projection, and passive cells at both ends (collective)."""
    ends = [
        {"box": {"min": [a, 0.0, 0.0][: mesh.dim], "max": [b, 1.0, 1.0][: mesh.dim]}} for a, b in ((0, 0.3), (0.7, 1))
    ]
    design = {
        "filter": {"kind": rule} | ({} if rule == "none" else {"radius": RADIUS}),
        "projection": {"beta": 2.0, "eta": 0.4},
        "passive": {"solid": ends[:1], "void": ends[1:]},
    }
    found = Design(mesh, make_problem(part(place), design=design | parts))
    assert not found.complaints
    return found


def maps(mesh: Mesh, place: str) -> Iterator[tuple[str, DesignMap]]:
    """Every map by name (collective)."""
    for rule in ("cone", "helmholtz", "none"):
        design = design_of(mesh, place, rule)
        whole = design.at(1)
        yield f"chain {rule}", whole
        if rule == "none":
            yield "passive", whole.maps[0]
            yield "projection", whole.maps[1]
        else:
            yield rule, whole.maps[1]
            yield f"twice {rule}", Chain([whole.maps[1], whole.maps[1]])
        design.close()


def tangent(part: DesignMap, x: Array, dx: Array, h: float = 0.01) -> Array:
    """J dx by differences that are exact to rounding (collective)."""
    pairs = ((c, part.apply(x + k * h * dx)[0], part.apply(x - k * h * dx)[0]) for k, c in STENCIL.items())
    return np.asarray(sum(c * (right - left) for c, right, left in pairs) / h)


def mismatch(mesh: Mesh, part: DesignMap) -> float:
    """|<y, J dx> - <J^T y, dx>|, relative to what the products could be (collective)."""
    x, dx = random_cells(mesh, 0.3, 0.7), random_cells(mesh, -1.0, 1.0, seed=1)
    y = random_cells(mesh, -1.0, 1.0, seed=2)
    _, pullback = part.apply(x)
    forward, backward = tangent(part, x, dx), pullback(y)
    sizes = [np.sqrt(global_dot(mesh.comm, a, a)) for a in (y, forward)]
    return abs(global_dot(mesh.comm, y, forward) - global_dot(mesh.comm, backward, dx)) / float(np.prod(sizes))


def facts(comm: MPI.Comm, *places: str) -> dict[str, Any]:
    """Images and pullbacks on several meshes, and whether they fit together, flat by name (collective)."""
    found: dict[str, Any] = {}
    for place in places:
        mesh = mesh_of(place, comm)
        for name, part in maps(mesh, place):
            rho, pullback = part.apply(random_cells(mesh, 0.1, 0.9))
            found[f"image by {name} on {place}"] = by_key(mesh, rho)
            found[f"pullback by {name} on {place}"] = by_key(mesh, pullback(random_cells(mesh, seed=3)))
            found[f"transposed {name} on {place}"] = "yes" if mismatch(mesh, part) < 1e-10 else "no"
        design = design_of(mesh, place, "sensitivity", projection=None)
        smooth = design.smooth(random_cells(mesh, 0.1, 0.9), random_cells(mesh, -1.0, 0.0, seed=4))
        found[f"sensitivity filter on {place}"] = by_key(mesh, smooth)
        found[f"designed cells on {place}"] = design.n_design
        found[f"start on {place}"] = by_key(mesh, design.initial())
    # More ranks than cells: some have none.
    few = make_mesh(box([2, 1], [1.0, 0.5]), comm)
    problem = make_problem(box([2, 1], [1.0, 0.5]), design={"filter": {"kind": "cone", "radius": 1.0}})
    rho, pullback = Design(few, problem).at(1).apply(np.array([0.2, 0.8])[few.key])
    found["two cells"] = by_key(few, rho)
    found["pullback of two cells"] = by_key(few, pullback(np.array([1.0, 2.0])[few.key]))
    return found


if __name__ == "__main__":
    import sys

    main(facts, *sys.argv[1:])
