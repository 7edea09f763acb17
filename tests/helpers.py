"""Small problems, and the measurements that several tests take of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from mpi4py import MPI

import numpy as np
from numpy.typing import NDArray

from morpho.fem.assembled import AssembledEquation
from morpho.interfaces import Array, Evaluation
from morpho.mesh import Mesh, build_mesh
from morpho.parts import Parts
from morpho.problem import Problem, spec

DIM = {"triangle": 2, "quadrilateral": 2, "tetrahedron": 3, "hexahedron": 3}
CELLS = list(DIM)


def plane(axis: str, at: float) -> dict[str, Any]:
    """Region: a plane."""
    return {"plane": {"axis": axis, "at": at}}


def box(cells: list[int], size: list[float] | None = None, cell: str | None = None, refine: int = 0) -> dict[str, Any]:
    """Mesh part of a problem file: a box, by default of unit edges."""
    return {"box": {"size": size or [1.0] * len(cells), "cells": cells, "cell": cell}, "refine": refine}


def unit_box(cell: str, n: int, refine: int = 0) -> dict[str, Any]:
    """Mesh part of a problem file: the unit square or cube with n edges per side."""
    return box([n] * DIM[cell], cell=cell, refine=refine)


def make_mesh(part: dict[str, Any], comm: MPI.Comm = MPI.COMM_SELF) -> Mesh:
    """The mesh of a mesh part (collective)."""
    return build_mesh(spec.Mesh.model_validate(part), comm)


def make_problem(mesh: dict[str, Any], **parts: Any) -> Problem:
    """A valid problem; by default clamped at x = 0, without force, half of the volume."""
    defaults = {
        "supports": [{"region": plane("x", 0)}],
        "loads": [{}],
        "constraints": [{"volume_fraction": 0.5}],
    }
    return Problem.model_validate({"mesh": mesh} | defaults | parts)


def rollers(dim: int) -> list[dict[str, Any]]:
    """Supports that hold x at x = 0, y at y = 0, z at z = 0: uniaxial stress stays uniform."""
    return [{"region": plane(axis, 0), "fix": axis} for axis in "xyz"[:dim]]


def distort(mesh: Mesh, amplitude: float = 0.1) -> Mesh:
    """Move the interior vertices of a unit box, each its own way but the same on all ranks."""
    x = mesh.domain.geometry.x
    inside = np.prod(np.where((x[:, : mesh.dim] > 1e-9) & (x[:, : mesh.dim] < 1 - 1e-9), 1.0, 0.0), axis=1)
    for i, wave in enumerate([(31.0, 17.0, 23.0), (13.0, 37.0, 29.0), (19.0, 11.0, 41.0)][: mesh.dim]):
        shift = np.sin(np.round(x, 9) @ wave)
        mesh.domain.geometry.x[:, i] += amplitude * inside * shift
    return mesh


def random_cells(mesh: Mesh, low: float = 0.0, high: float = 1.0, seed: int = 0) -> Array:
    """(n,) random values in a range, the same for the same key on any number of ranks."""
    return np.random.default_rng(seed).uniform(low, high, mesh.n_global)[mesh.key]


def by_key(mesh: Mesh, values: NDArray[Any]) -> NDArray[Any]:
    """All values per cell in the order of the keys, on every rank (collective)."""
    keys, parts = (np.concatenate(mesh.comm.allgather(a)) for a in (mesh.key, values))
    return np.asarray(parts[np.argsort(keys)])


def evaluate(parts: Parts, x: Array, iteration: int = 1) -> Evaluation:
    """Objective and constraints at x through the whole chain (collective)."""
    parts.enter_iteration(iteration)
    rho, pullback = parts.design.at(iteration).apply(x)
    return parts.responses.evaluate(rho, parts.source.estimate(rho), pullback, lambda d: parts.design.smooth(x, d))


def taylor_rates(f: Callable[[Array], tuple[float, Array]], x: Array, dx: Array, h: float = 0.02) -> Array:
    """Rates at which |f(x + h dx) - f(x) - h f'(x) dx| falls when h is halved; 2 for a right derivative."""
    value, derivative = f(x)
    rest = [abs(f(x + s * dx)[0] - value - s * float(derivative @ dx)) for s in h / 2.0 ** np.arange(4)]
    return np.log2(np.array(rest[:-1]) / np.array(rest[1:]))


def rates_of_rows(parts: Parts, rows: Iterable[int], h: float = 2e-3) -> list[float]:
    """The lowest Taylor rate through the whole chain, of the objective (row 0) and of constraints (1, 2, ...)."""
    x, dx = random_cells(parts.mesh, 0.4, 0.6), random_cells(parts.mesh, -1, 1, seed=3)

    def value(x: Array, row: int) -> tuple[float, Array]:
        found = evaluate(parts, x)
        every = np.append(found.objective, found.constraints)
        return float(every[row]), np.vstack([found.d_objective, found.d_constraints])[row]

    return [float(taylor_rates(partial(value, row=row), x, dx, h).min()) for row in rows]


