"""What has to be the same on any number of ranks about the rules of making; measures of designs that keep them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from mpi4py import MPI

import numpy as np
from helpers import box, by_key, main, make_mesh, make_problem, random_cells
from numpy.typing import NDArray
from voxel_filter_facts import lopsided

import morpho
from morpho.design.build import Design
from morpho.interfaces import Array
from morpho.mesh import Mesh, VoxelMesh, voxel_mesh
from morpho.problem import Problem, spec
from morpho.problem.load import parse_problem

FILTER = {"filter": {"kind": "cone", "radius": 1.6}, "projection": {"beta": 2.0, "eta": 0.4}}
PLAIN = {"filter": {"kind": "none"}}
#: solid and void cells that no rule knows of
LOOSE = {
    "passive": {
        "solid": [{"box": {"min": [0, 0, 0], "max": [2, 2, 2]}}],
        "void": [{"box": {"min": [3, 2, 3], "max": [4, 4, 5]}}],
    }
}


def symmetric(**planes: float) -> dict[str, Any]:
    return {"symmetry": [{"plane": {"axis": axis, "at": at}} for axis, at in planes.items()]}


#: name -> cells (edges of 1), rules
RULES: dict[str, tuple[list[int], dict[str, Any]]] = {
    "a plane": ([7, 4], FILTER | symmetric(x=3.5)),
    "planes": ([6, 5, 4], FILTER | symmetric(x=3, y=2.5)),
    "planes and loose passive cells": ([6, 5, 7], FILTER | LOOSE | symmetric(x=3, z=3.5)),
    "planes without a filter": ([6, 5, 4], PLAIN | symmetric(z=2, y=2.5)),
    "pieces along x": ([9, 4, 3], FILTER | {"repeat": {"axis": "x", "times": 3}}),
    "pieces along y": ([3, 8], FILTER | {"repeat": {"axis": "y", "times": 4}}),
    "pieces and planes": ([5, 4, 8], FILTER | symmetric(x=2.5, z=4) | {"repeat": {"axis": "z", "times": 2}}),
    "two pieces about x": ([4, 5, 6], FILTER | {"repeat": {"about": "x", "times": 2}}),
    "four pieces about z": ([6, 6, 3], FILTER | {"repeat": {"about": "z", "times": 4}}),
    "four pieces in a plane": ([5, 5], FILTER | LOOSE | {"passive": {}, "repeat": {"about": "z", "times": 4}}),
    "extruded along z": ([4, 5, 6], FILTER | {"extrude": "z"}),
    "extruded along x, loose passive cells": ([5, 4, 6], FILTER | LOOSE | {"extrude": "x"}),
    "extruded along y": ([4, 6, 3], PLAIN | {"extrude": "y"}),
    "cast": ([4, 3, 7], FILTER | {"casting": {"direction": "z"}}),
    "cast backwards": ([7, 3, 4], FILTER | LOOSE | {"casting": {"direction": "-x"}}),
    "cast in a plane": ([4, 7], FILTER | {"casting": {"direction": "y"}}),
    "cast in two halves": ([4, 6, 3], FILTER | {"casting": {"direction": "y", "sides": "two"}}),
    "cast in two equal halves": (
        [4, 3, 6],
        FILTER | symmetric(z=3) | {"casting": {"direction": "z", "sides": "two", "parting": 3}},
    ),
    "cast in parted halves": ([4, 3, 7], FILTER | {"casting": {"direction": "-z", "sides": "two", "parting": 3}}),
    "printed": ([5, 4, 6], FILTER | {"overhang": {"direction": "z"}}),
    "printed downwards": ([5, 4, 6], FILTER | LOOSE | {"overhang": {"direction": "-z"}}),
    "printed along x": ([6, 4, 5], PLAIN | {"overhang": {"direction": "x"}}),
    "printed along y": ([5, 6], FILTER | {"overhang": {"direction": "-y"}}),
    "printed and symmetric": ([6, 5, 4], FILTER | symmetric(x=3, y=2.5) | {"overhang": {"direction": "z"}}),
    "printed and turned": ([5, 5, 4], FILTER | {"repeat": {"about": "z", "times": 4}, "overhang": {"direction": "z"}}),
    "printed and extruded": ([5, 4, 6], FILTER | {"extrude": "y", "overhang": {"direction": "z"}}),
    "cast and extruded": ([5, 4, 6], FILTER | {"extrude": "y", "casting": {"direction": "z"}}),
}


def problem_of(name: str) -> Problem:
    """A problem with the rules of a name."""
    cells, rules = RULES[name]
    flat = {"passive": {k: [] for k in ("solid", "void")}} if len(cells) == 2 else {}
    return make_problem(box(cells, [float(n) for n in cells]), design=rules | flat)


def voxels(name: str, comm: MPI.Comm) -> VoxelMesh:
    """The box of a name."""
    cells = RULES[name][0]
    return voxel_mesh(spec.BoxMesh.model_validate(box(cells, [float(n) for n in cells])["box"]), 0, comm)


def designed(mesh: Mesh | VoxelMesh, problem: Problem) -> Design:
    """The design map (collective)."""
    design = Design(mesh, problem)
    assert not design.complaints, design.complaints
    return design


def rules_broken(design: spec.Design, rho: NDArray[Any], counted: NDArray[Any] | None = None) -> float:
    """How much a whole density, with the axes (z,) y, x, differs from its images, where cells count."""
    fields, here = [rho], np.ones(rho.shape, dtype=bool) if counted is None else counted

    def add(image: Any) -> None:
        fields.append(np.where(here & image(here), image(rho), rho))

    for symmetry in design.symmetry:
        at = rho.ndim - 1 - "xyz".index(symmetry.plane.axis)
        add(lambda a, at=at: np.flip(a, at))
    if design.repeat is not None and design.repeat.axis:
        at = rho.ndim - 1 - "xyz".index(design.repeat.axis)
        add(lambda a, at=at: np.roll(a, rho.shape[at] // design.repeat.times, at))
    if design.repeat is not None and design.repeat.about:
        plane = [rho.ndim - 1 - d for d in range(rho.ndim) if d != "xyz".index(design.repeat.about)]
        add(lambda a: np.rot90(a, 4 // design.repeat.times, plane))
    if design.extrude:
        at = rho.ndim - 1 - "xyz".index(design.extrude)
        add(lambda a, at=at: np.roll(a, 1, at))
    return float(max(np.abs(image - rho).max() for image in fields))


def undercuts(casting: Any, solid: NDArray[Any]) -> int:
    """Void cells behind material that the mould cannot reach, of a design in 0 and 1, axes (z,) y, x."""
    along = np.moveaxis(solid, solid.ndim - 1 - "xyz".index(casting.axis), 0)
    along = along if casting.upward else along[::-1]
    ahead = np.logical_or.accumulate(along[::-1])[::-1]  # material here or further on towards the mould
    if casting.sides == "two":
        ahead &= np.logical_or.accumulate(along)
    return int(np.count_nonzero(ahead & ~along))


def hanging(overhang: Any, solid: NDArray[Any]) -> int:
    """Solid cells, of a design in 0 and 1, with none of the cells below and beside that one."""
    along = np.moveaxis(solid, solid.ndim - 1 - "xyz".index(overhang.axis), 0)
    along = along if overhang.upward else along[::-1]
    below = along[:-1].copy()
    for axis in range(1, along.ndim):
        for step in (1, -1):
            moved = np.roll(along[:-1], step, axis)
            edge = [slice(None)] * along.ndim
            edge[axis] = slice(0, 1) if step == 1 else slice(-1, None)
            moved[tuple(edge)] = False
            below |= moved
    return int(np.count_nonzero(along[1:] & ~below))


def whole(mesh: VoxelMesh, values: Array) -> Array:
    """All values with the axes (z,) y, x, on every rank (collective)."""
    return by_key(mesh, values).reshape(mesh.cells[::-1])


BEAM = """
mesh: {box: {size: [12, 6, 4], cells: [12, 6, 4]}}
supports: [{region: {plane: {axis: x, at: 0}}}]
loads: [{forces: [{region: {box: {min: [12, 0, 0], max: [12, 2, 1]}}, total: [0.3, 0.2, -1]}]}]
constraints: [{volume_fraction: 0.4}]
design: {filter: {kind: cone, radius: 1.5}, perturbation: 0.2}
optimizer: {max_iterations: 6, tolerance: 0, objective_tolerance: 0}
solver: {rtol: 1.0e-10}
"""
SYMMETRIC = symmetric(y=3, z=2)
#: name -> design beside that of the beam
RUNS: dict[str, dict[str, Any]] = {
    "symmetric": SYMMETRIC,
    "symmetric by a sensitivity filter": SYMMETRIC | {"filter": {"kind": "sensitivity", "radius": 1.5}},
    "symmetric by a helmholtz filter": SYMMETRIC | {"filter": {"kind": "helmholtz", "radius": 2.5}},
    "in pieces": {"repeat": {"axis": "x", "times": 3}, "projection": {"beta": 4}},
    "extruded": {"extrude": "z", "projection": {"beta": 4}},
    "cast": {"casting": {"direction": "z"}, "projection": {"beta": 4}},
    "cast and robust": {"casting": {"direction": "z"}, "projection": {"beta": 4}, "robust": {"eta": 0.3}},
    "printed": {"overhang": {"direction": "z"}, "projection": {"beta": 4}},
    "printed and symmetric": {"overhang": {"direction": "z"}, "projection": {"beta": 4}} | symmetric(y=3),
}


def beam(name: str, **parts: Any) -> Problem:
    """A beam under an unsymmetric load with rules."""
    import yaml

    given = yaml.safe_load(BEAM)
    given["design"] |= RUNS[name]
    return parse_problem(given | parts, "beam", Path())


def facts(comm: MPI.Comm) -> dict[str, Any]:
    """Images and pullbacks under every rule and cut of the box, and runs, flat by name (collective)."""
    found: dict[str, Any] = {}
    for name in RULES:
        problem, start = problem_of(name), voxels(name, comm)
        for i, partition in enumerate(lopsided(start.cells, comm.size)):
            mesh = replace(start, partition=partition)
            with designed(mesh, problem) as design:
                x = design.initial() * random_cells(mesh, 0.5, 1.0)
                rho, pullback = design.at(1).apply(x)
                image, pulled = by_key(mesh, rho), by_key(mesh, pullback(random_cells(mesh, -1, 1, seed=1)))
            if i == 0:
                found[f"image, {name}"], found[f"pullback, {name}"] = image, pulled
            apart = max(
                float(np.abs(new - found[key]).max() / np.abs(new).max())
                for new, key in ((image, f"image, {name}"), (pulled, f"pullback, {name}"))
            )
            found[f"cuts, {name}"] = (
                "alike" if apart < 1e-12 and found.get(f"cuts, {name}", "alike") == "alike" else "no"
            )
    for name in ("symmetric by a sensitivity filter", "cast and robust", "printed and symmetric"):
        steps = list(morpho.iterate(beam(name, optimizer={"max_iterations": 3}), comm=comm))
        found[f"objectives, {name}"] = np.array([step.objective for step in steps])
        found[f"volumes, {name}"] = np.array([step.volume for step in steps])
    hexahedra = make_mesh(box([6, 4, 4], [6.0, 4.0, 4.0]), comm)
    given = FILTER | symmetric(y=2) | {"repeat": {"about": "x", "times": 4}}
    with designed(hexahedra, make_problem(box([6, 4, 4], [6.0, 4.0, 4.0]), design=given)) as design:
        rho, pullback = design.at(1).apply(random_cells(hexahedra))
        found["image on hexahedra"] = by_key(hexahedra, rho)
        found["pullback on hexahedra"] = by_key(hexahedra, pullback(random_cells(hexahedra, -1, 1, seed=1)))
    return found


if __name__ == "__main__":
    main(facts)