def assert_engines_agree(make: Callable[[str], Problem], rtol: float = 1e-8, atol: float = 1e-9) -> None:
    """Objective, constraints and all derivatives of both engines at a random design; `make` takes the engine."""
    found = []
    for engine in ("voxel", "assembled"):
        with Parts(make(engine), MPI.COMM_SELF) as parts:
            one = evaluate(parts, random_cells(parts.mesh, 0.3, 0.7))
            d = [by_key(parts.mesh, row) for row in (one.d_objective, *one.d_constraints)]
        found.append([np.array([one.objective]), one.constraints, *d])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=atol * np.abs(theirs).max())


def resultant(physics: AssembledEquation, case: int = 0, rho: Array | None = None) -> tuple[Array, Array]:
    """Sum (dim,) and moment about the origin (3,) of the load vector of a case (collective)."""
    load = physics.loads[case]
    if rho is not None:
        physics._set(physics._rho, rho)
        load = load + physics.self_weight(case)
    force = np.pad(load.reshape(-1, physics.mesh.dim), ((0, 0), (0, 3 - physics.mesh.dim)))
    moment = np.cross(physics.V.tabulate_dof_coordinates()[: len(force)], force)
    total, turn = (np.asarray(physics.comm.allreduce(a.sum(axis=0))) for a in (force, moment))
    return total[: physics.mesh.dim], turn


def write_gmsh(
    path: Path, cell: str, size: float = 0.5, order: int = 1, interface: bool = False, named: bool = True
) -> Path:
    """A unit square or cube by gmsh, with the groups left, right (facets), edge (z = y = 1), corner, all, block.

    `block` is the half x < 1/2 of the cells; `outer` is left and right together, so that it shares its facets.
    With `interface`, the facets at x = 1/2 are the group `middle`.
    """
    import gmsh

    dim, structured = DIM[cell], cell in ("quadrilateral", "hexahedron")
    gmsh.initialize(interruptible=False)
    try:
        gmsh.option.setNumber("General.Terminal", 0)
        gmsh.option.setNumber("Mesh.MeshSizeMin", size)
        gmsh.option.setNumber("Mesh.MeshSizeMax", size)
        occ, model = gmsh.model.occ, gmsh.model
        add = (lambda x: occ.addRectangle(x, 0, 0, 0.5, 1)) if dim == 2 else (lambda x: occ.addBox(x, 0, 0, 0.5, 1, 1))
        occ.fragment([(dim, add(0.0))], [(dim, add(0.5))])
        occ.synchronize()
        if structured:
            gmsh.option.setNumber("Mesh.RecombineAll", 1)
            model.mesh.setTransfiniteAutomatic()

        def group(d: int, name: str, inside: Callable[[Array], bool]) -> None:
            found = [tag for _, tag in model.getEntities(d) if inside(np.array(model.getBoundingBox(d, tag)))]
            model.addPhysicalGroup(d, found, name=name if named else "")

        near = 1e-5
        group(dim, "all", lambda b: True)
        group(dim, "block", lambda b: bool(b[3] < 0.5 + near))
        group(dim - 1, "left", lambda b: bool(b[3] < near))
        group(dim - 1, "right", lambda b: bool(b[0] > 1 - near))
        group(dim - 1, "outer", lambda b: bool(b[3] < near or b[0] > 1 - near))
        if interface:
            group(dim - 1, "middle", lambda b: bool(b[0] > 0.5 - near and b[3] < 0.5 + near))
        if dim == 3:
            group(1, "edge", lambda b: bool(b[1] > 1 - near and b[2] > 1 - near))
        group(0, "corner", lambda b: bool(b[0] > 1 - near and b[1] > 1 - near and b[5] < near))
        model.mesh.generate(dim)
        model.mesh.setOrder(order)
        gmsh.write(str(path))
    finally:
        gmsh.finalize()
    return path


def assert_same(found: dict[str, Any], expected: dict[str, Any], rtol: float) -> None:
    """Two flat dicts of texts, numbers and lists agree, relative to the largest entry of each list."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, str):
            assert found[name] == value, name
        else:
            assert np.shape(found[name]) == np.shape(value), name
            scale = np.max(np.abs(value), initial=0.0)
            np.testing.assert_allclose(found[name], value, rtol=0, atol=rtol * scale, err_msg=name)


def main(facts: Callable[..., dict[str, Any]], *arguments: str) -> None:
    """Print the facts that all ranks find together as JSON, from rank 0 (collective)."""
    found = facts(MPI.COMM_WORLD, *arguments)
    if MPI.COMM_WORLD.rank == 0:
        print(json.dumps(found, default=lambda a: a.tolist()))
